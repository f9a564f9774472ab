"""An ablation of the paper (Tables 10-11): the same network, trained on the model's next-token distribution instead of its hidden state.

Legend: A slots of a batch, M rows per slot, H hidden size, V vocabulary.
"""

import torch
from torch import Tensor

from esamp.config import ESampConfig
from esamp.distiller.bank import DistillerBank, Forward, SlotViews
from esamp.distiller.hidden_rows import HiddenRows


class VocabularyDistillerBank(DistillerBank):
    """A DistillerBank whose loss is KL( softmax(W y) || softmax(W f(x)) ), in nats, averaged over the rows of a slot.

    The paper names the idea and no details; KL towards the model and the optimiser of the main method are our reading. Each step projects
    every row to the vocabulary three times: this is an experiment, not a fast path.
    """

    def __init__(
        self,
        config: ESampConfig,
        output_gain_H: Tensor,
        *,
        num_slots: int,
        device: torch.device,
        head_weight_VH: Tensor,
    ) -> None:
        """`head_weight_VH` [V, H]: the model's own head, which is not trained."""
        super().__init__(config, output_gain_H, num_slots=num_slots, device=device)
        self._head_weight_VH = head_weight_VH

    def _learn(self, rows: HiddenRows, forward: Forward, slots: SlotViews) -> None:
        target_AMH, error_AMH, num_rows_A = self._arithmetic.prediction_error(
            forward.prediction_AMH, rows.source_RH, rows.target_RH, rows.batch.index_AM, rows.batch.is_aligned
        )
        d_prediction_AMH, kl_A = self._loss(target_AMH, error_AMH, num_rows_A)
        self._arithmetic.descend(
            d_prediction_AMH,
            forward.output_AMH,
            list(forward.saved),
            kl_A,
            error_AMH.square().sum((1, 2)) / target_AMH.square().sum((1, 2)),
            num_rows_A,
            slots.state,
            slots.per_slot,
            slots.live,
            self.layout.inner_width,
            self._optimiser,
        )

    def _loss(self, target_AMH: Tensor, error_AMH: Tensor, num_rows_A: Tensor) -> tuple[Tensor, Tensor]:
        """Gradient with respect to the prediction, W^T (q - p) per row, and the KL [A] in nats."""
        # Where the error is 0 the prediction is the target, and p = q: rows that do not count drop out by themselves.
        logq_AMV, logp_AMV = (self._log_probabilities(target_AMH + e) for e in (error_AMH, torch.zeros_like(error_AMH)))
        p_AMV = logp_AMV.exp()
        kl_A = (p_AMV * (logp_AMV - logq_AMV)).sum((1, 2)) / num_rows_A
        d_prediction_AMH = (logq_AMV.exp() - p_AMV) @ self._head_weight_VH.float()
        return d_prediction_AMH / num_rows_A.clamp(min=1)[:, None, None], kl_A

    def _log_probabilities(self, hidden_AMH: Tensor) -> Tensor:
        return (hidden_AMH @ self._head_weight_VH.float().T).log_softmax(-1)
