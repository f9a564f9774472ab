"""The Distiller: predicts a model's deep hidden state from a shallow one, and learns while the model decodes.

A `DistillerBank` holds S independent Distillers ("slots"), one per prompt group, in one tensor: slot s is row s of `theta_SP`.
The promise it keeps: data of one slot never changes a bit of another, and a slot that was reset is as good as new.

Network (arXiv:2604.24927, section 5.1 and appendix E.2), for one slot:

    h_0     = x / rms(x)
    h_{b+1} = h_b + D_b ( U_b h_b * silu(G_b h_b) )        b = 0 .. N-1
    f(x)    = gain * h_N

The paper leaves the norms open. The input norm has no parameters: raw residual streams have outlier channels. The output gain is
per channel and learned; it starts at the weights of the model's final norm, so that an untrained f already has the scale of y.

Legend: S slots, R rows, M rows per slot (padded), N blocks, H hidden size, F inner width, P parameters of one slot.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from esamp.config import ESampConfig

RMS_EPS = 1e-6


@dataclass(frozen=True, slots=True)
class HiddenRows:
    """Decode rows of one step, ready to be learned from."""

    source_RH: Tensor
    """[R, H] residual stream after the shallow layer."""
    target_RH: Tensor
    """[R, H] post-final-norm hidden state: what lm_head consumes."""
    slots: tuple[int, ...]
    """[R] slot of each row."""


@dataclass(frozen=True, slots=True)
class SlotLayout:
    """Where each parameter of a slot lies in its flat row."""

    hidden_size: int
    inner_width: int
    num_blocks: int

    @property
    def num_weights(self) -> int:
        """Entries of one of U, G, D over all blocks."""
        return self.num_blocks * self.inner_width * self.hidden_size

    @property
    def num_parameters(self) -> int:
        """P: entries of a slot's flat row."""
        return 3 * self.num_weights + self.hidden_size

    def split(self, flat_SP: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Views up [S,N,F,H], gate [S,N,F,H], down [S,N,H,F], gain [S,H] of flat rows [S,P]."""
        n, f, h, w = self.num_blocks, self.inner_width, self.hidden_size, self.num_weights
        return (
            flat_SP[:, :w].unflatten(1, (n, f, h)),
            flat_SP[:, w : 2 * w].unflatten(1, (n, f, h)),
            flat_SP[:, 2 * w : 3 * w].unflatten(1, (n, h, f)),
            flat_SP[:, 3 * w :],
        )


@dataclass(frozen=True, slots=True)
class SlotBatch:
    """Rows grouped by slot, padded to the largest group: row `index_AM[a, m]` belongs to slot `first + a`.

    The slots of a batch form one contiguous range, so that their weights are a view and not a copy; slots inside the range
    without rows have only padding. Padding points at row R, one past the last.
    """

    first: int
    num_rows_A: tuple[int, ...]
    index_AM: Tensor

    @property
    def span(self) -> slice:
        """The range of slots."""
        return slice(self.first, self.first + len(self.num_rows_A))

    @classmethod
    def of(cls, slots: tuple[int, ...], device: torch.device) -> "SlotBatch":
        """Group rows by `slots` [R], each >= 0, R >= 1."""
        first, last = min(slots), max(slots)
        rows_of: list[list[int]] = [[] for _ in range(last - first + 1)]
        for row, slot in enumerate(slots):
            rows_of[slot - first].append(row)
        most = max(map(len, rows_of))
        padding = len(slots)
        index_AM = torch.tensor([rows + [padding] * (most - len(rows)) for rows in rows_of], device=device)
        return cls(first, tuple(map(len, rows_of)), index_AM)

    def gather(self, rows_RH: Tensor) -> Tensor:
        """[R, H] -> [A, M, H], zeros where padded."""
        return torch.cat([rows_RH, rows_RH.new_zeros(1, rows_RH.shape[1])])[self.index_AM]

    def scatter(self, grouped_AMH: Tensor) -> Tensor:
        """[A, M, H] -> [R, H]; padding is dropped."""
        rows = grouped_AMH.new_empty(sum(self.num_rows_A) + 1, grouped_AMH.shape[-1])
        rows[self.index_AM.flatten()] = grouped_AMH.flatten(0, 1)
        return rows[:-1]


def rms_normalise(x: Tensor) -> Tensor:
    """x / rms(x) over the last dimension, fp32."""
    x = x.float()
    return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + RMS_EPS)


class DistillerBank:
    """S Distillers with their Adam moments and step counts, fp32, on one device.

    Not thread-safe: whoever trains and predicts takes turns (see esamp.learner).
    """

    def __init__(self, config: ESampConfig, output_gain_H: Tensor, *, num_slots: int, device: torch.device) -> None:
        """`output_gain_H` [H]: initial output gain, the weights of the model's final norm."""
        self.config = config
        self.layout = SlotLayout(output_gain_H.shape[0], config.inner_width, config.num_blocks)
        # vLLM calls its workers in inference mode; tensors made there could not be updated by a training thread outside it.
        with torch.inference_mode(False), torch.no_grad():
            self._initial_P = self._draw_initial_weights(output_gain_H).to(device)
            self.theta_SP = self._initial_P.repeat(num_slots, 1)
            self.first_moment_SP = torch.zeros_like(self.theta_SP)
            self.second_moment_SP = torch.zeros_like(self.theta_SP)
            self.steps_S = torch.zeros(num_slots, dtype=torch.long, device=device)
            """[S] optimiser steps of each slot since its reset. On the device: reading it must not stall a decode step."""
            self.loss_S = torch.full((num_slots,), torch.nan, device=device)
            """[S] squared error per hidden channel that the latest training found before its step; NaN before the first."""

    @property
    def num_slots(self) -> int:
        """S."""
        return self.theta_SP.shape[0]

    def _draw_initial_weights(self, output_gain_H: Tensor) -> Tensor:
        # Its own CPU generator: the global one draws the tokens of seedless requests, and every rank must get the same weights.
        generator = torch.Generator().manual_seed(self.config.seed)
        flat_P = torch.empty(self.layout.num_parameters)
        flat_P.normal_(std=self.config.init_scale, generator=generator)
        flat_P[-self.layout.hidden_size :] = output_gain_H.float().cpu()
        return flat_P

    @torch.no_grad()
    def reset(self, slot: int) -> None:
        """Give `slot` its initial weights, zero moments and no history."""
        self.theta_SP[slot].copy_(self._initial_P)
        self.first_moment_SP[slot].zero_()
        self.second_moment_SP[slot].zero_()
        self.steps_S[slot] = 0
        self.loss_S[slot] = torch.nan

    @torch.no_grad()
    def load(self, slot: int, weights_P: Tensor, *, steps: int, loss: float) -> None:
        """Replace the weights of `slot` [P] by ones trained elsewhere: `steps` optimiser steps, `loss` as in `loss_S`."""
        self.theta_SP[slot].copy_(weights_P)
        self.steps_S[slot] = steps
        self.loss_S[slot] = loss

    @torch.no_grad()
    def predict(self, source_RH: Tensor, slots: tuple[int, ...]) -> Tensor:
        """Predicted deep states [R, H], fp32, of rows `source_RH` [R, H], each by the Distiller of its slot."""
        batch = SlotBatch.of(slots, source_RH.device)
        prediction_AMH, _ = self._forward(batch.span, batch.gather(rms_normalise(source_RH)))
        return batch.scatter(prediction_AMH)

    @torch.no_grad()
    def train(self, rows: HiddenRows) -> None:
        """One optimiser step of every slot that has rows; `loss_S` then holds the loss each had before its step.

        Loss of slot s (Eq. 10): mean over its rows of |y - f(x)|^2. The gradient is clipped per slot, then Adam.
        Rows with a non-finite number do not count; a slot left without rows, or with a non-finite gradient, takes no step.
        """
        source_RH, target_RH = rows.source_RH.float(), rows.target_RH.float()
        finite_R1 = torch.isfinite(source_RH.sum(-1, keepdim=True) + target_RH.sum(-1, keepdim=True))
        batch = SlotBatch.of(rows.slots, source_RH.device)
        input_AMH = batch.gather(rms_normalise(torch.where(finite_R1, source_RH, 0.0)))
        target_AMH = batch.gather(torch.where(finite_R1, target_RH, 0.0))
        counted_AM1 = batch.gather(finite_R1.float())
        num_rows_A1 = counted_AM1.sum(1)

        prediction_AMH, inner = self._forward(batch.span, input_AMH)
        error_AMH = (prediction_AMH - target_AMH) * counted_AM1
        loss_A1 = error_AMH.square().sum((1, 2)).unsqueeze(1) / num_rows_A1
        gradient_AP = self._backward(batch.span, inner, error_AMH * (2.0 / num_rows_A1.clamp(min=1)).unsqueeze(1))

        norm_A1 = gradient_AP.norm(dim=1, keepdim=True)
        is_live_A1 = (num_rows_A1 > 0) & torch.isfinite(norm_A1)
        gradient_AP = torch.where(is_live_A1, gradient_AP * (self.config.clip_norm / norm_A1).clamp(max=1.0), 0.0)
        self._adam(batch.span, gradient_AP, is_live_A1)
        loss_A = torch.where(
            is_live_A1, loss_A1 / self.layout.hidden_size, self.loss_S[batch.span].unsqueeze(1)
        ).squeeze(1)
        self.loss_S[batch.span] = loss_A

    def _forward(self, span: slice, input_AMH: Tensor) -> tuple[Tensor, list[tuple[Tensor, Tensor, Tensor]]]:
        """Prediction [A, M, H] and, per block, what its backward pass needs; the last entry holds (h_N, -, -)."""
        up, gate, down, gain = self.layout.split(self.theta_SP[span])
        inner: list[tuple[Tensor, Tensor, Tensor]] = []
        h = input_AMH
        for b in range(self.layout.num_blocks):
            u, g = h @ up[:, b].mT, h @ gate[:, b].mT
            inner.append((h, u, g))
            h = h + (u * torch.nn.functional.silu(g)) @ down[:, b].mT
        inner.append((h, h, h))
        return h * gain.unsqueeze(1), inner

    def _backward(self, span: slice, inner: list[tuple[Tensor, Tensor, Tensor]], d_prediction_AMH: Tensor) -> Tensor:
        """Gradient [A, P] of the loss, by hand: autograd cannot save tensors made in vLLM's inference mode."""
        theta_AP = self.theta_SP[span]
        up, gate, down, gain = self.layout.split(theta_AP)
        gradient_AP = torch.empty_like(theta_AP)
        d_up, d_gate, d_down, d_gain = self.layout.split(gradient_AP)
        output = inner[-1][0]
        d_gain.copy_((d_prediction_AMH * output).sum(1))
        dh = d_prediction_AMH * gain.unsqueeze(1)
        for b in reversed(range(self.layout.num_blocks)):
            h, u, g = inner[b]
            sigmoid = torch.sigmoid(g)
            silu = g * sigmoid
            d_down[:, b] = dh.mT @ (u * silu)
            d_inner = dh @ down[:, b]
            du = d_inner * silu
            dg = d_inner * u * (sigmoid + silu * (1 - sigmoid))
            d_up[:, b] = du.mT @ h
            d_gate[:, b] = dg.mT @ h
            if b:
                dh = dh + du @ up[:, b] + dg @ gate[:, b]
        return gradient_AP

    def _adam(self, span: slice, gradient_AP: Tensor, is_live_A1: Tensor) -> None:
        """Adam (arXiv:1412.6980, algorithm 1) on the live slots of `span`; the others keep every bit."""
        c = self.config
        self.steps_S[span] += is_live_A1.squeeze(1)
        steps_A1 = self.steps_S[span].double().unsqueeze(1)
        weight_A1 = is_live_A1.float()
        first, second = self.first_moment_SP[span], self.second_moment_SP[span]
        first.lerp_(gradient_AP, (1 - c.adam_beta1) * weight_A1)
        second.lerp_(gradient_AP.square(), (1 - c.adam_beta2) * weight_A1)
        # A slot that never stepped has 1 - beta^0 = 0 below and weight 0 above: the clamp keeps 0 / 0 out.
        correction_1 = (1 - c.adam_beta1**steps_A1).clamp(min=1e-12).float()
        correction_2 = (1 - c.adam_beta2**steps_A1).clamp(min=1e-12).float()
        step_size = c.learning_rate * weight_A1 / correction_1
        self.theta_SP[span].sub_(step_size * first / ((second / correction_2).sqrt_() + c.adam_eps))
