"""What logits are fused with: the Distiller's prediction of the deep state, or a control. One class per way.

Legend: R rows, H hidden size.
"""

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from esamp.config import ESampConfig
from esamp.distiller.bank import Forward
from esamp.distiller.hidden_rows import HiddenRows, SlotBatch, SourceRows
from esamp.distiller.interface import Bank


@dataclass(frozen=True, slots=True, eq=False)
class Prediction:
    """Predicted deep states of one step."""

    hidden_RH: Tensor
    """[R, H] fp32; a row that is not finite stays vanilla."""
    forward: Forward | None
    """The bank's activations, if training on these rows can reuse them."""


class Predictor(Protocol):
    """Predicts the deep states of a step."""

    def predict(self, rows: HiddenRows) -> Prediction:
        """One prediction per row."""
        ...


@dataclass(frozen=True, slots=True)
class OwnPrediction:
    """Each row by the Distiller of its own group: ESamp."""

    bank: Bank

    def predict(self, rows: HiddenRows) -> Prediction:
        forward = self.bank.predict(rows)
        return Prediction(forward.prediction_RH, forward)


@dataclass(frozen=True, slots=True)
class ShuffledPrediction:
    """A control: each row by the Distiller of another group, the next one in the batch. A group alone in its batch stays vanilla."""

    bank: Bank

    def predict(self, rows: HiddenRows) -> Prediction:
        present = sorted(set(rows.slots))
        if len(present) == 1:
            return Prediction(torch.full_like(rows.target_RH, torch.nan, dtype=torch.float32), None)
        next_slot = dict(zip(present, [*present[1:], present[0]], strict=True))
        others = SlotBatch.of(tuple(next_slot[slot] for slot in rows.slots), rows.source_RH.device)
        forward = self.bank.predict(SourceRows(rows.source_RH, others))
        return Prediction(forward.prediction_RH, None)


class NoisePrediction:
    """A control of the paper (Tables 10-11): the error keeps its length and gets a random direction, h - |e| g / |g|, g ~ N(0, I)."""

    def __init__(self, bank: Bank, seed: int) -> None:
        self.bank = bank
        # Its own generator: the global one draws the tokens of seedless requests.
        self._generator = torch.Generator(bank.device).manual_seed(seed)

    def predict(self, rows: HiddenRows) -> Prediction:
        forward = self.bank.predict(rows)
        target_RH = rows.target_RH.float()
        length_R1 = (target_RH - forward.prediction_RH).norm(dim=-1, keepdim=True)
        noise_RH = torch.randn(target_RH.shape, generator=self._generator, device=target_RH.device)
        return Prediction(target_RH - length_R1 * noise_RH / noise_RH.norm(dim=-1, keepdim=True), forward)


def build_predictor(config: ESampConfig, bank: Bank) -> Predictor:
    """The predictor that the config asks for."""
    if config.prediction == "shuffled":
        return ShuffledPrediction(bank)
    if config.prediction == "noise":
        return NoisePrediction(bank, config.seed)
    return OwnPrediction(bank)
