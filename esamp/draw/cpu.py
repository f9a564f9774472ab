"""The fused draw by the compiled kernel. Legend: B batch rows, V vocabulary."""

import ctypes

import torch
from torch import Tensor

from esamp.draw.inputs import AdjustedLogits, DistillerLogits, DrawInputs, DrawnTokens
from esamp.draw.kernel_library import DrawStruct, LogitsStruct, load_library

NOT_ADJUSTED, PROPOSED, GIVEN = 0, 1, 2
"""`enum adjustment` of kernel.c."""
ROW_WORK = 32_768
"""Logits that are worth waking another thread for: some 50 microseconds of one."""


class CompiledDraw:
    """A FusedDraw on a CPU, on as many threads as torch uses."""

    def __init__(self, isa: int | None = None) -> None:
        """`isa` takes another instruction set than the processor's best: 0 portable, 1 AVX2, 2 AVX-512. Raises NoKernel; ValueError if
        the processor has no such instructions."""
        self._library = load_library()
        best = self._library.esamp_draw_best_isa()
        if isa is not None and isa > best:
            raise ValueError(f"instruction set {isa} is not to be had on this processor; its best is {best}.")
        self.isa: int = best if isa is None else isa

    def __call__(self, inputs: DrawInputs) -> DrawnTokens:
        """See FusedDraw."""
        size, vocabulary = inputs.logits_BV.shape
        assert inputs.wants_logprobs or not inputs.wants_unadjusted_logprobs
        drawn = DrawnTokens(
            tokens_B=torch.empty(size, dtype=torch.long),
            unadjusted_tokens_B=torch.empty(size, dtype=torch.long) if inputs.wants_unadjusted else None,
            logprobs_B=torch.empty(size) if inputs.wants_logprobs else None,
            plain_logprobs_B=None if inputs.plain_BV is None else torch.empty(size),
            num_candidates_B=torch.empty(size, dtype=torch.long) if inputs.wants_logprobs else None,
            unadjusted_logprobs_B=torch.empty(size) if inputs.wants_unadjusted_logprobs else None,
            remainder_B=None if inputs.inversion is None else torch.empty(size, dtype=torch.float64),
        )
        if size == 0:
            return drawn
        # Whatever is converted must live until the call returns: the structure holds addresses, not tensors.
        logits_BV = rows_of_logits(inputs.logits_BV)
        is_plain_shared = inputs.plain_BV is inputs.logits_BV
        plain_BV = logits_BV if is_plain_shared or inputs.plain_BV is None else rows_of_logits(inputs.plain_BV)
        adjustment = inputs.adjustment
        kind, other_RV = NOT_ADJUSTED, logits_BV
        row_B = beta_B = adjustment_temperature_B = None
        if isinstance(adjustment, DistillerLogits):
            kind, other_RV = PROPOSED, rows_of_logits(adjustment.z_dist_RV)
            row_B, beta_B, adjustment_temperature_B = adjustment.row_B, adjustment.beta_B, adjustment.temperature_B
        elif isinstance(adjustment, AdjustedLogits):
            kind, other_RV = GIVEN, rows_of_logits(adjustment.z_RV)
            row_B = adjustment.row_B
        assert other_RV.shape[1] == vocabulary == plain_BV.shape[1], (other_RV.shape, plain_BV.shape, vocabulary)
        vectors = {
            "temperature": column(inputs.temperature_B, torch.float32, size),
            "adjustment_row": column(row_B, torch.long, size),
            "adjustment_temperature": column(adjustment_temperature_B, torch.float32, size),
            "beta": column(beta_B, torch.float32, size),
            "seeds": column(inputs.seeds_B, torch.long, size),
            "is_greedy": column(inputs.is_greedy_B, torch.bool, size),
            "uniform": None if inputs.inversion is None else column(inputs.inversion.uniform_B, torch.float64, size),
            "fill": None if inputs.inversion is None else column(inputs.inversion.fill_B, torch.float64, size),
            "tokens": drawn.tokens_B,
            "unadjusted_tokens": drawn.unadjusted_tokens_B,
            "logprobs": drawn.logprobs_B,
            "plain_logprobs": drawn.plain_logprobs_B,
            "unadjusted_logprobs": drawn.unadjusted_logprobs_B,
            "remainder": drawn.remainder_B,
            "num_candidates": drawn.num_candidates_B,
        }
        struct = DrawStruct(
            num_rows=size,
            vocabulary=vocabulary,
            num_threads=max(1, min(torch.get_num_threads(), size, size * vocabulary // ROW_WORK)),
            logits=logits_struct(logits_BV),
            plain=logits_struct(plain_BV),
            adjustment=kind,
            other=logits_struct(other_RV),
            **{name: None if vector is None else vector.data_ptr() for name, vector in vectors.items()},
        )
        self._library.esamp_draw(ctypes.byref(struct), self.isa)
        return drawn


def rows_of_logits(z_RV: Tensor) -> Tensor:
    """The logits as the kernel reads them: bf16 or fp32, on the host, each row in one piece. Rarely a copy."""
    if z_RV.device.type != "cpu":
        raise ValueError(f"the compiled draw reads logits on the host; these are on {z_RV.device}.")
    if z_RV.dtype not in (torch.bfloat16, torch.float32):
        z_RV = z_RV.float()
    return z_RV if z_RV.stride(1) == 1 or z_RV.shape[1] == 1 else z_RV.contiguous()


def column(x_B: Tensor | None, dtype: torch.dtype, size: int) -> Tensor | None:
    """A number per row as the kernel reads it. Rarely a copy."""
    if x_B is None:
        return None
    assert x_B.shape == (size,), (x_B.shape, size)
    return x_B.to(dtype).contiguous()


def logits_struct(z_RV: Tensor) -> LogitsStruct:
    """Where the kernel finds the logits."""
    return LogitsStruct(data=z_RV.data_ptr(), row_stride=z_RV.stride(0), is_bf16=z_RV.dtype == torch.bfloat16)
