"""The exploring rows of one step, from their prediction until they are learned from.

Legend: B batch rows, R exploring rows, G live groups of the step, S slots.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from esamp.distiller.bank import Forward
from esamp.distiller.hidden_rows import HiddenRows
from esamp.exploration.row_plan import RowPlan
from esamp.exploration.weight_ages import WeightAges
from esamp.fusion.logit_adjustment import LogitAdjustment
from esamp.telemetry import PolicyMeasures, RowVersions


@dataclass(frozen=True, slots=True, eq=False)
class ExploringStep:
    """What a step has read, predicted, and is about to learn from."""

    plan: RowPlan
    hidden: HiddenRows
    ages: WeightAges
    adjustment: LogitAdjustment | None
    """None if every row has beta 0."""
    forward: Forward | None

    def measures(self, batch_size: int, loss_S: Tensor) -> PolicyMeasures:
        """Novelty |h - prediction| / |h|, loss, lag and version of the adjusted rows; `loss_S` [S] is the bank's."""
        device = loss_S.device
        measures = PolicyMeasures.none(batch_size, device)
        plan, adjustment = self.plan, self.adjustment
        if adjustment is None:
            return measures
        novelty_R = adjustment.error_RH.norm(dim=-1) / adjustment.hidden_RH.norm(dim=-1)
        lag_G = torch.tensor(self.ages.lags, dtype=torch.float32, device=device)

        def of_batch(values_R: Tensor, elsewhere_B: Tensor) -> Tensor:
            if isinstance(plan.index, slice):
                return values_R
            return elsewhere_B.index_copy(0, plan.index, values_R)

        return PolicyMeasures(
            of_batch((adjustment.is_finite_R & (adjustment.beta_R > 0)).float(), measures.intervened_B),
            of_batch(novelty_R, measures.novelty_B),
            of_batch(loss_S[plan.slots_R], measures.loss_B),
            of_batch(lag_G[plan.group_R], measures.lag_B),
            RowVersions(self.ages.versions, plan.group_B),
        )
