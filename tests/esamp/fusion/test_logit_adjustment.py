"""LogitAdjustment before the head, over candidates and over whole rows: one distribution, logit for logit."""

from collections.abc import Callable

import pytest
import torch

from esamp.fusion.forms import ClampedFusion, EntropyMatchedTemperature, Fusion, ProposedFusion, SubtractionFusion
from esamp.fusion.logit_adjustment import (
    CandidateAdjustment,
    CandidateSearch,
    CountedCandidates,
    DenseAdjustment,
    KnownCandidates,
    LogitAdjustment,
    mix_hidden,
)

B, H, V = 6, 16, 50
FUSIONS = [ProposedFusion(), SubtractionFusion(), ClampedFusion(0.5), EntropyMatchedTemperature()]
TEMPERATURE = torch.tensor([0.6, 1.0, 1.0, 1.4, 0.8, 2.0])
HEAD = torch.randn(V, H, generator=torch.Generator().manual_seed(1)) / 2


def project(hidden: torch.Tensor) -> torch.Tensor:
    return hidden @ HEAD.T


def make_adjustment(
    rows: torch.Tensor | slice = slice(None), beta: float = 0.7
) -> tuple[LogitAdjustment, torch.Tensor]:
    """A step of B rows of which `rows` are adjusted, and its hidden states [B, H]."""
    hidden, prediction = torch.randn(2, B, H, generator=torch.Generator().manual_seed(2))
    size = B if isinstance(rows, slice) else len(rows)
    adjustment = LogitAdjustment(
        rows=rows,
        hidden_RH=hidden[rows],
        prediction_RH=prediction[rows],
        error_RH=hidden[rows] - prediction[rows],
        is_finite_R=torch.ones(size, dtype=torch.bool),
        beta_R=torch.linspace(beta / 2, beta, size),
    )
    return adjustment, hidden


def keep_top_k(logits: torch.Tensor) -> torch.Tensor:
    return logits >= logits.topk(7).values[:, -1:]


def keep_uneven_top_k(logits: torch.Tensor) -> torch.Tensor:
    counts = torch.tensor([1, 7, 3, 5, 2, 7])
    return logits >= logits.sort(descending=True).values.gather(1, counts.unsqueeze(1) - 1)


def keep_top_p(logits: torch.Tensor) -> torch.Tensor:
    probabilities, order = logits.softmax(-1).sort(descending=True)
    return torch.zeros_like(logits, dtype=torch.bool).scatter(1, order, probabilities.cumsum(-1) - probabilities < 0.7)


def keep_min_p(logits: torch.Tensor) -> torch.Tensor:
    probabilities = logits.softmax(-1)
    return probabilities >= 0.1 * probabilities.amax(-1, keepdim=True)


FILTERS = [keep_top_k, keep_uneven_top_k, keep_top_p, keep_min_p]


def filtered(hidden: torch.Tensor, keep: Callable[[torch.Tensor], torch.Tensor]) -> torch.Tensor:
    """What the sampler hands a processor: divided by the temperature, -inf where filtered out."""
    logits = project(hidden) / TEMPERATURE.unsqueeze(1)
    return torch.where(keep(logits), logits, -torch.inf)


class CountedProjection:
    """The head, and how often it was asked for whole rows."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, hidden: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        return project(hidden)


def candidates(
    adjustment: LogitAdjustment, find: CandidateSearch, fusion: Fusion | None = None
) -> tuple[CandidateAdjustment, CountedProjection]:
    head = CountedProjection()
    return CandidateAdjustment(adjustment, fusion or ProposedFusion(), find, HEAD, head), head


@pytest.mark.parametrize("rows", [slice(None), torch.tensor([0, 2, 5])], ids=["all rows", "some rows"])
@pytest.mark.parametrize("fusion", FUSIONS, ids=lambda fusion: type(fusion).__name__)
@pytest.mark.parametrize("keep", FILTERS, ids=lambda keep: keep.__name__)
@pytest.mark.parametrize("find", [KnownCandidates(7), CountedCandidates(V)], ids=["known", "counted"])
def test_fusing_candidates_equals_fusing_whole_rows(
    find: CandidateSearch, keep: Callable[[torch.Tensor], torch.Tensor], fusion: Fusion, rows: torch.Tensor | slice
) -> None:
    if isinstance(find, KnownCandidates) and keep in (keep_top_p, keep_min_p):
        find = KnownCandidates(V)
    adjustment, hidden = make_adjustment(rows)
    dense = DenseAdjustment(adjustment, fusion, project(adjustment.prediction_RH))(filtered(hidden, keep), TEMPERATURE)
    processor, head = candidates(adjustment, find, fusion)
    few = processor(filtered(hidden, keep), TEMPERATURE)
    torch.testing.assert_close(few, dense, rtol=1e-4, atol=1e-4)
    assert head.calls == 0
    assert not torch.equal(few, filtered(hidden, keep)), "nothing was adjusted"


@pytest.mark.parametrize("keep", FILTERS, ids=lambda keep: keep.__name__)
def test_fusing_candidates_draws_the_tokens_of_fusing_whole_rows(
    keep: Callable[[torch.Tensor], torch.Tensor],
) -> None:
    adjustment, hidden = make_adjustment()
    dense = DenseAdjustment(adjustment, ProposedFusion(), project(adjustment.prediction_RH))
    few, _ = candidates(adjustment, CountedCandidates(V))
    for seed in range(50):
        noise = torch.empty(B, V).exponential_(generator=torch.Generator().manual_seed(seed))
        tokens = [
            (processor(filtered(hidden, keep), TEMPERATURE).softmax(-1) / noise).argmax(-1)
            for processor in (dense, few)
        ]
        assert torch.equal(*tokens)


def test_mixing_hidden_states_is_fusing_logits() -> None:
    for rows in (slice(None), torch.tensor([1, 3])):
        adjustment, hidden = make_adjustment(rows)
        mixed = project(mix_hidden(hidden, adjustment, ProposedFusion())) / TEMPERATURE.unsqueeze(1)
        fused = DenseAdjustment(adjustment, ProposedFusion(), project(adjustment.prediction_RH))(
            project(hidden) / TEMPERATURE.unsqueeze(1), TEMPERATURE
        )
        torch.testing.assert_close(mixed, fused, rtol=1e-4, atol=1e-4)


def test_mixing_hidden_states_is_fusing_logits_under_a_bias_and_not_under_a_soft_cap() -> None:
    """The bias survives since the coefficients add up to 1; a soft cap is why enable_source_layer refuses such models."""
    adjustment, hidden = make_adjustment()
    bias = torch.randn(V)
    beta = adjustment.beta_R.unsqueeze(1)
    mixed = mix_hidden(hidden, adjustment, ProposedFusion())
    z_ref, z_dist, z_mixed = (project(h) + bias for h in (hidden, adjustment.prediction_RH, mixed))
    torch.testing.assert_close(z_mixed, (1 + beta) * z_ref - beta * z_dist, rtol=1e-4, atol=1e-4)
    capped = [torch.tanh(z) for z in (z_ref, z_dist, z_mixed)]
    assert not torch.allclose(capped[2], (1 + beta) * capped[0] - beta * capped[1], atol=0.1)


def test_rows_that_are_not_adjusted_keep_every_bit() -> None:
    rows = torch.tensor([0, 3])
    adjustment, hidden = make_adjustment(rows)
    others = [1, 2, 4, 5]
    assert torch.equal(mix_hidden(hidden, adjustment, ProposedFusion())[others], hidden[others])
    before = filtered(hidden, keep_top_p)
    few, _ = candidates(adjustment, CountedCandidates(V))
    dense = DenseAdjustment(adjustment, ProposedFusion(), project(adjustment.prediction_RH))
    for processor in (few, dense):
        after = processor(before.clone(), TEMPERATURE)
        assert torch.equal(after[others], before[others])
        assert not torch.equal(after[rows], before[rows])


@pytest.mark.parametrize("fusion", FUSIONS, ids=lambda fusion: type(fusion).__name__)
def test_a_row_whose_prediction_is_not_finite_keeps_every_bit(fusion: Fusion) -> None:
    adjustment, hidden = make_adjustment()
    adjustment.prediction_RH[2, 5] = torch.nan
    adjustment.error_RH[2, 5] = torch.nan
    adjustment.is_finite_R[2] = False
    before = filtered(hidden, keep_min_p)
    few, _ = candidates(adjustment, CountedCandidates(V), fusion)
    dense = DenseAdjustment(adjustment, fusion, project(adjustment.prediction_RH))
    for processor in (few, dense):
        after = processor(before.clone(), TEMPERATURE)
        assert torch.equal(after[2], before[2])
        assert not after.isnan().any()
        assert not torch.equal(after[1], before[1])
    mixed = mix_hidden(hidden, adjustment, ProposedFusion())
    assert torch.equal(mixed[2], hidden[2]) and not mixed.isnan().any()


def test_too_many_candidates_fall_back_to_whole_rows_and_give_the_same() -> None:
    adjustment, hidden = make_adjustment()
    everything = project(hidden) / TEMPERATURE.unsqueeze(1)
    processor, head = candidates(adjustment, CountedCandidates(V - 1))
    fused = processor(everything.clone(), TEMPERATURE)
    assert head.calls == 1
    expected = DenseAdjustment(adjustment, ProposedFusion(), project(adjustment.prediction_RH))(everything, TEMPERATURE)
    torch.testing.assert_close(fused, expected)


def test_a_row_without_candidates_stays_without_and_harms_no_other() -> None:
    """Masks can leave nothing; vLLM draws some token then, and so must we."""
    adjustment, hidden = make_adjustment()
    before = filtered(hidden, keep_top_p)
    before[1] = -torch.inf
    processor, head = candidates(adjustment, CountedCandidates(V))
    after = processor(before.clone(), TEMPERATURE)
    assert torch.isneginf(after[1]).all() and head.calls == 0
    expected = DenseAdjustment(adjustment, ProposedFusion(), project(adjustment.prediction_RH))(
        before.clone(), TEMPERATURE
    )
    torch.testing.assert_close(after, expected)
    nothing = torch.full_like(before, -torch.inf)
    assert torch.isneginf(processor(nothing, TEMPERATURE)).all()
    assert head.calls == 1, "no candidate at all: whole rows, counted"


def test_candidates_beyond_top_k_that_tie_with_the_last_are_never_left_unfused() -> None:
    """vLLM's top-k keeps every token that ties with the k-th, and bf16 logits tie often. A tied token that kept its plain logit beside
    fused ones gained or lost the whole row's shift: here 7 nats, which made it all but certain."""
    z_ref = torch.full((1, V), -torch.inf)
    z_ref[0, :6] = torch.tensor([5.0, 4.0, 3.0, 3.0, 3.0, 3.0])
    ones = torch.ones(1, 1)
    adjustment = LogitAdjustment(slice(None), ones, ones, ones, torch.tensor([True]), torch.tensor([1.0]))
    head = torch.full((V, 1), 10.0)
    processor = CandidateAdjustment(adjustment, ProposedFusion(), KnownCandidates(3), head, lambda h: h @ head.T)
    fused = processor(z_ref.clone(), torch.ones(1))[0]
    drawn_from = fused.softmax(-1)
    plain = (2 * z_ref[0, :3]).softmax(-1)
    assert int((drawn_from > 0).sum()) == 3, "top_k=3 promises at most three"
    torch.testing.assert_close(drawn_from[drawn_from > 0].sort().values, plain.sort().values)


def test_padding_repeats_a_candidate_of_its_own_row() -> None:
    logits = torch.full((3, V), -torch.inf)
    logits[0, [4, 9, 20]], logits[1, [30]], logits[2, [1, 2]] = 1.0, 2.0, 3.0
    for find in (KnownCandidates(3), CountedCandidates(5)):
        found = find.find(logits)
        assert found is not None
        assert [set(row) for row in found.token_RC.tolist()] == [{4, 9, 20}, {30}, {1, 2}]
