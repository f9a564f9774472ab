"""A Distiller that learns in one pass: recursive least squares on fixed random projections of the shallow state.

First-order steps are too slow for a group's few hundred rows (the paper's assumption A.3 wants a fit within a step); least squares has the
best linear fit after every row. For one slot, with phi = projections of the standardised shallow state and a constant:

    predict   y = phi W
    learn     K = P phi' (I + phi P phi')^-1,   W += K (y - phi W),   P -= K phi P        (Woodbury; phi [m, D]: the m rows of a step)

P is the inverse of (ridge I + sum phi' phi); sqrt(phi P phi') says how little the slot knows of a row. States are standardised per
channel, since residual streams have outlier channels that would fill every projection; by means and scales of the engine's own rows, kept
as they were when the slot learned first: features that moved would belie what P has gathered.

Legend: S slots, A slots in a batch's range, M rows per slot (padded), R rows, H hidden size, D features.
"""

import torch
from torch import Tensor

from esamp.config import ESampConfig
from esamp.distiller.bank import Forward
from esamp.distiller.hidden_rows import HiddenRows, SlotBatch, SourceRows

PRIOR_ROWS = 16.0
"""Rows' worth of trust in the mean scale of all channels, for the scale of one channel after few rows."""


class StateScale:
    """Mean and scale of each channel over all rows that the engine has shown."""

    def __init__(self, hidden_size: int, device: torch.device) -> None:
        self._count = torch.zeros((), device=device)
        self._mean_H = torch.zeros(hidden_size, device=device)
        self._power_H = torch.zeros(hidden_size, device=device)
        """Sum of squared distances from the mean."""

    def add(self, states_RH: Tensor) -> None:
        """Welford's update by a batch (Chan, Golub and LeVeque 1983), which keeps its precision over millions of rows."""
        size = states_RH.shape[0]
        total = self._count + size
        mean_H = states_RH.mean(0)
        distance_H = mean_H - self._mean_H
        self._power_H += (states_RH - mean_H).square().sum(0) + distance_H.square() * self._count * size / total
        self._mean_H += distance_H * size / total
        self._count.copy_(total)

    def mean_and_inverse_scale(self) -> tuple[Tensor, Tensor]:
        """[H] each."""
        typical = (self._power_H / self._count.clamp(min=1)).mean()
        variance_H = (self._power_H + PRIOR_ROWS * typical) / (self._count + PRIOR_ROWS)
        # Before two different rows were seen nothing is known of the scale.
        return self._mean_H.clone(), torch.where(typical > 0, variance_H, 1.0).rsqrt()


class RecursiveLeastSquaresBank:
    """S least-squares Distillers, fp32, on one device, behind the interface of a DistillerBank. A slot that has learned nothing
    predicts zero."""

    def __init__(self, config: ESampConfig, hidden_size: int, *, num_slots: int, device: torch.device) -> None:
        self.config = config
        features = config.rls_features + 1
        # Its own CPU generator: the global one draws the tokens of seedless requests, and every rank must get the same projections.
        generator = torch.Generator().manual_seed(config.seed)
        projection = torch.randn(hidden_size, config.rls_features, generator=generator) / hidden_size**0.5
        # vLLM calls its workers in inference mode; tensors made there could not be updated by a training thread outside it.
        with torch.inference_mode(False), torch.no_grad():
            self._projection_HD = projection.to(device)
            self._scale = StateScale(hidden_size, device)
            self._mean_SH = torch.zeros(num_slots, hidden_size, device=device)
            self._inverse_scale_SH = torch.ones(num_slots, hidden_size, device=device)
            self.covariance_SDD = torch.eye(features, device=device).repeat(num_slots, 1, 1) / config.rls_ridge
            """P of each slot."""
            self.weights_SDH = torch.zeros(num_slots, features, hidden_size, device=device)
            self.steps_S = torch.zeros(num_slots, device=device)
            self.loss_S = torch.full((num_slots,), torch.nan, device=device)
            self.relative_error_S = torch.full((num_slots,), torch.nan, device=device)
            self.diverged_slots = torch.zeros((), dtype=torch.long, device=device)
        self._unscaled = set(range(num_slots))
        """Slots whose scale is fixed by their first training."""

    @property
    def device(self) -> torch.device:
        """Where the slots are."""
        return self.weights_SDH.device

    @property
    def num_bytes(self) -> int:
        """Memory of all slots."""
        return sum(
            kept.nbytes for kept in (self.covariance_SDD, self.weights_SDH, self._mean_SH, self._inverse_scale_SH)
        )

    @torch.no_grad()
    def reset(self, slot: int) -> None:
        """Forget what `slot` has seen."""
        self.covariance_SDD[slot] = torch.eye(self.covariance_SDD.shape[1], device=self.device) / self.config.rls_ridge
        self.weights_SDH[slot] = 0
        self.steps_S[slot] = 0
        self.loss_S[slot] = self.relative_error_S[slot] = torch.nan
        self._unscaled.add(slot)

    def start_from(self, output_gain_H: Tensor) -> None:
        """The model has other weights: the scale of its states is measured anew. Slots start from zero, whatever they are."""
        with torch.inference_mode(False), torch.no_grad():
            self._scale = StateScale(self._mean_SH.shape[1], self.device)

    @torch.no_grad()
    def predict(self, rows: SourceRows) -> Forward:
        """Predict the deep state of each row by its slot; NaN where the slot diverged."""
        batch = rows.batch
        predicted_AMH = self._features(rows) @ self.weights_SDH[batch.span]
        return Forward(ungrouped(predicted_AMH, batch, len(rows.slots)))

    @torch.no_grad()
    def uncertainty(self, rows: SourceRows) -> Tensor:
        """[R] fp32 sqrt(phi P phi'): how little each row's slot knows of it."""
        phi_AMD = self._features(rows)
        variance_AM = ((phi_AMD @ self.covariance_SDD[rows.batch.span]) * phi_AMD).sum(-1)
        return ungrouped(variance_AM.clamp(min=0).sqrt().unsqueeze(-1), rows.batch, len(rows.slots)).squeeze(-1)

    @torch.no_grad()
    def train(self, rows: HiddenRows, forward: Forward | None = None) -> None:
        """Learn the rows exactly, one update of each slot that has rows. Rows with a non-finite number do not count; a slot that meets
        numbers of its own that are not finite predicts NaN until its reset, and is counted."""
        batch = rows.batch
        is_finite_R1 = torch.isfinite(rows.source_RH.sum(-1, keepdim=True) + rows.target_RH.sum(-1, keepdim=True))
        self._fix_scales(torch.where(is_finite_R1, rows.source_RH, 0.0).float(), batch)
        # Zero features are no evidence: padding and rows that do not count leave P and W as they are.
        phi_AMD = self._features(rows) * grouped(is_finite_R1.float(), batch)
        target_AMH = grouped(torch.where(is_finite_R1, rows.target_RH, 0.0).float(), batch)
        P_ADD, W_ADH = self._forgotten(phi_AMD, batch), self.weights_SDH[batch.span]
        error_AMH = target_AMH - phi_AMD @ W_ADH
        phiP_AMD = phi_AMD @ P_ADD
        identity_MM = torch.eye(phi_AMD.shape[1], device=self.device)
        # (I + phi P phi') is symmetric and at least I, so that its Cholesky factor exists; info tells where numbers were not finite.
        factor_AMM, _ = torch.linalg.cholesky_ex(identity_MM + phiP_AMD @ phi_AMD.mT)
        gain_ADM = torch.cholesky_solve(phiP_AMD, factor_AMM).mT
        new_W_ADH = W_ADH + gain_ADM @ error_AMH
        new_P_ADD = P_ADD - gain_ADM @ phiP_AMD
        # Rounding would let P drift from symmetry, and then from being positive.
        new_P_ADD = (new_P_ADD + new_P_ADD.mT) / 2
        self._store(batch, new_W_ADH, new_P_ADD, error_AMH, target_AMH)

    def _store(self, batch: SlotBatch, W_ADH: Tensor, P_ADD: Tensor, error_AMH: Tensor, target_AMH: Tensor) -> None:
        has_rows_A = torch.tensor([count > 0 for count in batch.num_rows_A], device=self.device)
        counts_A = torch.tensor(batch.num_rows_A, device=self.device).clamp(min=1)
        was_finite_A = torch.isfinite(self.weights_SDH[batch.span].sum((1, 2)))
        is_finite_A = torch.isfinite(W_ADH.sum((1, 2))) & torch.isfinite(P_ADD.sum((1, 2)))
        self.diverged_slots += (has_rows_A & was_finite_A & ~is_finite_A).sum()
        self.weights_SDH[batch.span] = torch.where(is_finite_A.view(-1, 1, 1), W_ADH, torch.nan)
        self.covariance_SDD[batch.span] = P_ADD
        errors_A, powers_A = error_AMH.square().sum((1, 2)), target_AMH.square().sum((1, 2))
        for kept_S, new_A in (
            (self.loss_S, errors_A / counts_A / error_AMH.shape[2]),
            (self.relative_error_S, errors_A / powers_A),
        ):
            kept_S[batch.span] = torch.where(has_rows_A, new_A, kept_S[batch.span])
        self.steps_S[batch.span] += has_rows_A

    def _features(self, rows: SourceRows) -> Tensor:
        """[A, M, D] of the rows of each slot; zeros for padding and rows that are not finite."""
        batch = rows.batch
        states_AMH = grouped(rows.source_RH.float(), batch)
        standardised_AMH = (states_AMH - self._mean_SH[batch.span].unsqueeze(1)) * self._inverse_scale_SH[
            batch.span
        ].unsqueeze(1)
        projected_AMD = (standardised_AMH @ self._projection_HD).nan_to_num(0.0, 0.0, 0.0)
        is_row_AM1 = (batch.index_AM < len(rows.slots)).unsqueeze(-1)
        constant_AM1 = torch.ones_like(projected_AMD[..., :1])
        return torch.cat([projected_AMD, constant_AM1], -1) * is_row_AM1

    def _fix_scales(self, source_RH: Tensor, batch: SlotBatch) -> None:
        self._scale.add(source_RH)
        for slot in self._unscaled & set(batch.slots):
            self._mean_SH[slot], self._inverse_scale_SH[slot] = self._scale.mean_and_inverse_scale()
            self._unscaled.discard(slot)

    def _forgotten(self, phi_AMD: Tensor, batch: SlotBatch) -> Tensor:
        """[A, D, D] P with what earlier rows said about these rows discounted (directional forgetting, Kulhavy 1987). Discounting all of P
        would let it grow without bound in directions that no row shows any more."""
        P_ADD = self.covariance_SDD[batch.span]
        discount = 1 / self.config.rls_forgetting - 1
        if discount == 0:
            return P_ADD
        phiP_AMD = phi_AMD @ P_ADD
        variance_AMM = phiP_AMD @ phi_AMD.mT
        # Rows of a step may be alike, or padding: their variance matrix is singular, so it is kept above rounding.
        ridge_A11 = 1e-4 * variance_AMM.diagonal(dim1=1, dim2=2).amax(-1).clamp(min=1e-6).view(-1, 1, 1)
        factor_AMM, _ = torch.linalg.cholesky_ex(
            variance_AMM + ridge_A11 * torch.eye(phi_AMD.shape[1], device=self.device)
        )
        return P_ADD + discount * phiP_AMD.mT @ torch.cholesky_solve(phiP_AMD, factor_AMM)


def grouped(values_RN: Tensor, batch: SlotBatch) -> Tensor:
    """[A, M, N] rows by slot; padding is 0."""
    return torch.cat([values_RN, values_RN.new_zeros(1, values_RN.shape[1])])[batch.index_AM]


def ungrouped(values_AMN: Tensor, batch: SlotBatch, num_rows: int) -> Tensor:
    """[R, N] in the order of the rows."""
    values_RN = values_AMN.new_empty(num_rows + 1, values_AMN.shape[2])
    values_RN[batch.index_AM.flatten()] = values_AMN.flatten(0, 1)
    return values_RN[:num_rows]
