"""How much of beta a slot gets: an untrained Distiller is noise, and noise only sharpens. One class per rule.

Legend: R rows, S slots.
"""

from typing import Protocol

from torch import Tensor

from esamp.config import ESampConfig
from esamp.distiller.interface import Bank


class Warmup(Protocol):
    """Scales beta by how far a slot has come."""

    def scale(self, beta_R: Tensor, bank: Bank, slots_R: Tensor) -> Tensor:
        """beta [R] for rows of the slots `slots_R` [R], not above `beta_R`; on the device, without looking at it from the host."""
        ...


class NoWarmup:
    """Full beta from the first step on, as in the paper."""

    def scale(self, beta_R: Tensor, bank: Bank, slots_R: Tensor) -> Tensor:
        return beta_R


class FitWarmup:
    """beta grows with the share of the deep state's power that the slot explained in its latest training: 1 - |y - f|^2 / |y|^2,
    and 0 below. Not in the paper."""

    def scale(self, beta_R: Tensor, bank: Bank, slots_R: Tensor) -> Tensor:
        return beta_R * (1.0 - bank.relative_error_S[slots_R]).clamp(0.0, 1.0).nan_to_num(0.0)


def build_warmup(config: ESampConfig) -> Warmup:
    """The rule that the config asks for."""
    return FitWarmup() if config.warmup == "fit" else NoWarmup()
