"""A random model that decodes like a trained one: its next-token distributions are as peaked as a trained model's.

Dummy weights as vLLM makes them give a flat distribution, under which every filter keeps everything: no fair picture of what candidates
cost. Here the final norm's gain is set so that softmax(W h) has a chosen entropy.
"""

from pathlib import Path

import torch
from transformers import Qwen3Config, Qwen3ForCausalLM

from esamp.devtools.bench.shape import Shape

HEAD_SIZE = 64
BODY_STD = 0.05
"""Standard deviation of the body's weights: large enough that deep states differ from shallow ones."""
HEAD_STD = 0.02
FREQUENT_TOKENS = 64
"""Tokens whose head vectors are several times as long as the others': a few dozen candidates lead and a long tail follows, as in a trained
model. A head with vectors of one length is peaked only if all logits are huge, and then even drawing from them costs more."""


def write_peaked_model(folder: Path, shape: Shape, *, entropy_nats: float, dtype: torch.dtype, seed: int) -> Path:
    """A Qwen3 checkpoint of this shape in `folder`, random but for its final norm; returns `folder`."""
    torch.manual_seed(seed)
    config = Qwen3Config(
        vocab_size=shape.vocabulary,
        hidden_size=shape.hidden,
        intermediate_size=3 * shape.hidden,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.hidden // HEAD_SIZE,
        num_key_value_heads=shape.hidden // HEAD_SIZE // 2,
        head_dim=HEAD_SIZE,
        max_position_embeddings=4096,
        tie_word_embeddings=False,
        initializer_range=BODY_STD,
    )
    model = Qwen3ForCausalLM(config)
    with torch.no_grad():
        rank_V1 = torch.arange(shape.vocabulary).unsqueeze(1)
        model.lm_head.weight.normal_(std=HEAD_STD).mul_(1 + 4 / (1 + rank_V1 / FREQUENT_TOKENS).sqrt())
        model.model.norm.weight.fill_(gain_for_entropy(model.lm_head.weight, entropy_nats))
    model.to(dtype).save_pretrained(folder)
    return folder


def gain_for_entropy(head_VH: torch.Tensor, entropy_nats: float) -> float:
    """Gain g at which softmax(W h) has this entropy on average, h a random direction of length g sqrt(H); by bisection."""
    unit_RH = torch.randn(32, head_VH.shape[1])
    unit_RH *= head_VH.shape[1] ** 0.5 / unit_RH.norm(dim=-1, keepdim=True)
    logits_RV = unit_RH @ head_VH.float().T
    low, high = 0.0, 1000.0
    for _ in range(40):
        gain = (low + high) / 2
        logp_RV = (gain * logits_RV).log_softmax(-1)
        is_too_flat = -(logp_RV.exp() * logp_RV).sum(-1).mean() > entropy_nats
        low, high = (gain, high) if is_too_flat else (low, gain)
    return gain
