"""A control: predict the mean of the deep states that a group has shown so far, whatever the context. No network, nothing to train."""

import torch
from torch import Tensor

from esamp.distiller.bank import Forward
from esamp.distiller.hidden_rows import HiddenRows, SourceRows


class RunningMeanBank:
    """Means of S groups, fp32, behind the interface of a DistillerBank. A slot that has seen nothing predicts zero."""

    def __init__(self, hidden_size: int, *, num_slots: int, device: torch.device) -> None:
        with torch.inference_mode(False):
            self.mean_SH = torch.zeros(num_slots, hidden_size, device=device)
            self.rows_S = torch.zeros(num_slots, device=device)
            self.steps_S = torch.zeros(num_slots, device=device)
            self.loss_S = torch.full((num_slots,), torch.nan, device=device)
            self.relative_error_S = torch.full((num_slots,), torch.nan, device=device)
            self.diverged_slots = torch.zeros((), dtype=torch.long, device=device)

    @property
    def device(self) -> torch.device:
        """Where the means are."""
        return self.mean_SH.device

    @property
    def num_bytes(self) -> int:
        """Memory of all means."""
        return self.mean_SH.nbytes

    @torch.no_grad()
    def reset(self, slot: int) -> None:
        """Forget what `slot` has seen."""
        for kept in (self.mean_SH, self.rows_S, self.steps_S):
            kept[slot] = 0
        self.loss_S[slot] = self.relative_error_S[slot] = torch.nan

    def start_from(self, output_gain_H: Tensor) -> None:
        """A mean starts from zero, whatever the model's weights."""

    @torch.no_grad()
    def predict(self, rows: SourceRows) -> Forward:
        """The mean of each row's slot."""
        return Forward(self.mean_SH[slots_of(rows)])

    @torch.no_grad()
    def train(self, rows: HiddenRows, forward: Forward | None = None) -> None:
        """Take the finite rows into their slots' means; loss and relative error are those of the mean before."""
        slots_R = slots_of(rows)
        is_finite_R = torch.isfinite(rows.target_RH.sum(-1))
        target_RH = torch.where(is_finite_R.unsqueeze(1), rows.target_RH, 0.0).float()
        error_R = (target_RH - self.mean_SH[slots_R]).square().sum(-1) * is_finite_R
        counts_S, errors_S, powers_S = (
            torch.zeros_like(self.rows_S).index_add_(0, slots_R, value_R)
            for value_R in (is_finite_R.float(), error_R, target_RH.square().sum(-1))
        )
        has_rows_S = counts_S > 0
        self.loss_S = torch.where(has_rows_S, errors_S / counts_S / target_RH.shape[1], self.loss_S)
        self.relative_error_S = torch.where(has_rows_S, errors_S / powers_S, self.relative_error_S)
        sums_SH = torch.zeros_like(self.mean_SH).index_add_(0, slots_R, target_RH)
        self.rows_S += counts_S
        step_SH = (sums_SH - counts_S.unsqueeze(1) * self.mean_SH) / self.rows_S.clamp(min=1).unsqueeze(1)
        self.mean_SH += step_SH
        self.steps_S += has_rows_S


def slots_of(rows: SourceRows) -> Tensor:
    """Slot [R] of each row, on the rows' device."""
    return torch.tensor(rows.slots, device=rows.source_RH.device)
