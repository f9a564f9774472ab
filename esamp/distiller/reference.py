"""Exploratory Sampling, slow and obvious: one Distiller, plain torch, autograd and torch.optim. No vLLM, no batching tricks.

The fast path (esamp.distiller.bank, esamp.fusion.forms, esamp.engine.sampler) must equal this; tests compare them.

Legend: R rows of one group, H hidden size, F inner width, V vocabulary.
"""

import torch
from torch import Tensor, nn

from esamp.config import ESampConfig
from esamp.distiller.math import RMS_EPS


class ReferenceDistiller(nn.Module):
    """One Distiller f: [R, H] -> [R, H] (arXiv:2604.24927, section 5.1), trained by `learn`."""

    def __init__(self, config: ESampConfig, output_gain_H: Tensor) -> None:
        super().__init__()
        hidden, inner = output_gain_H.shape[0], config.inner_width
        generator = torch.Generator().manual_seed(config.seed)

        def random_weights(rows: int, columns: int) -> nn.ParameterList:
            flat = torch.empty(config.num_blocks * rows * columns).normal_(std=config.init_scale, generator=generator)
            return nn.ParameterList(nn.Parameter(w) for w in flat.view(config.num_blocks, rows, columns))

        self.up_gate = random_weights(2 * inner, hidden)
        self.down = random_weights(hidden, inner)
        self.gain = nn.Parameter(output_gain_H.float().clone())
        self.clip_norm = config.clip_norm
        self.optimiser = torch.optim.Adam(
            self.parameters(),
            lr=config.learning_rate,
            betas=(config.adam_beta1, config.adam_beta2),
            eps=config.adam_eps,
        )

    def forward(self, source_RH: Tensor) -> Tensor:
        """Predicted deep states [R, H]."""
        h = source_RH / (source_RH.square().mean(-1, keepdim=True) + RMS_EPS).sqrt()
        for up_gate, down in zip(self.up_gate, self.down, strict=True):
            up, gate = up_gate.chunk(2)
            h = h + (h @ up.T * nn.functional.silu(h @ gate.T)) @ down.T
        return h * self.gain

    def learn(self, source_RH: Tensor, target_RH: Tensor) -> float:
        """One Adam step on the squared error, averaged over rows (Eq. 10); the loss before it, per hidden channel."""
        loss = (self(source_RH) - target_RH).square().sum(-1).mean()
        self.optimiser.zero_grad()
        loss.backward()
        norm = torch.cat([p.grad.flatten() for p in self.parameters() if p.grad is not None]).norm()
        for parameter in self.parameters():
            if parameter.grad is not None:
                parameter.grad *= min(1.0, self.clip_norm / norm.item())
        self.optimiser.step()
        return loss.item() / source_RH.shape[1]


def fused_distribution(
    z_ref_V: Tensor,
    z_dist_V: Tensor,
    *,
    beta: float,
    temperature: float,
    top_k: int = 0,
    top_p: float = 1.0,
    min_p: float = 0.0,
) -> Tensor:
    """The distribution [V] that one token is drawn from: closed form pi_ref^(1+beta) / q^beta on the candidates, float64.

    Candidates are chosen from pi_ref at `temperature`, in vLLM's order: min-p, then top-k, then top-p.
    """
    log_ref = (z_ref_V.double() / temperature).log_softmax(-1)
    log_dist = (z_dist_V.double() / temperature).log_softmax(-1)
    keep = log_ref.exp() >= min_p * log_ref.exp().max()
    if top_k:
        keep &= log_ref >= log_ref.sort(descending=True).values[min(top_k, len(log_ref)) - 1]
    if top_p < 1.0:
        order = torch.where(keep, log_ref, -torch.inf).argsort(descending=True)
        mass = torch.where(keep, log_ref, -torch.inf).softmax(-1)[order]
        keep[order[mass.cumsum(-1) - mass >= top_p]] = False
    unnormalised = torch.where(keep, (log_ref * (1 + beta) - log_dist * beta).exp(), 0.0)
    return unnormalised / unnormalised.sum()
