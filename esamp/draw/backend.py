"""Whether a fused draw can be had on this machine."""

import logging

from esamp.draw.cpu import CompiledDraw
from esamp.draw.inputs import FusedDraw
from esamp.draw.kernel_library import NoKernel

logger = logging.getLogger(__name__)


def cpu_draw() -> FusedDraw | None:
    """The compiled kernel; None, with a warning that says why, if there is none. vLLM's own draw then gives the same tokens, in several
    passes over the logits, and its steps are counted (Counters.unfused_steps)."""
    try:
        return CompiledDraw()
    except NoKernel as error:
        logger.warning("esamp: tokens are drawn in several passes over the logits, which is slower: %s", error)
        return None
