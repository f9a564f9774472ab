"""Tokens are drawn from the closed form, and never from outside the candidates."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from scipy.stats import chisquare
from vllm.v1.sample.logits_processor import LogitsProcessor, LogitsProcessors
from vllm.v1.sample.metadata import SamplingMetadata
from vllm.v1.sample.ops.topk_topp_sampler import TopKTopPSampler
from vllm.v1.sample.sampler import Sampler

from esamp.batch import Draw
from esamp.distiller.reference import fused_distribution
from esamp.draw.cpu import CompiledDraw
from esamp.draw.inputs import DrawInputs, DrawnTokens
from esamp.draw.kernel_library import NoKernel
from esamp.engine.sampler import ESampSampler, FusedTopKTopPSampler, TorchTopKTopPSampler, is_unfiltered_batch
from esamp.fusion.forms import Fusion, ProposedFusion
from esamp.fusion.logit_adjustment import DenseAdjustment, LogitAdjustment

pytestmark = pytest.mark.engine
DRAWS = 40_000
V = 40


@pytest.fixture(params=["torch", "fused"])
def kernel(request: pytest.FixtureRequest) -> CompiledDraw | None:
    """What our sampler draws by: vLLM's own draw with torch passes around it, or the compiled kernel. Both must do the same."""
    if request.param == "torch":
        return None
    try:
        return CompiledDraw()
    except NoKernel as error:
        pytest.skip(f"no kernel here: {error}")


def filter_and_draw(kernel: CompiledDraw | None) -> TorchTopKTopPSampler | FusedTopKTopPSampler:
    return TorchTopKTopPSampler(TopKTopPSampler()) if kernel is None else FusedTopKTopPSampler(kernel)


def adjustment(
    z_dist: torch.Tensor, rows: torch.Tensor | slice, beta: float, fusion: Fusion | None = None
) -> DenseAdjustment:
    """The Distiller's logits as they are, for `rows`."""
    size = z_dist.shape[0]
    hidden = torch.zeros(size, 1)
    plan = LogitAdjustment(rows, hidden, hidden, hidden, torch.ones(size, dtype=torch.bool), torch.full((size,), beta))
    return DenseAdjustment(plan, fusion or ProposedFusion(), z_dist)


@pytest.mark.parametrize("temperature", [0.7, 1.0, 1.6])
@pytest.mark.parametrize("filters", [{}, {"top_k": 6}, {"top_p": 0.8}, {"top_k": 12, "top_p": 0.7}])
def test_sampled_frequencies_match_the_closed_form(
    kernel: CompiledDraw | None, filters: dict[str, float], temperature: float
) -> None:
    torch.manual_seed(1)
    z_ref, z_dist = torch.randn(2, V) * 2
    sampler = filter_and_draw(kernel)
    sampler.temperature_B = torch.full((DRAWS,), temperature)
    sampler.processor = adjustment(z_dist.expand(DRAWS, V), slice(None), 0.6)
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


def test_rows_not_intervened_on_draw_what_the_stock_sampler_draws(kernel: CompiledDraw | None) -> None:
    logits = torch.randn(64, V)
    rows = torch.arange(0, 64, 2)
    ours = filter_and_draw(kernel)
    ours.temperature_B = torch.ones(64)
    ours.processor = adjustment(torch.randn(32, V) * 5, rows, 3.0)
    torch.manual_seed(3)
    mixed, _ = ours(logits.clone(), {}, None, None)
    torch.manual_seed(3)
    stock, _ = TopKTopPSampler()(logits.clone(), {}, None, None)
    assert torch.equal(mixed[1::2], stock[1::2])
    assert not torch.equal(mixed[0::2], stock[0::2])


ROWS = 48
LOGITS = torch.randn(ROWS, V, generator=torch.Generator().manual_seed(8)) * 2
Z_DIST = torch.randn(ROWS, V, generator=torch.Generator().manual_seed(9)) * 2


def metadata(temperature: torch.Tensor | None = None, **settings: object) -> SamplingMetadata:
    """What vLLM's runner hands its sampler; every third row has its own seed."""
    temperature = torch.full((ROWS,), 0.9) if temperature is None else temperature
    is_greedy = bool((temperature < 1e-5).any())
    defaults: dict[str, object] = {
        "temperature": temperature,
        "all_greedy": False,
        "all_random": not is_greedy,
        "top_p": torch.full((ROWS,), 0.9),
        "top_k": None,
        "generators": {row: torch.Generator().manual_seed(row) for row in range(0, ROWS, 3)},
        "max_num_logprobs": None,
        "no_penalties": True,
        "prompt_token_ids": None,
        "frequency_penalties": torch.zeros(ROWS),
        "presence_penalties": torch.zeros(ROWS),
        "repetition_penalties": torch.ones(ROWS),
        "output_token_ids": [[] for _ in range(ROWS)],
        "allowed_token_ids_mask": None,
        "bad_words_token_ids": {},
        "logitsprocs": LogitsProcessors(),
    }
    return SamplingMetadata(**{**defaults, **settings})  # type: ignore[arg-type]


def draw(
    kernel: CompiledDraw | None,
    beta: float,
    *,
    is_recording: bool = True,
    sees_plain_model: bool = True,
    records_rollout: bool = False,
    **settings: object,
) -> tuple[torch.Tensor, Draw | None]:
    """Tokens [ROWS] of one step of our sampler, all rows adjusted, and what it records of them."""
    sampler = ESampSampler(Sampler(), kernel)
    processor = adjustment(Z_DIST, slice(None), beta) if beta > 0 else None
    sampler.prepare(
        processor,
        is_recording=is_recording,
        sees_plain_model=sees_plain_model,
        records_rollout=records_rollout,
    )
    torch.manual_seed(4)
    output = sampler(LOGITS.clone(), metadata(**settings))  # type: ignore[arg-type]
    return output.sampled_token_ids.squeeze(1), sampler.draw


def stock_draw(**settings: object) -> torch.Tensor:
    torch.manual_seed(4)
    return Sampler()(LOGITS.clone(), metadata(**settings)).sampled_token_ids.squeeze(1)  # type: ignore[arg-type]


def test_flipped_tokens_are_those_stock_sampling_would_not_have_drawn_from_the_same_random_numbers(
    kernel: CompiledDraw | None,
) -> None:
    tokens, recorded = draw(kernel, 1.5)
    assert recorded is not None
    assert torch.equal(recorded.is_flipped_B, tokens != stock_draw())
    assert 0 < recorded.is_flipped_B.sum() < ROWS


def test_looking_twice_changes_no_token(kernel: CompiledDraw | None) -> None:
    once, _ = draw(kernel, 1.5, is_recording=False)
    twice, _ = draw(kernel, 1.5)
    assert torch.equal(once, twice)


def test_looking_twice_leaves_the_random_numbers_of_the_next_step(kernel: CompiledDraw | None) -> None:
    """A recorded request must not change what its neighbours draw later."""
    after = []
    for is_recording in (False, True):
        generators = {row: torch.Generator().manual_seed(row) for row in range(0, ROWS, 3)}
        draw(kernel, 1.5, is_recording=is_recording, generators=generators)
        after.append([torch.get_rng_state(), *(g.get_state() for g in generators.values())])
    assert all(torch.equal(a, b) for a, b in zip(*after, strict=True))


def test_without_a_processor_recording_changes_nothing_and_flips_nothing(kernel: CompiledDraw | None) -> None:
    tokens, recorded = draw(kernel, 0.0)
    assert recorded is not None and not recorded.is_flipped_B.any()
    assert torch.equal(tokens, stock_draw())


def test_behaviour_log_probabilities_are_those_of_the_closed_form_and_add_up_to_one(
    kernel: CompiledDraw | None,
) -> None:
    tokens, recorded = draw(kernel, 0.8)
    assert recorded is not None
    for row in range(ROWS):
        expected = fused_distribution(LOGITS[row], Z_DIST[row], beta=0.8, temperature=0.9, top_p=0.9)
        assert recorded.behaviour_logprobs_B[row].exp().item() == pytest.approx(expected[tokens[row]].item(), abs=1e-4)
        assert recorded.num_candidates_B[row] == (expected > 0).sum()


def test_policy_log_probabilities_are_the_plain_models_at_temperature_one_without_filters(
    kernel: CompiledDraw | None,
) -> None:
    tokens, recorded = draw(kernel, 0.8)
    assert recorded is not None
    plain = LOGITS.log_softmax(-1).gather(1, tokens.long().unsqueeze(1)).squeeze(1)
    torch.testing.assert_close(recorded.policy_logprobs_B, plain)
    _, blind = draw(kernel, 0.8, sees_plain_model=False)
    assert blind is not None and blind.policy_logprobs_B.isnan().all(), "unknown is NaN, not a number"


@pytest.mark.parametrize("top_p", [0.9, None], ids=["filtered", "unfiltered"])
@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_sampling_log_probabilities_are_the_plain_models_at_the_temperature_on_the_kept_tokens(
    kernel: CompiledDraw | None, temperature: float, top_p: float | None
) -> None:
    """What a trainer computes again, and divides by the behaviour's."""
    settings = {
        "temperature": torch.full((ROWS,), temperature),
        "top_p": None if top_p is None else torch.full((ROWS,), top_p),
    }
    tokens, recorded = draw(kernel, 0.8, records_rollout=True, **settings)
    assert recorded is not None and recorded.sampling_logprobs_B is not None
    for row in range(ROWS):
        expected = fused_distribution(LOGITS[row], Z_DIST[row], beta=0.0, temperature=temperature, top_p=top_p or 1.0)
        drawn = recorded.sampling_logprobs_B[row].exp().item()
        assert drawn == pytest.approx(expected[tokens[row]].item(), abs=1e-4)
        if recorded.kept is not None and top_p is not None:
            end = int(recorded.kept.count_B[: row + 1].sum())
            kept = recorded.kept.token_N[end - int(recorded.kept.count_B[row]) : end]
            assert kept.tolist() == expected.nonzero().squeeze(1).tolist() and recorded.kept.is_filtered_B[row]
    assert (recorded.kept is not None and bool(recorded.kept.is_filtered_B.any())) == (top_p is not None)
    asked_less, _ = draw(kernel, 0.8, **settings)
    assert torch.equal(tokens, asked_less), "recording changes no token"


def test_what_a_grammar_leaves_is_kept_and_the_plain_model_is_seen_without_it(kernel: CompiledDraw | None) -> None:
    """A grammar's mask is in the logits before the sampler gets them. Where nothing else filtered, it was not stored, so that a trainer
    would have taken the sampling log-probabilities for those of the whole vocabulary; the plain model's were over what the grammar left."""
    masked = LOGITS.clone()
    masked[::2, 5:] = -torch.inf
    sampler = ESampSampler(Sampler(), kernel)
    for processor in (adjustment(Z_DIST, slice(None), 0.8), None):
        sampler.prepare(
            processor, is_recording=True, sees_plain_model=True, records_rollout=True, unmasked_BV=LOGITS.clone()
        )
        tokens = sampler(masked.clone(), metadata(top_p=None)).sampled_token_ids.long()
        recorded = sampler.draw
        assert recorded is not None and recorded.kept is not None and recorded.sampling_logprobs_B is not None
        assert recorded.kept.is_filtered_B.tolist() == [row % 2 == 0 for row in range(ROWS)]
        assert recorded.kept.token_N[:5].tolist() == [0, 1, 2, 3, 4] and recorded.kept.count_B[0] == 5
        sampling_B = (masked / 0.9).log_softmax(-1).gather(1, tokens).squeeze(1)
        policy_B = LOGITS.log_softmax(-1).gather(1, tokens).squeeze(1)
        assert torch.allclose(recorded.sampling_logprobs_B, sampling_B, atol=1e-4)
        assert torch.allclose(recorded.policy_logprobs_B, policy_B, atol=1e-4)
    sampler.prepare(None, is_recording=True, sees_plain_model=True, records_rollout=True)
    sampler(LOGITS.clone(), metadata(top_p=None))
    kept = sampler.draw.kept if sampler.draw is not None else None
    assert kept is None or not kept.is_filtered_B.any(), "the grammar of one step is gone in the next"


def test_without_a_processor_the_sampling_policy_is_the_behaviour_and_costs_nothing(
    kernel: CompiledDraw | None,
) -> None:
    _, recorded = draw(kernel, 0.0)
    assert recorded is not None and recorded.sampling_logprobs_B is recorded.behaviour_logprobs_B
    _, steered = draw(kernel, 0.8)
    assert steered is not None and steered.sampling_logprobs_B is None and steered.kept is None
    _, blind = draw(kernel, 0.0, sees_plain_model=False, records_rollout=True)
    assert blind is not None and blind.sampling_logprobs_B is None, "fused hidden states are not the plain model's"


def test_greedy_rows_of_a_mixed_batch_are_certain_never_flipped_and_the_best(kernel: CompiledDraw | None) -> None:
    temperature = torch.full((ROWS,), 0.9)
    temperature[::2] = 0.0
    sampler = ESampSampler(Sampler(), kernel)
    rows = torch.arange(1, ROWS, 2)
    sampler.prepare(adjustment(Z_DIST[rows], rows, 1.5), is_recording=True, sees_plain_model=True)
    tokens = sampler(LOGITS.clone(), metadata(temperature)).sampled_token_ids.squeeze(1)
    recorded = sampler.draw
    assert recorded is not None
    assert torch.equal(tokens[::2].long(), LOGITS[::2].argmax(-1))
    assert not recorded.behaviour_logprobs_B[::2].any() and not recorded.is_flipped_B[::2].any()
    assert (recorded.num_candidates_B[::2] == 1).all() and recorded.is_flipped_B[1::2].any()


def test_an_all_greedy_batch_needs_no_temperature(kernel: CompiledDraw | None) -> None:
    sampler = ESampSampler(Sampler(), kernel)
    sampler.prepare(None, is_recording=True, sees_plain_model=True)
    greedy = replace(metadata(torch.zeros(ROWS)), temperature=None, all_greedy=True, all_random=False, top_p=None)
    tokens = sampler(LOGITS.clone(), greedy).sampled_token_ids.squeeze(1)
    assert torch.equal(tokens.long(), LOGITS.argmax(-1))
    assert sampler.draw is not None and not sampler.draw.behaviour_logprobs_B.any()


def test_an_all_greedy_batch_spends_no_random_numbers(kernel: CompiledDraw | None) -> None:
    """Stock vLLM's does not, and what its neighbours draw in later steps depends on it."""
    sampler = ESampSampler(Sampler(), kernel)
    sampler.prepare(None, is_recording=True, sees_plain_model=True)
    before = torch.get_rng_state()
    sampler(LOGITS.clone(), replace(metadata(top_p=None), temperature=None, all_greedy=True, all_random=False))
    assert torch.equal(torch.get_rng_state(), before)


def test_the_processor_of_one_step_is_gone_in_the_next(kernel: CompiledDraw | None) -> None:
    sampler = ESampSampler(Sampler(), kernel)
    sampler.prepare(adjustment(Z_DIST, slice(None), 3.0), is_recording=True, sees_plain_model=True)
    sampler(LOGITS.clone(), metadata())
    sampler.prepare(None, is_recording=False, sees_plain_model=True)
    torch.manual_seed(4)
    assert torch.equal(sampler(LOGITS.clone(), metadata()).sampled_token_ids.squeeze(1), stock_draw())
    assert sampler.draw is None


class UnknownProcessor(LogitsProcessor):
    """Of which nobody can tell whether it is idle."""

    def __init__(self, *args: object) -> None:
        pass

    def apply(self, logits: torch.Tensor) -> torch.Tensor:
        return logits

    def is_argmax_invariant(self) -> bool:
        return False

    def update_state(self, batch_update: object) -> None:
        pass


@pytest.mark.parametrize("temperature", [1.0, 0.6])
@pytest.mark.parametrize("beta", [0.0, 1.5])
def test_unfiltered_bf16_logits_are_drawn_and_recorded_as_by_torch_passes(beta: float, temperature: float) -> None:
    """The way that reads the model's logits once, as they are: nothing is copied, converted or divided before it."""
    results = []
    temperature_B = torch.full((ROWS,), temperature)
    temperature_B[5::7] = 0.0
    rows = (temperature_B > 0).nonzero().squeeze(1)
    for kernel in (None, CompiledDraw()):
        sampler = ESampSampler(Sampler(), kernel)
        processor = adjustment(Z_DIST[rows].bfloat16(), rows, beta) if beta > 0 else None
        sampler.prepare(processor, is_recording=True, sees_plain_model=True)
        torch.manual_seed(4)
        tokens = sampler(LOGITS.bfloat16(), metadata(temperature_B, top_p=None)).sampled_token_ids
        assert sampler.draw is not None
        results.append((tokens, sampler.draw))
    (tokens, expected), (fused_tokens, recorded) = results
    assert torch.equal(tokens, fused_tokens)
    for name in ("behaviour_logprobs_B", "policy_logprobs_B", "num_candidates_B", "is_flipped_B"):
        torch.testing.assert_close(getattr(recorded, name), getattr(expected, name), rtol=1e-6, atol=1e-5)


def test_unfiltered_logits_are_not_copied_for_the_draw() -> None:
    """The fused draw reads what the model has written: this is where the time went."""
    seen: list[tuple[int, torch.dtype]] = []
    kernel = CompiledDraw()

    def spy(inputs: DrawInputs) -> DrawnTokens:
        seen.append((inputs.logits_BV.data_ptr(), inputs.logits_BV.dtype))
        return kernel(inputs)

    logits = LOGITS.bfloat16()
    sampler = ESampSampler(Sampler(), spy)
    sampler.prepare(adjustment(Z_DIST, slice(None), 1.0), is_recording=True, sees_plain_model=True)
    sampler(logits, metadata(top_p=None))
    assert seen == [(logits.data_ptr(), torch.bfloat16)]


@pytest.mark.parametrize(
    "settings",
    [
        {"top_p": torch.full((ROWS,), 0.9)},
        {"top_k": torch.full((ROWS,), 5)},
        {"no_penalties": False},
        {"allowed_token_ids_mask": torch.zeros(ROWS, V, dtype=torch.bool)},
        {"bad_words_token_ids": {0: [[1]]}},
        {"max_num_logprobs": 0},
        {"logprob_token_ids": {0: [1]}},
        {"logitsprocs": LogitsProcessors([UnknownProcessor()])},
    ],
    ids=lambda settings: " ".join(settings),
)
def test_whatever_stands_between_logits_and_draw_is_left_to_vllm(settings: dict[str, object]) -> None:
    assert is_unfiltered_batch(metadata(top_p=None))
    assert not is_unfiltered_batch(metadata(**{"top_p": None, **settings}))  # type: ignore[arg-type]


@pytest.mark.parametrize("settings", [{"logprobs_mode": "processed_logprobs"}, {"use_fp64_gumbel": True}])
def test_settings_that_need_vllms_own_draw_have_it_and_are_counted(settings: dict[str, Any]) -> None:
    sampler = ESampSampler(Sampler(**settings), CompiledDraw())
    sampler.prepare(None, is_recording=False, sees_plain_model=True)
    torch.manual_seed(4)
    tokens = sampler(LOGITS.clone(), metadata()).sampled_token_ids
    torch.manual_seed(4)
    assert torch.equal(tokens, Sampler(**settings)(LOGITS.clone(), metadata()).sampled_token_ids)
    assert sampler.unfused_steps == 1
