"""Fusion of the model's and the Distiller's logits of the next token (arXiv:2604.24927, Eq. 8-9). One class per form.

A form works on logits. The proposed one works on hidden states before the head as well: W((1+beta) h - beta h_dist) is
(1+beta) W h - beta W h_dist, also with a bias, since the coefficients add up to 1.

The proposed form has copies where it is fused with the draw: esamp/draw (kernel_rows.h, cuda.py, reference.py).

Legend: R rows, N entries of a row: candidates, the vocabulary, or hidden channels.
"""

import math
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from esamp.config import ESampConfig


class Fusion(Protocol):
    """How two rows of logits become the one that is sampled from."""

    def fuse(self, z_ref_RN: Tensor, z_dist_RN: Tensor, beta_R: Tensor) -> Tensor:
        """Fused rows [R, N], fp32. An entry that is -inf in `z_ref_RN` (filtered out) is -inf in the result. Both carry the same
        temperature, whatever it is. Rows with beta 0 are returned to the last bit."""
        ...


class ProposedFusion:
    """z = (1+beta) z_ref - beta z_dist: the paper's. Maximises log(pi_ref / q) under a KL anchor to pi_ref (Eq. 4-9)."""

    def fuse(self, z_ref_RN: Tensor, z_dist_RN: Tensor, beta_R: Tensor) -> Tensor:
        # As z_ref + beta (z_ref - z_dist), so that a perfect prediction, or beta 0, gives z_ref to the last bit.
        return add_shift(z_ref_RN, beta_R.unsqueeze(1) * (z_ref_RN - z_dist_RN))

    def mix(self, h_RH: Tensor, error_RH: Tensor, beta_R: Tensor) -> Tensor:
        """The same before the head: fused hidden states [R, H] from true ones and their errors h - h_dist."""
        return torch.addcmul(h_RH, beta_R.unsqueeze(1), error_RH)


class SubtractionFusion:
    """z = z_ref - beta z_dist: the ablation of the paper's Table 2, which penalises whatever the Distiller finds likely."""

    def fuse(self, z_ref_RN: Tensor, z_dist_RN: Tensor, beta_R: Tensor) -> Tensor:
        return add_shift(z_ref_RN, -beta_R.unsqueeze(1) * z_dist_RN)


@dataclass(frozen=True, slots=True)
class ClampedFusion:
    """The proposed form, but no logit moves by more than `limit` nats relative to the row's mean shift over its candidates.

    Not in the paper. Shifts are centred first, since a shift of all logits alike changes nothing.
    """

    limit: float

    def fuse(self, z_ref_RN: Tensor, z_dist_RN: Tensor, beta_R: Tensor) -> Tensor:
        shift_RN = torch.where(torch.isneginf(z_ref_RN), torch.nan, z_ref_RN - z_dist_RN)
        centred_RN = (shift_RN - shift_RN.nanmean(-1, keepdim=True)) * beta_R.unsqueeze(1)
        return add_shift(z_ref_RN, centred_RN.clamp(-self.limit, self.limit))


class DirectionalFusion:
    """The proposed form without its change of temperature. Not in the paper.

    The shift z_ref - z_dist is projected off z_ref itself, in the inner product of the model's own distribution p: what is left is
    uncorrelated with the logits under p, so that to first order in beta it moves no probability towards or away from likely tokens.
    """

    def fuse(self, z_ref_RN: Tensor, z_dist_RN: Tensor, beta_R: Tensor) -> Tensor:
        """See Fusion."""
        is_out_RN = torch.isneginf(z_ref_RN)
        p_RN = z_ref_RN.softmax(-1).nan_to_num(0.0)
        z_RN = centred(z_ref_RN.masked_fill(is_out_RN, 0.0), p_RN)
        shift_RN = centred((z_ref_RN - z_dist_RN).masked_fill(is_out_RN, 0.0), p_RN)
        covariance_R1 = (p_RN * shift_RN * z_RN).sum(-1, keepdim=True)
        variance_R1 = (p_RN * z_RN.square()).sum(-1, keepdim=True)
        # A single candidate has no variance, and no shift matters.
        slope_R1 = torch.where(variance_R1 > 0, covariance_R1 / variance_R1, 0.0)
        return add_shift(z_ref_RN, beta_R.unsqueeze(1) * (shift_RN - slope_R1 * z_RN))


class EntropyMatchedTemperature:
    """A control, not published elsewhere: each row at the temperature that gives it the entropy the proposed form would have given.

    What ESamp does to a token's distribution is partly a change of sharpness, which any temperature can make. This keeps that part, token
    for token, and leaves out where the Distiller points. A gain of ESamp over this control is due to the direction.
    """

    LARGEST_EXPONENT = 20.0
    """Inverse temperatures between 2^-20 and 2^20: the sharpest tells apart logits that differ by a millionth. Exact ties it cannot."""
    STEPS = 36
    """Newton steps, and bisections where those lead out of the bracket: 36 bisections alone are precise to 1e-9."""
    CLOSE_ENOUGH = 1e-5
    """Nats, some rounding errors of the entropy of a large vocabulary in fp32. On a CPU the steps end once all rows are there, after five
    or so; on a GPU the host would have to wait to see it."""

    def fuse(self, z_ref_RN: Tensor, z_dist_RN: Tensor, beta_R: Tensor) -> Tensor:
        """The row at another temperature; see Fusion."""
        wanted_R = entropy(ProposedFusion().fuse(z_ref_RN, z_dist_RN, beta_R))
        # Relative to the row's peak, so that close rivals keep their distance when scaled up; 0 for a row without candidates.
        z_RN = z_ref_RN - z_ref_RN.amax(-1, keepdim=True).nan_to_num(neginf=0.0)
        low_R = torch.full_like(wanted_R, -self.LARGEST_EXPONENT)
        high_R = torch.full_like(wanted_R, self.LARGEST_EXPONENT)
        exponent_R = torch.zeros_like(wanted_R)
        for _ in range(self.STEPS):
            entropy_R, slope_R = entropy_and_slope(z_RN * exponent_R.exp2().unsqueeze(1))
            too_flat_by_R = entropy_R - wanted_R
            if z_RN.device.type == "cpu" and bool((too_flat_by_R.abs() < self.CLOSE_ENOUGH).all()):
                break
            low_R = torch.where(too_flat_by_R > 0, exponent_R, low_R)
            high_R = torch.where(too_flat_by_R > 0, high_R, exponent_R)
            following_R = exponent_R - too_flat_by_R / (slope_R * math.log(2))
            is_inside_R = (following_R > low_R) & (following_R < high_R)
            exponent_R = torch.where(is_inside_R, following_R, (low_R + high_R) / 2)
        return torch.where(beta_R.unsqueeze(1) > 0, z_RN * exponent_R.exp2().unsqueeze(1), z_ref_RN)


def add_shift(z_ref_RN: Tensor, shift_RN: Tensor) -> Tensor:
    """z_ref + shift where z_ref is finite, else z_ref: what was filtered out stays out."""
    return torch.where(torch.isneginf(z_ref_RN), z_ref_RN, z_ref_RN + shift_RN)


def centred(values_RN: Tensor, p_RN: Tensor) -> Tensor:
    """Values [R, N] less their mean under p [R, N]."""
    return values_RN - (p_RN * values_RN).sum(-1, keepdim=True)


def entropy(z_RN: Tensor) -> Tensor:
    """Entropy [R], in nats, of softmax(z) [R, N]; -inf entries have no part in it."""
    return entropy_and_slope(z_RN)[0]


def entropy_and_slope(z_RN: Tensor) -> tuple[Tensor, Tensor]:
    """The same, and its derivative [R] by the logarithm of a factor of z: minus the variance of log p."""
    logp_RN = z_RN.log_softmax(-1)
    p_RN = logp_RN.exp()
    logp_RN = logp_RN.masked_fill_(torch.isneginf(logp_RN), 0.0)
    weighted_RN = p_RN.mul_(logp_RN)
    entropy_R = -weighted_RN.sum(-1)
    return entropy_R, entropy_R.square() - weighted_RN.mul_(logp_RN).sum(-1)


def build_fusion(config: ESampConfig) -> Fusion:
    """The form that the config asks for."""
    match config.fusion:
        case "proposed":
            return ProposedFusion()
        case "subtraction":
            return SubtractionFusion()
        case "clamped":
            return ClampedFusion(config.max_shift)
        case "directional":
            return DirectionalFusion()
        case "entropy_matched":
            return EntropyMatchedTemperature()
