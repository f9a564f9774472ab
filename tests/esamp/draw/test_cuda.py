"""The Triton kernel equals the torch reference on the host. Untested on machines without a GPU, where these are left out."""

import pytest
import torch

from esamp.draw.inputs import AdjustedLogits, DistillerLogits, DrawInputs
from esamp.draw.reference import TorchDraw
from tests.esamp.draw.batches import assert_equal_draws, mixed_inputs

pytestmark = pytest.mark.gpu


def to_device(inputs: DrawInputs, device: str) -> DrawInputs:
    adjustment = inputs.adjustment
    if isinstance(adjustment, DistillerLogits):
        assert adjustment.temperature_B is not None
        moved: DistillerLogits | AdjustedLogits = DistillerLogits(
            adjustment.z_dist_RV.to(device),
            adjustment.row_B.to(device),
            adjustment.beta_B.to(device),
            adjustment.temperature_B.to(device),
        )
    else:
        assert adjustment is not None
        moved = AdjustedLogits(adjustment.z_RV.to(device), adjustment.row_B.to(device))
    assert inputs.temperature_B is not None and inputs.is_greedy_B is not None and inputs.plain_BV is not None
    return DrawInputs(
        logits_BV=inputs.logits_BV.to(device),
        seeds_B=inputs.seeds_B.to(device),
        temperature_B=inputs.temperature_B.to(device),
        is_greedy_B=inputs.is_greedy_B.to(device),
        adjustment=moved,
        plain_BV=inputs.plain_BV.to(device),
        wants_unadjusted=True,
        wants_logprobs=True,
    )


@pytest.mark.parametrize("is_given", [False, True], ids=["distiller", "given"])
@pytest.mark.parametrize("top_k", [None, 5], ids=["unfiltered", "filtered"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["fp32", "bf16"])
@pytest.mark.parametrize(("num_rows", "vocabulary"), [(1, 1000), (45, 449), (512, 130), (64, 151_936)])
def test_triton_kernel_equals_the_reference(
    num_rows: int, vocabulary: int, dtype: torch.dtype, top_k: int | None, is_given: bool
) -> None:
    from esamp.draw.cuda import TritonDraw

    inputs = mixed_inputs(num_rows, vocabulary, dtype=dtype, top_k=top_k, is_given=is_given)
    assert_equal_draws(TritonDraw()(to_device(inputs, "cuda")), TorchDraw()(inputs))
