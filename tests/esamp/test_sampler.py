"""Tokens are drawn from the closed form, and never from outside the candidates."""

import pytest
import torch
from scipy.stats import chisquare
from vllm.v1.sample.ops.topk_topp_sampler import TopKTopPSampler

from esamp.fusion import Fusion, ProposedFusion
from esamp.reference import fused_distribution
from esamp.sampler import StagedTopKTopP
from esamp.steering import DenseSteering, Steering

pytestmark = pytest.mark.engine
DRAWS = 40_000
V = 40


def steering(
    z_dist: torch.Tensor, rows: torch.Tensor | slice, beta: float, fusion: Fusion | None = None
) -> DenseSteering:
    """The Distiller's logits as they are, for `rows`."""
    size = z_dist.shape[0]
    hidden = torch.zeros(size, 1)
    plan = Steering(rows, hidden, hidden, hidden, torch.ones(size, dtype=torch.bool), torch.full((size,), beta))
    return DenseSteering(plan, fusion or ProposedFusion(), z_dist)


@pytest.mark.parametrize("temperature", [0.7, 1.0, 1.6])
@pytest.mark.parametrize("filters", [{}, {"top_k": 6}, {"top_p": 0.8}, {"top_k": 12, "top_p": 0.7}])
def test_sampled_frequencies_match_the_closed_form(filters: dict[str, float], temperature: float) -> None:
    torch.manual_seed(1)
    z_ref, z_dist = torch.randn(2, V) * 2
    sampler = StagedTopKTopP(TopKTopPSampler())
    sampler.temperature_B = torch.full((DRAWS,), temperature)
    sampler.stage = steering(z_dist.expand(DRAWS, V), slice(None), 0.6)
    k = torch.full((DRAWS,), filters["top_k"]) if "top_k" in filters else None
    p = torch.full((DRAWS,), filters["top_p"]) if "top_p" in filters else None
    tokens, _ = sampler((z_ref / temperature).repeat(DRAWS, 1), {}, k, p)
    expected = fused_distribution(z_ref, z_dist, beta=0.6, temperature=temperature, **filters)  # type: ignore[arg-type]
    counts = torch.bincount(tokens, minlength=V).double()
    impossible = expected == 0
    assert counts[impossible].sum() == 0, "a token outside the candidates was drawn"
    if filters:
        assert impossible.any()
    # Cells with fewer than 5 expected draws are pooled, as the chi-squared test requires.
    rare = (expected * DRAWS < 5) & ~impossible
    cells = expected * DRAWS >= 5
    observed = [*counts[cells].tolist(), counts[rare].sum().item()]
    wanted = [*(expected[cells] * DRAWS).tolist(), (expected[rare].sum() * DRAWS).item()]
    if wanted[-1] == 0:
        observed, wanted = observed[:-1], wanted[:-1]
    assert chisquare(observed, wanted).pvalue > 1e-3
    vanilla = fused_distribution(z_ref, z_dist, beta=0.0, temperature=temperature, **filters)[cells] * DRAWS  # type: ignore[arg-type]
    scaled = vanilla / vanilla.sum() * sum(observed[: len(vanilla)])
    assert chisquare(observed[: len(vanilla)], scaled.tolist()).pvalue < 1e-6, "vanilla would have passed too"


def test_rows_not_intervened_on_draw_what_the_stock_sampler_draws() -> None:
    logits = torch.randn(64, V)
    rows = torch.arange(0, 64, 2)
    ours = StagedTopKTopP(TopKTopPSampler())
    ours.temperature_B = torch.ones(64)
    ours.stage = steering(torch.randn(32, V) * 5, rows, 3.0)
    torch.manual_seed(3)
    mixed, _ = ours(logits.clone(), {}, None, None)
    torch.manual_seed(3)
    stock, _ = TopKTopPSampler()(logits.clone(), {}, None, None)
    assert torch.equal(mixed[1::2], stock[1::2])
    assert not torch.equal(mixed[0::2], stock[0::2])
