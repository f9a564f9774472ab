"""Decode rows of one step, grouped by the Distiller slot each belongs to.

Legend: R rows, A slots in the batch's range, M rows per slot (padded), H hidden size.
"""

from dataclasses import dataclass, replace

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True, eq=False)
class SlotBatch:
    """Rows grouped by slot, padded to the largest group: row `index_AM[a, m]` belongs to slot `first + a`.

    The slots of a batch form one contiguous range, so that their weights are a view and not a copy; slots inside the range
    without rows have only padding. Padding points at row R, one past the last. It depends on the slots alone: as long as a
    batch of requests stays the same, so does its SlotBatch.
    """

    slots: tuple[int, ...]
    """[R] slot of each row."""
    first: int
    num_rows_A: tuple[int, ...]
    index_AM: Tensor
    is_aligned: bool
    """Rows come slot by slot, equally many each: grouping is a view."""

    @classmethod
    def of(cls, slots: tuple[int, ...], device: torch.device) -> "SlotBatch":
        """Group rows by `slots` [R], each >= 0, R >= 1."""
        first, last = min(slots), max(slots)
        rows_of: list[list[int]] = [[] for _ in range(last - first + 1)]
        for row, slot in enumerate(slots):
            rows_of[slot - first].append(row)
        most = max(map(len, rows_of))
        padding = len(slots)
        index = [rows + [padding] * (most - len(rows)) for rows in rows_of]
        is_aligned = [row for rows in index for row in rows] == list(range(padding))
        return cls(slots, first, tuple(map(len, rows_of)), torch.tensor(index, device=device), is_aligned)

    @property
    def counts(self) -> dict[int, int]:
        """Rows of each slot that has any, lowest slot first."""
        return {self.first + a: count for a, count in enumerate(self.num_rows_A) if count}

    @property
    def span(self) -> slice:
        """The range of slots."""
        return slice(self.first, self.first + len(self.num_rows_A))


@dataclass(frozen=True, slots=True, eq=False)
class SourceRows:
    """Decode rows of one step as a Distiller reads them: known early in the forward pass."""

    source_RH: Tensor
    """[R, H] residual stream after the shallow layer."""
    batch: SlotBatch
    """Slot of each row."""

    @property
    def slots(self) -> tuple[int, ...]:
        """[R] slot of each row."""
        return self.batch.slots


@dataclass(frozen=True, slots=True, eq=False)
class HiddenRows(SourceRows):
    """The same rows with what the Distiller is to predict: known at the end of the forward pass."""

    target_RH: Tensor
    """[R, H] post-final-norm hidden state: what lm_head consumes."""

    @classmethod
    def of(cls, source_RH: Tensor, target_RH: Tensor, slots: tuple[int, ...]) -> "HiddenRows":
        """Rows with their `slots` [R]."""
        return cls(source_RH, SlotBatch.of(slots, source_RH.device), target_RH)

    def void(self, is_void_R: Tensor) -> "HiddenRows":
        """The same rows, of which those where `is_void_R` [R] is True count for no training: no bank learns from a row that is not finite.
        The batch keeps its form, so that the host need not know which they are."""
        return replace(self, target_RH=self.target_RH.masked_fill(is_void_R.unsqueeze(1), torch.nan))

    def without(self, slot: int) -> "HiddenRows | None":
        """The rows of all other slots; None if there are none."""
        kept = [row for row, its_slot in enumerate(self.slots) if its_slot != slot]
        if len(kept) == len(self.slots):
            return self
        if not kept:
            return None
        return HiddenRows.of(self.source_RH[kept], self.target_RH[kept], tuple(self.slots[row] for row in kept))
