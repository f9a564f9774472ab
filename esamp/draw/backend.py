"""Which fused draw an engine gets: one pass over the logits, or none, and then vLLM's own draw in several passes.

On a CPU the kernel has vLLM's noise, so that beta 0 gives stock vLLM's tokens. On CUDA it has not (vLLM's noise there is torch's): it is
used where ESAMP_CUDA_DRAW=triton asks for it, for every token of the engine, so that a seed's tokens depend on no other row.
"""

import logging
import os

import torch

from esamp.draw.cpu import CompiledDraw
from esamp.draw.inputs import DistillerLogits, DrawInputs, FusedDraw
from esamp.draw.kernel_library import NoKernel
from esamp.draw.reference import TorchDraw

logger = logging.getLogger(__name__)

CUDA_VARIABLE = "ESAMP_CUDA_DRAW"
CHECKED_ROWS, CHECKED_VOCABULARY = 16, 5_000
"""Of the comparison at start: several blocks of the kernel's loop, the last of them not full."""


class WrongDraw(RuntimeError):
    """A fused draw does not do on this machine what the reference does; the message says where they differ."""


def fused_draw(device: torch.device) -> FusedDraw | None:
    """The draw for an engine on `device`; None for vLLM's own, whose steps are counted (Counters.unfused_steps).

    Raises ValueError if CUDA_VARIABLE holds anything but "triton"; WrongDraw if the Triton kernel does not equal the reference here.
    """
    if device.type == "cpu":
        return cpu_draw()
    wanted = os.environ.get(CUDA_VARIABLE)
    if wanted is None or device.type != "cuda":
        return None
    if wanted != "triton":
        raise ValueError(f'{CUDA_VARIABLE} must be "triton", or not set for the draw of vLLM; got {wanted!r}.')
    from esamp.draw.cuda import TritonDraw  # Triton is not installed beside a CPU's vLLM

    draw = TritonDraw()
    check_draw(draw, device)
    return draw


def cpu_draw() -> FusedDraw | None:
    """The compiled kernel; None, with a warning that says why, if there is none. vLLM's own draw then gives the same tokens."""
    try:
        return CompiledDraw()
    except NoKernel as error:
        logger.warning("esamp: tokens are drawn in several passes over the logits, which is slower: %s", error)
        return None


def check_draw(draw: FusedDraw, device: torch.device) -> None:
    """Compare a draw with the reference on one batch, adjusted and not, greedy and not. Raises WrongDraw."""
    inputs = checked_inputs(device)
    drawn, expected = draw(inputs), TorchDraw()(inputs)
    for name in ("tokens_B", "unadjusted_tokens_B", "num_candidates_B"):
        if not torch.equal(getattr(drawn, name), getattr(expected, name)):
            raise WrongDraw(
                f"{name} of {type(draw).__name__} on {device} differ from the reference's; unset {CUDA_VARIABLE}."
            )
    for name in ("logprobs_B", "plain_logprobs_B", "unadjusted_logprobs_B"):
        difference = (getattr(drawn, name) - getattr(expected, name)).abs().max().item()
        if not difference < 1e-4:
            raise WrongDraw(
                f"{name} of {type(draw).__name__} on {device} differ from the reference's by {difference:.2g}, where rounding explains "
                f"1e-4; unset {CUDA_VARIABLE}."
            )


def checked_inputs(device: torch.device) -> DrawInputs:
    """Rows of all kinds: every fourth is greedy, every third not adjusted, a third of all tokens filtered out."""
    generator = torch.Generator().manual_seed(0)
    logits_BV = 3 * torch.randn(CHECKED_ROWS, CHECKED_VOCABULARY, generator=generator)
    plain_BV = logits_BV.clone()
    logits_BV[:, ::3] = -torch.inf
    z_dist_BV = 3 * torch.randn(CHECKED_ROWS, CHECKED_VOCABULARY, generator=generator)
    row_B = torch.arange(CHECKED_ROWS, device=device)
    is_greedy_B = row_B % 4 == 3
    temperature_B = torch.where(is_greedy_B, 1.0, 0.8)
    return DrawInputs(
        logits_BV=logits_BV.to(device),
        seeds_B=row_B,
        temperature_B=temperature_B,
        is_greedy_B=is_greedy_B,
        adjustment=DistillerLogits(
            z_dist_BV.to(device),
            torch.where((row_B % 3 == 2) | is_greedy_B, -1, row_B),
            torch.full((CHECKED_ROWS,), 0.5, device=device),
            temperature_B,
        ),
        plain_BV=plain_BV.to(device),
        wants_unadjusted=True,
        wants_logprobs=True,
        wants_unadjusted_logprobs=True,
    )
