"""Which implementation draws on a device."""

import importlib.util
import logging
from dataclasses import dataclass

import torch

from esamp.draw.cpu import CompiledDraw
from esamp.draw.inputs import FusedDraw
from esamp.draw.library import NoKernel
from esamp.draw.reference import TorchDraw

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class DrawBackend:
    """An implementation, and whether it is the one that is meant to run."""

    draw: FusedDraw
    is_fallback: bool
    """True where torch draws because a kernel is missing: the same tokens, several times slower. Its steps are counted."""


def draw_backend(device: torch.device) -> DrawBackend:
    """The fastest implementation for `device`; says so, once per engine, where it is only the fallback."""
    if device.type == "cpu":
        try:
            return DrawBackend(CompiledDraw(), is_fallback=False)
        except NoKernel as error:
            reason = str(error)
    elif device.type == "cuda" and importlib.util.find_spec("triton") is not None:
        from esamp.draw.cuda import TritonDraw  # triton is no dependency of a CPU installation

        return DrawBackend(TritonDraw(), is_fallback=False)
    else:
        reason = f"there is no kernel for {device.type} without the package triton"
    logger.warning("esamp: tokens are drawn in torch, which is several times slower: %s", reason)
    return DrawBackend(TorchDraw(), is_fallback=True)
