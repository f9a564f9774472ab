"""The torch reference draws what vLLM's own op draws, and from the distribution it should."""

import pytest
import torch

from esamp.draw.inputs import AdjustedLogits, DistillerLogits, DrawInputs
from esamp.draw.noise import draw_seeds, gumbel_noise
from esamp.draw.reference import TorchDraw
from tests.esamp.draw.batches import filtered, peaked_logits, seeds


@pytest.fixture(scope="module", autouse=True)
def vllm_op() -> None:
    """Registers vLLM's op, which is what rows without a policy are drawn by."""
    from vllm.platforms import current_platform

    if not current_platform.is_cpu():
        pytest.skip("vLLM's draw on a CPU is compared; this installation of vLLM is not for CPUs")
    current_platform.import_kernels()


def stock_tokens(logits_BV: torch.Tensor, seeds_B: torch.Tensor) -> list[int]:
    return torch.ops._C.fused_gumbel_argmax(logits_BV.float(), seeds_B).tolist()


@pytest.mark.parametrize("vocabulary", [1, 63, 1000])
def test_reference_draws_the_tokens_of_vllms_op(vocabulary: int) -> None:
    logits_BV, seeds_B = peaked_logits(48, vocabulary), seeds(48)
    drawn = TorchDraw()(DrawInputs(logits_BV=logits_BV, seeds_B=seeds_B))
    assert drawn.tokens_B.tolist() == stock_tokens(logits_BV, seeds_B)


def test_reference_draws_the_tokens_of_vllms_op_among_few_candidates() -> None:
    logits_BV, seeds_B = filtered(peaked_logits(48, 4096), top_k=7), seeds(48)
    drawn = TorchDraw()(DrawInputs(logits_BV=logits_BV, seeds_B=seeds_B, wants_logprobs=True))
    assert drawn.tokens_B.tolist() == stock_tokens(logits_BV, seeds_B)
    assert drawn.num_candidates_B is not None and drawn.num_candidates_B.tolist() == [7] * 48


def test_logits_too_large_for_noise_in_fp32_are_drawn_as_by_vllms_op() -> None:
    """At 1e7 fp32 knows no fractions: scores must be added up in fp64, or most tokens would tie."""
    logits_BV, seeds_B = torch.full((16, 500), 1e7), seeds(16)
    tokens = TorchDraw()(DrawInputs(logits_BV=logits_BV, seeds_B=seeds_B)).tokens_B.tolist()
    assert tokens == stock_tokens(logits_BV, seeds_B)
    assert len(set(tokens)) > 8


def test_rows_without_candidates_get_token_0_as_from_vllms_op() -> None:
    logits_BV, seeds_B = torch.full((2, 50), -torch.inf), seeds(2)
    assert TorchDraw()(DrawInputs(logits_BV=logits_BV, seeds_B=seeds_B)).tokens_B.tolist() == [0, 0]
    assert stock_tokens(logits_BV, seeds_B) == [0, 0]


def test_noise_is_standard_gumbel() -> None:
    """Mean: Euler's constant; variance: pi^2 / 6. 200,000 numbers: five standard errors are .015 and .05."""
    noise = gumbel_noise(seeds(4), 50_000)
    assert abs(float(noise.mean()) - 0.5772) < 0.015
    assert abs(float(noise.var()) - 1.6449) < 0.05


def test_tokens_follow_the_adjusted_distribution() -> None:
    """4,000 draws from three tokens, chi-square with two degrees of freedom: 13.8 is passed by one in a thousand."""
    size = 4000
    z_V, z_dist_V = torch.tensor([1.0, 0.0, -1.0]), torch.tensor([0.0, 1.0, 0.5])
    rows_B, beta_B = torch.zeros(size, dtype=torch.long), torch.full((size,), 0.5)
    adjustment = DistillerLogits(z_dist_V.unsqueeze(0), rows_B, beta_B, None)
    drawn = TorchDraw()(DrawInputs(logits_BV=z_V.repeat(size, 1), seeds_B=seeds(size), adjustment=adjustment))
    expected_V = (1.5 * z_V - 0.5 * z_dist_V).softmax(-1) * size
    counts_V = torch.bincount(drawn.tokens_B, minlength=3)
    assert float(((counts_V - expected_V) ** 2 / expected_V).sum()) < 13.8


def test_first_of_equally_likely_tokens_is_greedy() -> None:
    logits_BV = torch.tensor([[0.0, 3.0, 3.0, 1.0]])
    drawn = TorchDraw()(DrawInputs(logits_BV=logits_BV, seeds_B=seeds(1), is_greedy_B=torch.tensor([True])))
    assert drawn.tokens_B.tolist() == [1]


def test_given_logits_equal_the_same_made_from_the_distillers() -> None:
    z_BV, z_dist_BV, rows_B = peaked_logits(20, 300), peaked_logits(20, 300, seed=5), torch.arange(20)
    beta_B, seeds_B = torch.full((20,), 0.7), seeds(20)
    made = DistillerLogits(z_dist_BV, rows_B, beta_B, None)
    given = AdjustedLogits(z_BV + 0.7 * (z_BV - z_dist_BV), rows_B)
    tokens = [TorchDraw()(DrawInputs(logits_BV=z_BV, seeds_B=seeds_B, adjustment=a)).tokens_B for a in (made, given)]
    assert tokens[0].tolist() == tokens[1].tolist()


def test_seeds_come_from_the_rows_own_generators() -> None:
    """And the others' from the global one, whose state moves on by one batch whatever the rows have."""
    torch.manual_seed(3)
    expected = torch.randint(0, 2**31, (4,)).tolist()
    after = torch.randint(0, 2**31, (1,)).item()
    torch.manual_seed(3)
    drawn = draw_seeds(4, {2: torch.Generator().manual_seed(11)}, torch.device("cpu")).tolist()
    own = torch.randint(0, 2**31, (1,), generator=torch.Generator().manual_seed(11)).item()
    assert drawn == [expected[0], expected[1], own, expected[3]]
    assert torch.randint(0, 2**31, (1,)).item() == after
