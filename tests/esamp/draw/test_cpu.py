"""The compiled kernel equals the torch reference, token by token, on every instruction set this processor has."""

from dataclasses import replace

import pytest
import torch

from esamp.draw.cpu import CompiledDraw
from esamp.draw.inputs import DistillerLogits, DrawInputs, Inversion
from esamp.draw.kernel_library import NoKernel, load_library
from esamp.draw.reference import TorchDraw
from tests.esamp.draw.batches import assert_equal_draws, filtered, mixed_inputs, peaked_logits, seeds

ISAS = {"portable": 0, "avx2": 1, "avx512": 2}


@pytest.fixture(params=ISAS)
def kernel(request: pytest.FixtureRequest) -> CompiledDraw:
    try:
        best = load_library().esamp_draw_best_isa()
    except NoKernel as error:
        pytest.skip(f"no kernel here: {error}")
    if ISAS[request.param] > best:
        pytest.skip(f"this processor has no {request.param}")
    return CompiledDraw(isa=ISAS[request.param])


@pytest.mark.parametrize("is_given", [False, True], ids=["distiller", "given"])
@pytest.mark.parametrize("top_k", [None, 5], ids=["unfiltered", "filtered"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["fp32", "bf16"])
@pytest.mark.parametrize(("num_rows", "vocabulary"), [(1, 1000), (45, 64 * 7 + 1), (45, 63), (512, 130)])
def test_kernel_equals_the_reference(
    kernel: CompiledDraw, num_rows: int, vocabulary: int, dtype: torch.dtype, top_k: int | None, is_given: bool
) -> None:
    inputs = mixed_inputs(num_rows, vocabulary, dtype=dtype, top_k=top_k, is_given=is_given)
    assert_equal_draws(kernel(inputs), TorchDraw()(inputs))


def test_kernel_equals_the_reference_at_a_real_vocabulary(kernel: CompiledDraw) -> None:
    inputs = mixed_inputs(6, 151_936, dtype=torch.bfloat16, top_k=None, is_given=False, seed=8)
    assert_equal_draws(kernel(inputs), TorchDraw()(inputs))


@pytest.mark.parametrize(
    "changes",
    [
        {"plain_BV": None},
        {"wants_logprobs": False, "wants_unadjusted_logprobs": False},
        {"wants_unadjusted_logprobs": False},
        {"wants_unadjusted": False},
        {"adjustment": None},
        {"temperature_B": None, "adjustment": None},
        {"is_greedy_B": None},
        {"temperature_B": None, "adjustment": None, "is_greedy_B": None},
    ],
    ids=lambda changes: " ".join(changes),
)
def test_what_is_not_asked_for_is_left_out_and_changes_nothing_else(
    kernel: CompiledDraw, changes: dict[str, object]
) -> None:
    inputs = replace(
        mixed_inputs(30, 700, dtype=torch.float32, top_k=None, is_given=False),
        **changes,  # type: ignore[arg-type]
    )
    assert_equal_draws(kernel(inputs), TorchDraw()(inputs))


def test_kernel_draws_the_tokens_of_vllms_op(kernel: CompiledDraw) -> None:
    from vllm.platforms import current_platform

    if not current_platform.is_cpu():
        pytest.skip("vLLM's draw on a CPU is compared; this installation of vLLM is not for CPUs")
    current_platform.import_kernels()
    logits_BV, seeds_B = peaked_logits(64, 50_257), seeds(64)
    drawn = kernel(DrawInputs(logits_BV=logits_BV, seeds_B=seeds_B))
    assert drawn.tokens_B.tolist() == torch.ops._C.fused_gumbel_argmax(logits_BV, seeds_B).tolist()


def test_flat_logits_are_drawn_as_by_the_reference(kernel: CompiledDraw) -> None:
    """The hard case for the bound on the bits: every token may win, and the best score is hardly above any logit."""
    inputs = DrawInputs(
        logits_BV=torch.zeros(32, 2000), seeds_B=seeds(32), wants_logprobs=True, plain_BV=torch.zeros(32, 2000)
    )
    assert_equal_draws(kernel(inputs), TorchDraw()(inputs))


def test_logits_far_apart_are_drawn_as_by_the_reference(kernel: CompiledDraw) -> None:
    """The bound's other end: the leader is so far ahead that no noise of 53 bits can catch up, in some rows by just as much."""
    gap_B = torch.linspace(0, 90, 32)
    logits_BV = torch.zeros(32, 2000).index_fill_(1, torch.tensor([1321]), 1.0) * gap_B.unsqueeze(1)
    inputs = DrawInputs(logits_BV=logits_BV, seeds_B=seeds(32), wants_logprobs=True)
    drawn = kernel(inputs)
    assert_equal_draws(drawn, TorchDraw()(inputs))
    assert drawn.tokens_B[-1] == 1321


def test_rows_without_candidates_get_token_0(kernel: CompiledDraw) -> None:
    drawn = kernel(DrawInputs(logits_BV=torch.full((3, 200), -torch.inf), seeds_B=seeds(3)))
    assert drawn.tokens_B.tolist() == [0, 0, 0]


def test_nan_logits_are_never_drawn_and_show_in_the_log_probability(kernel: CompiledDraw) -> None:
    logits_BV = peaked_logits(8, 300)
    logits_BV[:, 17] = torch.nan
    drawn = kernel(DrawInputs(logits_BV=logits_BV, seeds_B=seeds(8), wants_logprobs=True))
    assert 17 not in drawn.tokens_B.tolist()
    assert drawn.logprobs_B is not None and drawn.logprobs_B.isnan().all()


def test_rows_need_not_follow_one_another_in_memory(kernel: CompiledDraw) -> None:
    """vLLM pads a vocabulary and hands out a view without the padding."""
    padded_BV = peaked_logits(20, 320, dtype=torch.bfloat16)
    view, copied = padded_BV[:, :300], padded_BV[:, :300].clone()
    results = [
        kernel(DrawInputs(logits_BV=z_BV, seeds_B=seeds(20), plain_BV=z_BV, wants_logprobs=True))
        for z_BV in (view, copied)
    ]
    assert_equal_draws(*results)


def test_other_dtypes_are_drawn_from_as_fp32(kernel: CompiledDraw) -> None:
    logits_BV = peaked_logits(20, 300, dtype=torch.float16)
    drawn = kernel(DrawInputs(logits_BV=logits_BV, seeds_B=seeds(20)))
    assert drawn.tokens_B.tolist() == TorchDraw()(DrawInputs(logits_BV=logits_BV, seeds_B=seeds(20))).tokens_B.tolist()


def test_inputs_are_left_as_they_were(kernel: CompiledDraw) -> None:
    inputs = mixed_inputs(20, 300, dtype=torch.float32, top_k=5, is_given=False)
    before = inputs.logits_BV.clone()
    kernel(inputs)
    assert torch.equal(inputs.logits_BV, before)


def test_threads_change_nothing(kernel: CompiledDraw) -> None:
    inputs = mixed_inputs(64, 4000, dtype=torch.bfloat16, top_k=None, is_given=False)
    alone, threads = kernel(inputs), torch.get_num_threads()
    torch.set_num_threads(4)
    try:
        together = kernel(inputs)
    finally:
        torch.set_num_threads(threads)
    assert_equal_draws(together, alone)


def test_a_row_alone_equals_the_row_in_a_batch(kernel: CompiledDraw) -> None:
    logits_BV, z_dist_BV, seeds_B = peaked_logits(20, 2000), peaked_logits(20, 2000, seed=3), seeds(20)
    beta_B, rows_B = torch.full((20,), 0.5), torch.arange(20)
    batch = kernel(
        DrawInputs(logits_BV=logits_BV, seeds_B=seeds_B, adjustment=DistillerLogits(z_dist_BV, rows_B, beta_B, None))
    )
    for row in range(20):
        adjustment = DistillerLogits(z_dist_BV[row : row + 1], rows_B[:1], beta_B[:1], None)
        alone = kernel(
            DrawInputs(logits_BV=logits_BV[row : row + 1], seeds_B=seeds_B[row : row + 1], adjustment=adjustment)
        )
        assert alone.tokens_B.tolist() == [batch.tokens_B[row].item()]


def test_filtered_rows_have_log_probability_0_where_one_candidate_is_left(kernel: CompiledDraw) -> None:
    drawn = kernel(
        DrawInputs(logits_BV=filtered(peaked_logits(9, 999), top_k=1), seeds_B=seeds(9), wants_logprobs=True)
    )
    assert drawn.logprobs_B is not None and drawn.logprobs_B.tolist() == [0.0] * 9


def test_an_instruction_set_that_is_not_there_is_refused() -> None:
    with pytest.raises(ValueError, match="instruction set 3 is not to be had"):
        CompiledDraw(isa=3)


def inversion(num_rows: int, seed: int = 0) -> Inversion:
    """Every other row at a random number, the first of them at the very ends."""
    generator = torch.Generator().manual_seed(seed)
    uniform_B, fill_B = torch.rand(2, num_rows, dtype=torch.float64, generator=generator)
    uniform_B[1::2] = torch.nan
    uniform_B[:3:2] = torch.tensor([0.0, 1 - 2.0**-53], dtype=torch.float64)[: len(uniform_B[:3:2])]
    return Inversion(uniform_B, fill_B)


@pytest.mark.parametrize("is_given", [False, True], ids=["distiller", "given"])
@pytest.mark.parametrize("top_k", [None, 5], ids=["unfiltered", "filtered"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["fp32", "bf16"])
@pytest.mark.parametrize(("num_rows", "vocabulary"), [(1, 1000), (45, 64 * 7 + 1), (45, 63), (512, 130)])
def test_rows_at_given_numbers_equal_the_reference(
    kernel: CompiledDraw, num_rows: int, vocabulary: int, dtype: torch.dtype, top_k: int | None, is_given: bool
) -> None:
    inputs = replace(
        mixed_inputs(num_rows, vocabulary, dtype=dtype, top_k=top_k, is_given=is_given), inversion=inversion(num_rows)
    )
    drawn, expected = kernel(inputs), TorchDraw()(inputs)
    assert_equal_draws(drawn, expected)
    assert drawn.remainder_B is not None and expected.remainder_B is not None
    # A token of probability p stretches the rounding of fp32 exponentials by 1 / p.
    tolerance_B = 1e-5 / expected.logprobs_B.double().exp()  # type: ignore[union-attr]
    is_close_B = (drawn.remainder_B - expected.remainder_B).abs() <= tolerance_B
    assert (is_close_B | (drawn.remainder_B.isnan() & expected.remainder_B.isnan())).all()


def test_a_row_at_a_given_number_equals_the_reference_at_a_real_vocabulary(kernel: CompiledDraw) -> None:
    inputs = replace(
        mixed_inputs(6, 151_936, dtype=torch.bfloat16, top_k=None, is_given=False, seed=8), inversion=inversion(6)
    )
    assert_equal_draws(kernel(inputs), TorchDraw()(inputs))
