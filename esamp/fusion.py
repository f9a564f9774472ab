"""Fusion of the model's and the Distiller's logits (arXiv:2604.24927, Eq. 8-9).

pi_new is proportional to pi_ref^(1+beta) / q^beta, hence z = (1+beta) z_ref - beta z_dist, on the candidates that survive the
filters; tokens outside them stay impossible.

Legend: R rows, V vocabulary.
"""

import torch
from torch import Tensor


def fuse_logits(z_ref_RV: Tensor, z_dist_RV: Tensor, beta_R: Tensor) -> Tensor:
    """Fused logits [R, V], fp32.

    `z_ref_RV` is -inf outside the candidates and stays so. Both logits carry the same temperature, whatever it is: dividing
    before or after fusing is the same. Written as z_ref + beta (z_ref - z_dist), so that a perfect prediction, or beta 0, gives
    z_ref to the last bit.
    """
    fused_RV = z_ref_RV + beta_R.unsqueeze(1) * (z_ref_RV - z_dist_RV)
    return torch.where(torch.isneginf(z_ref_RV), z_ref_RV, fused_RV)


def stale_beta(beta: float, lag: int, max_staleness: int) -> float:
    """beta, lowered linearly to 0 as `lag` (decode steps) goes from half of `max_staleness` to all of it.

    A stale map keeps penalising what it once knew, so it must fade rather than guide; the paper trains in step and has no such case.
    """
    half = max_staleness / 2
    return beta * min(1.0, max(0.0, (max_staleness - lag) / half))
