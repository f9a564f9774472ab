"""The interface of a bank: Distillers, and the ablations and controls that predict in another way.

Legend: S slots, R rows, H hidden size, V vocabulary.
"""

from typing import Protocol

import torch
from torch import Tensor

from esamp.config import ESampConfig
from esamp.distiller.bank import DistillerBank, Forward
from esamp.distiller.hidden_rows import HiddenRows, SourceRows
from esamp.distiller.rls import RecursiveLeastSquaresBank
from esamp.distiller.running_mean import RunningMeanBank
from esamp.distiller.shared_init import SharedInitBank
from esamp.distiller.vocabulary_distiller import VocabularyDistillerBank


class Bank(Protocol):
    """Slots that predict deep hidden states and learn from them; see DistillerBank for what each member promises."""

    steps_S: Tensor
    loss_S: Tensor
    relative_error_S: Tensor
    diverged_slots: Tensor

    @property
    def device(self) -> torch.device: ...

    @property
    def num_bytes(self) -> int: ...

    def reset(self, slot: int) -> None: ...

    def start_from(self, output_gain_H: Tensor) -> None: ...

    def predict(self, rows: SourceRows) -> Forward: ...

    def train(self, rows: HiddenRows, forward: Forward | None = None) -> None: ...


def build_bank(config: ESampConfig, output_gain_H: Tensor, *, num_slots: int, head_weight_VH: Tensor | None) -> Bank:
    """The bank that the config asks for, where `output_gain_H` is. `head_weight_VH` is needed for prediction="vocabulary" only."""
    device = output_gain_H.device
    if config.prediction == "running_mean":
        return RunningMeanBank(output_gain_H.shape[0], num_slots=num_slots, device=device)
    if config.distiller == "rls":
        return RecursiveLeastSquaresBank(config, output_gain_H.shape[0], num_slots=num_slots, device=device)
    if config.prediction == "vocabulary":
        if head_weight_VH is None:
            raise ValueError('prediction="vocabulary" needs a plain, unquantised lm_head; this model has none.')
        return VocabularyDistillerBank(
            config, output_gain_H, num_slots=num_slots, device=device, head_weight_VH=head_weight_VH
        )
    return build_distillers(config, output_gain_H, num_slots=num_slots)


def build_distillers(config: ESampConfig, output_gain_H: Tensor, *, num_slots: int) -> DistillerBank:
    """Distillers for `num_slots` groups, where `output_gain_H` [H] is, with whatever more their scope needs."""
    bank = SharedInitBank if config.distiller_scope.learns_init else DistillerBank
    return bank(config, output_gain_H, num_slots=num_slots, device=output_gain_H.device)
