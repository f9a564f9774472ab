"""Where predictions meet the model's: before the head, or after the filters. One class per place; all draw from the same distribution.

    HiddenSteering     no filters: mix hidden states, one projection, nothing more to do
    CandidateSteering  few candidates survive the filters: the Distiller's logits for those alone
    DenseSteering      any other case: the Distiller's logits for the whole vocabulary

Legend: B batch rows, R rows steered, H hidden size, V vocabulary, C candidates of a row (padded).
"""

from dataclasses import dataclass
from typing import ClassVar, Protocol

import torch
from torch import Tensor

from esamp.fusion import Fusion, ProposedFusion


class LogitStage(Protocol):
    """Changes what a step draws from, after the filters and before the draw."""

    def __call__(self, logits_BV: Tensor, temperature_B: Tensor) -> Tensor:
        """New logits [B, V] from filtered ones, which are divided by `temperature_B` [B] and -inf where filtered out. May change
        its input in place."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class Steering:
    """The Distillers' say in one step."""

    rows: Tensor | slice
    """[R] batch row of each; a slice if that is all of them, in order."""
    hidden_RH: Tensor
    """[R, H] fp32 true deep states."""
    prediction_RH: Tensor
    """[R, H] fp32"""
    error_RH: Tensor
    """[R, H] true minus predicted."""
    is_finite_R: Tensor
    """[R] False where the error is not finite: the row stays vanilla."""
    beta_R: Tensor
    """[R] strength."""


def mix_hidden(hidden_BH: Tensor, steering: Steering, fusion: ProposedFusion) -> Tensor:
    """Hidden states [B, H] for the head, fused; fp32, for the caller to round once."""
    mixed_RH = fusion.mix(steering.hidden_RH, steering.error_RH, steering.beta_R)
    mixed_RH = torch.where(steering.is_finite_R.unsqueeze(1), mixed_RH, steering.hidden_RH)
    if isinstance(steering.rows, slice):
        return mixed_RH
    return hidden_BH.float().index_copy(0, steering.rows, mixed_RH)


@dataclass(frozen=True, slots=True, eq=False)
class DenseSteering:
    """Fuses whole rows."""

    steering: Steering
    fusion: Fusion
    z_dist_RV: Tensor
    """[R, V] the Distiller's logits, before temperature."""

    def __call__(self, logits_BV: Tensor, temperature_B: Tensor) -> Tensor:
        rows = self.steering.rows
        z_dist_RV = self.z_dist_RV.float() / temperature_B[rows].unsqueeze(1)
        z_ref_RV = logits_BV[rows]
        fused_RV = self.fusion.fuse(z_ref_RV, z_dist_RV, self.steering.beta_R)
        logits_BV[rows] = torch.where(self.steering.is_finite_R.unsqueeze(1), fused_RV, z_ref_RV)
        return logits_BV


class FindCandidates(Protocol):
    """Finds the tokens that survived the filters."""

    finds_all: ClassVar[bool]
    """False if tokens may survive that it does not find: those that tie with the k-th of top-k."""

    def __call__(self, logits_RV: Tensor) -> Tensor | None:
        """Token ids [R, C], padded by repeating a row's first; None if there are too many for this way."""
        ...


@dataclass(frozen=True, slots=True)
class KnownCandidates:
    """At most `count` per row, as top-k promised: static shapes, nothing to wait for."""

    count: int
    finds_all: ClassVar[bool] = False

    def __call__(self, logits_RV: Tensor) -> Tensor | None:
        z_RC, token_RC = logits_RV.topk(self.count, dim=-1)
        return torch.where(torch.isneginf(z_RC), token_RC[:, :1], token_RC)


@dataclass(frozen=True, slots=True)
class CountedCandidates:
    """Counts them, which is for a CPU: elsewhere the host would have to wait for the answer."""

    cap: int
    finds_all: ClassVar[bool] = True

    def __call__(self, logits_RV: Tensor) -> Tensor | None:
        is_candidate_RV = logits_RV > -torch.inf
        count_R = is_candidate_RV.sum(-1)
        most = int(count_R.max())
        if most > self.cap or most == 0:
            return None
        row_N, token_N = is_candidate_RV.nonzero(as_tuple=True)
        starts_R = count_R.cumsum(0) - count_R
        position_N = torch.arange(len(row_N)) - starts_R[row_N]
        token_RC = token_N[starts_R.clamp(max=len(token_N) - 1)].unsqueeze(1).repeat(1, most)
        token_RC[row_N, position_N] = token_N
        return token_RC


@dataclass(frozen=True, slots=True, eq=False)
class CandidateSteering:
    """Fuses candidates; where they are too many, falls back to whole rows, which gives the same and is slower."""

    steering: Steering
    fusion: Fusion
    find: FindCandidates
    head_weight_VH: Tensor
    project: "Project"

    def __call__(self, logits_BV: Tensor, temperature_B: Tensor) -> Tensor:
        rows, prediction_RH = self.steering.rows, self.steering.prediction_RH
        z_ref_RV = logits_BV[rows]
        token_RC = self.find(z_ref_RV)
        if token_RC is None:
            return DenseSteering(self.steering, self.fusion, self.project(prediction_RH))(logits_BV, temperature_B)
        weight_RCH = self.head_weight_VH[token_RC]
        rounded_RH1 = prediction_RH.to(weight_RCH.dtype).unsqueeze(2)
        z_dist_RC = (weight_RCH @ rounded_RH1).squeeze(2).float() / temperature_B[rows].unsqueeze(1)
        z_ref_RC = z_ref_RV.gather(1, token_RC)
        # Padding repeats a row's first candidate; only its first place counts, or entropies and means would see it twice.
        is_first_RC = torch.ones_like(token_RC, dtype=torch.bool)
        is_first_RC[:, 1:] = token_RC[:, 1:] != token_RC[:, :1]
        fused_RC = self.fusion.fuse(torch.where(is_first_RC, z_ref_RC, -torch.inf), z_dist_RC, self.steering.beta_R)
        fused_RC = torch.where(is_first_RC, fused_RC, fused_RC[:, :1])
        is_steered_R1 = (self.steering.is_finite_R & (self.steering.beta_R > 0)).unsqueeze(1)
        if self.find.finds_all:
            logits_BV[rows] = z_ref_RV.scatter(1, token_RC, torch.where(is_steered_R1, fused_RC, z_ref_RC))
            return logits_BV
        # A survivor that was not found would be the only one without the row's shift; left out, top-k is what it says.
        fused_RV = torch.full_like(z_ref_RV, -torch.inf).scatter_(1, token_RC, fused_RC)
        logits_BV[rows] = torch.where(is_steered_R1, fused_RV, z_ref_RV)
        return logits_BV


class Project(Protocol):
    """The model's own head."""

    def __call__(self, hidden_RH: Tensor) -> Tensor:
        """Logits [R, V]."""
        ...
