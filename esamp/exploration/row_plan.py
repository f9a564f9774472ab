"""Which rows of a batch explore, and in which slots. Built again when the batch changes, not in every step.

Legend: R exploring rows.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from esamp.batch import BatchRows
from esamp.distiller.hidden_rows import SlotBatch
from esamp.distiller.prompt_groups import ExploringRequest, GroupTable, PromptGroup


@dataclass(frozen=True, slots=True, eq=False)
class RowPlan:
    """Which rows of a batch explore: true for as long as the batch stays the same."""

    request_ids: tuple[str, ...]
    is_decode: tuple[bool, ...]
    requests: tuple[ExploringRequest, ...]
    """[R]"""
    groups: tuple[PromptGroup, ...]
    """[R]"""
    live_groups: tuple[PromptGroup, ...]
    """Each group once."""
    group_R: Tensor
    """[R] place of each row's group in `live_groups`."""
    group_B: NDArray[np.int64]
    """[B] the same of every batch row, on the host; -1 where it does not explore."""
    rows: tuple[int, ...]
    """[R] batch row of each."""
    index: Tensor | slice
    """The same, to index with; a slice if that is every row, in order."""
    batch: SlotBatch
    slots_R: Tensor
    beta_R: Tensor
    """[R] as asked for."""

    def describes(self, batch: BatchRows) -> bool:
        """True if `batch` has the same rows."""
        return self.request_ids == batch.request_ids and self.is_decode == batch.is_decode

    @classmethod
    def of(cls, batch: BatchRows, table: GroupTable, device: torch.device) -> "RowPlan":
        """The plan of a batch, on `device`; groups that decode for the first time get their slots here."""
        rows, requests, groups = [], [], []
        for row, request_id in enumerate(batch.request_ids):
            request = table.request(request_id) if batch.is_decode[row] else None
            group = table.group_with_slot(request) if request else None
            if request is not None and group is not None:
                rows.append(row)
                requests.append(request)
                groups.append(group)
        slots = tuple(group.slot for group in groups if group.slot is not None)
        is_everything = rows == list(range(len(batch.request_ids)))
        live_groups = {group.name: group for group in groups}
        places = {name: place for place, name in enumerate(live_groups)}
        group_R = [places[group.name] for group in groups]
        group_B = np.full(len(batch.request_ids), -1, dtype=np.int64)
        group_B[rows] = group_R
        return cls(
            request_ids=batch.request_ids,
            is_decode=batch.is_decode,
            requests=tuple(requests),
            groups=tuple(groups),
            live_groups=tuple(live_groups.values()),
            group_R=torch.tensor(group_R, dtype=torch.long, device=device),
            group_B=group_B,
            rows=tuple(rows),
            index=slice(None) if is_everything else torch.tensor(rows, dtype=torch.long, device=device),
            batch=SlotBatch.of(slots, device) if slots else SlotBatch((), 0, (), torch.empty(0), False),
            slots_R=torch.tensor(slots, dtype=torch.long, device=device),
            beta_R=torch.tensor([request.beta for request in requests], device=device),
        )
