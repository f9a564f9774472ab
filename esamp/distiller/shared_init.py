"""Shared initial weights: one more Distiller learns from the rows of all slots, and a slot that is reset starts from its weights."""

import torch
from torch import Tensor

from esamp.config import ESampConfig
from esamp.distiller.bank import DistillerBank, Forward
from esamp.distiller.hidden_rows import HiddenRows, SlotBatch


class SharedInitBank(DistillerBank):
    """A DistillerBank whose slots start from shared weights that learn. Training costs twice as much: every row is learned from twice.

    Not in the paper, whose Table 18 finds shared and per-prompt Distillers each better on some task.
    """

    def __init__(self, config: ESampConfig, output_gain_H: Tensor, *, num_slots: int, device: torch.device) -> None:
        """As DistillerBank; the shared weights are one slot more, the last."""
        super().__init__(config, output_gain_H, num_slots=num_slots + 1, device=device)
        self._all_rows: SlotBatch | None = None

    @property
    def shared_slot(self) -> int:
        """Slot of the shared weights."""
        return self.num_slots - 1

    @torch.no_grad()
    def reset(self, slot: int) -> None:
        """Give `slot` the shared weights, or random ones if those diverged; zero moments and no history."""
        super().reset(slot)
        shared_P = self.theta_SP[self.shared_slot]
        start_P = torch.where(torch.isfinite(shared_P[-1]), shared_P, self._initial_P)
        self.theta_SP[slot].copy_(start_P)

    @torch.no_grad()
    def start_from(self, output_gain_H: Tensor) -> None:
        """As DistillerBank; the shared weights start anew as well."""
        super().start_from(output_gain_H)
        DistillerBank.reset(self, self.shared_slot)

    @torch.no_grad()
    def train(self, rows: HiddenRows, forward: Forward | None = None) -> None:
        """One optimiser step of every slot that has rows, and one of the shared slot on all of them."""
        super().train(rows, forward)
        # Kept as long as the number of rows stays the same: copying the index to a GPU makes the host wait.
        if self._all_rows is None or len(self._all_rows.slots) != len(rows.slots):
            self._all_rows = SlotBatch.of((self.shared_slot,) * len(rows.slots), self.device)
        super().train(HiddenRows(rows.source_RH, self._all_rows, rows.target_RH))
