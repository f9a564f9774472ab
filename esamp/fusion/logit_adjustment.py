"""Fuses the Distillers' predictions with the model's: before lm_head, or after the filters. Every way gives the same distribution.

    mix_hidden           no filters: fuse hidden states, then project once
    CandidateAdjustment  few candidates survive the filters: project the Distiller's predictions to those alone
    DenseAdjustment      any other case: project them to the whole vocabulary

Legend: B batch rows, R adjusted rows, H hidden size, V vocabulary, C candidates of a row (padded).
"""

from dataclasses import dataclass
from typing import ClassVar, Protocol

import numpy as np
import torch
from torch import Tensor

from esamp.draw.inputs import DistillerLogits
from esamp.fusion.forms import Fusion, ProposedFusion


class FilteredLogitsProcessor(Protocol):
    """Changes the logits of a step after temperature, top-k and top-p, and before the draw.

    vLLM's own LogitsProcessor runs before top-k and top-p, which is too early to know the candidates.
    """

    def __call__(self, logits_BV: Tensor, temperature_B: Tensor) -> Tensor:
        """New logits [B, V], fp32, from filtered ones, which are divided by `temperature_B` [B] and -inf where filtered out. May
        change its input in place."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class LogitAdjustment:
    """What the Distillers predicted in one step, and how much it counts."""

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
    """[R] fp32, strength of the fusion; 0 leaves the row as it is."""


def mix_hidden(hidden_BH: Tensor, adjustment: LogitAdjustment, fusion: ProposedFusion) -> Tensor:
    """Hidden states [B, H] for the head, fused; fp32, for the caller to round once."""
    mixed_RH = fusion.mix(adjustment.hidden_RH, adjustment.error_RH, adjustment.beta_R)
    mixed_RH = torch.where(adjustment.is_finite_R.unsqueeze(1), mixed_RH, adjustment.hidden_RH)
    if isinstance(adjustment.rows, slice):
        return mixed_RH
    return hidden_BH.float().index_copy(0, adjustment.rows, mixed_RH)


@dataclass(frozen=True, slots=True, eq=False)
class DenseAdjustment:
    """Fuses whole rows."""

    adjustment: LogitAdjustment
    fusion: Fusion
    z_dist_RV: Tensor
    """[R, V] the Distiller's logits, before temperature."""

    def __call__(self, logits_BV: Tensor, temperature_B: Tensor) -> Tensor:
        rows = self.adjustment.rows
        z_dist_RV = self.z_dist_RV.float() / temperature_B[rows].unsqueeze(1)
        z_ref_RV = logits_BV[rows]
        fused_RV = self.fusion.fuse(z_ref_RV, z_dist_RV, self.adjustment.beta_R)
        logits_BV[rows] = torch.where(self.adjustment.is_finite_R.unsqueeze(1), fused_RV, z_ref_RV)
        return logits_BV

    @property
    def is_proposed(self) -> bool:
        """True if `distiller_logits` describes this adjustment."""
        return isinstance(self.fusion, ProposedFusion)

    def distiller_logits(self, num_rows: int, temperature_B: Tensor) -> DistillerLogits:
        """The same for a fused draw of a batch of `num_rows`, which makes no fused logits but on the way. Only where `is_proposed`."""
        adjustment = self.adjustment
        size = len(adjustment.beta_R)
        is_adjusted_R = adjustment.is_finite_R & (adjustment.beta_R > 0)
        row_R = torch.where(is_adjusted_R, torch.arange(size, device=is_adjusted_R.device), -1)
        if isinstance(adjustment.rows, slice):
            return DistillerLogits(self.z_dist_RV, row_R, adjustment.beta_R, temperature_B)
        row_B = row_R.new_full((num_rows,), -1).index_copy_(0, adjustment.rows, row_R)
        beta_B = adjustment.beta_R.new_zeros(num_rows).index_copy_(0, adjustment.rows, adjustment.beta_R)
        return DistillerLogits(self.z_dist_RV, row_B, beta_B, temperature_B)


@dataclass(frozen=True, slots=True, eq=False)
class Candidates:
    """Tokens that survived the filters, padded to the row with the most."""

    token_RC: Tensor
    """[R, C] token ids; padding repeats a row's first."""
    is_first_RC: Tensor
    """[R, C] False for padding."""


class CandidateSearch(Protocol):
    """Finds the tokens that survived the filters, and projects predictions to them alone."""

    finds_all: ClassVar[bool]
    """False if tokens may survive that it does not find: those that tie with the k-th of top-k."""

    def find(self, logits_RV: Tensor) -> Candidates | None:
        """The candidates of each row; None if there are too many to be found like this."""
        ...

    def project(self, prediction_RH: Tensor, candidates: Candidates, head_weight_VH: Tensor) -> Tensor:
        """Logits [R, C], fp32, of predictions already in the head's dtype; padding may hold anything finite."""
        ...


@dataclass(frozen=True, slots=True)
class KnownCandidates:
    """At most `count` per row, as top-k promised: static shapes, so that the host never waits for the device."""

    count: int
    finds_all: ClassVar[bool] = False

    def find(self, logits_RV: Tensor) -> Candidates | None:
        z_RC, token_RC = logits_RV.topk(self.count, dim=-1)
        is_first_RC = ~torch.isneginf(z_RC)
        is_first_RC[:, 0] = True
        return Candidates(torch.where(is_first_RC, token_RC, token_RC[:, :1]), is_first_RC)

    def project(self, prediction_RH: Tensor, candidates: Candidates, head_weight_VH: Tensor) -> Tensor:
        return (head_weight_VH[candidates.token_RC] @ prediction_RH.unsqueeze(2)).squeeze(2).float()


@dataclass(frozen=True, slots=True)
class CountedCandidates:
    """Counts them. For a CPU: on a GPU the host would have to wait for the count."""

    cap: int
    finds_all: ClassVar[bool] = True

    def find(self, logits_RV: Tensor) -> Candidates | None:
        """All that survived; None if some row has more than `cap`, or no row has any."""
        # NumPy scans a vocabulary in a third of the time that torch takes.
        flat_N = torch.from_numpy(np.flatnonzero(logits_RV.numpy() > -np.inf))
        row_N = flat_N // logits_RV.shape[1]
        token_N = flat_N - row_N * logits_RV.shape[1]
        count_R = torch.bincount(row_N, minlength=logits_RV.shape[0])
        most = int(count_R.max())
        if most > self.cap or most == 0:
            return None
        starts_R = count_R.cumsum(0) - count_R
        is_first_RC = torch.arange(most) < count_R.clamp(min=1).unsqueeze(1)
        token_RC = token_N[starts_R.clamp(max=len(token_N) - 1)].unsqueeze(1).repeat(1, most)
        token_RC[row_N, torch.arange(len(row_N)) - starts_R[row_N]] = token_N
        return Candidates(token_RC, is_first_RC)

    def project(self, prediction_RH: Tensor, candidates: Candidates, head_weight_VH: Tensor) -> Tensor:
        # One dot product per candidate: padding costs nothing, so rows with few do not pay for the row with the most.
        row_N, column_N = candidates.is_first_RC.nonzero(as_tuple=True)
        z_N = (head_weight_VH[candidates.token_RC[row_N, column_N]] * prediction_RH[row_N]).sum(-1, dtype=torch.float32)
        return torch.zeros(candidates.token_RC.shape).index_put((row_N, column_N), z_N)


@dataclass(frozen=True, slots=True, eq=False)
class CandidateAdjustment:
    """Fuses candidates; if they are too many, fuses whole rows, which gives the same tokens and is slower (counted as dense_steps)."""

    adjustment: LogitAdjustment
    fusion: Fusion
    search: CandidateSearch
    head_weight_VH: Tensor
    project: "Project"

    def __call__(self, logits_BV: Tensor, temperature_B: Tensor) -> Tensor:
        rows, prediction_RH = self.adjustment.rows, self.adjustment.prediction_RH
        z_ref_RV = logits_BV[rows]
        candidates = self.search.find(z_ref_RV)
        if candidates is None:
            return DenseAdjustment(self.adjustment, self.fusion, self.project(prediction_RH))(logits_BV, temperature_B)
        token_RC, is_first_RC = candidates.token_RC, candidates.is_first_RC
        rounded_RH = prediction_RH.to(self.head_weight_VH.dtype)
        z_dist_RC = self.search.project(rounded_RH, candidates, self.head_weight_VH) / temperature_B[rows].unsqueeze(1)
        z_ref_RC = z_ref_RV.gather(1, token_RC)
        # Only the first place of a token counts, or entropies and means would see it twice.
        fused_RC = self.fusion.fuse(torch.where(is_first_RC, z_ref_RC, -torch.inf), z_dist_RC, self.adjustment.beta_R)
        is_adjusted_R1 = (self.adjustment.is_finite_R & (self.adjustment.beta_R > 0)).unsqueeze(1)
        fused_RC = torch.where(is_adjusted_R1, torch.where(is_first_RC, fused_RC, fused_RC[:, :1]), z_ref_RC)
        if self.search.finds_all:
            if isinstance(rows, slice):
                return logits_BV.scatter_(1, token_RC, fused_RC)
            logits_BV[rows] = z_ref_RV.scatter_(1, token_RC, fused_RC)
            return logits_BV
        # vLLM's top-k keeps every token that ties with the k-th; topk found only k. The others would be the only ones without the row's
        # shift, so they are dropped.
        fused_RV = torch.full_like(z_ref_RV, -torch.inf).scatter_(1, token_RC, fused_RC)
        logits_BV[rows] = torch.where(is_adjusted_R1, fused_RV, z_ref_RV)
        return logits_BV


class Project(Protocol):
    """The model's own head."""

    def __call__(self, hidden_RH: Tensor) -> Tensor:
        """Logits [R, V]."""
        ...
