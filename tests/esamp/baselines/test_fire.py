"""FIRE heats the first token of each sample and nothing else."""

from pathlib import Path

import pytest
import torch
from scipy.stats import chisquare
from transformers import AutoModelForCausalLM, AutoTokenizer
from vllm import LLM

from esamp.baselines.fire import HotDraw
from tests.esamp.baselines.baseline_engines import (
    CROWD,
    STORIES,
    TIGHT,
    count_preemptions,
    needs_stories,
    policy_of,
    records_of,
    start_baseline,
)
from tests.esamp.engine.engines import PROMPTS, generate, params, start_engine

pytestmark = pytest.mark.engine
TEMPERATURE, TOP_K = 30.0, 16


@pytest.fixture(scope="module")
def fire(tiny_model: Path) -> LLM:
    return start_baseline(tiny_model, "fire")


def first_logits(model: Path, prompt: list[int]) -> torch.Tensor:
    """The model's logits [V] of the first token, by transformers."""
    plain = AutoModelForCausalLM.from_pretrained(model)
    with torch.no_grad():
        return plain(torch.tensor([prompt])).logits[0, -1]


def first_distribution(z_V: torch.Tensor) -> torch.Tensor:
    """What FIRE draws the first token from [V]."""
    kept = z_V.argsort(descending=True)[:TOP_K]
    return torch.zeros_like(z_V).index_put((kept,), (z_V[kept] / TEMPERATURE).softmax(0))


@pytest.mark.parametrize("temperature", [1.0, 0.6])
def test_first_tokens_are_drawn_hot_whatever_the_temperature_of_the_rest(
    temperature: float, fire: LLM, tiny_model: Path
) -> None:
    draws = 3000
    [samples] = generate(fire, [(PROMPTS[0], params(n=draws, max_tokens=1, temperature=temperature))])
    counts = torch.bincount(torch.tensor(samples).flatten(), minlength=128).double()
    z_V = first_logits(tiny_model, PROMPTS[0])
    expected = first_distribution(z_V).double()
    likely = expected > 0
    assert counts[~likely].sum() == 0, "a token outside the top k was drawn"
    assert chisquare(counts[likely], expected[likely] / expected.sum() * draws).pvalue > 1e-3
    ordinary = (z_V[likely].double() / temperature).softmax(0) * draws
    assert chisquare(counts[likely], ordinary).pvalue < 1e-6, "ordinary sampling would have passed too"


def test_later_tokens_have_the_temperature_asked_for(stock: LLM, fire: LLM) -> None:
    """At temperature 1e-4 that is: every token but the first is the most likely one after what came before."""
    for seed in range(4):
        [[tokens]] = generate(fire, [(PROMPTS[0], params(seed=seed, temperature=1e-4, max_tokens=13))])
        [[greedy]] = generate(stock, [([*PROMPTS[0], tokens[0]], params(temperature=0.0, max_tokens=12))])
        assert tokens[1:] == greedy


def test_greedy_and_vanilla_requests_get_stock_tokens(stock: LLM, fire: LLM) -> None:
    def requests(**extra: object) -> list[tuple[list[int], object]]:
        return [
            (PROMPTS[0], params(n=3, extra_args=extra or None)),
            (PROMPTS[1], params(temperature=0.0)),
            (PROMPTS[2], params(seed=5, top_p=0.8, extra_args=extra or None)),
            (PROMPTS[3], params(temperature=0.0, logprobs=1)),
        ]

    before = policy_of(fire).counters()
    assert generate(fire, requests(esamp_vanilla=True)) == generate(stock, requests())
    assert policy_of(fire).counters() == before
    assert generate(fire, requests())[1::2] == generate(stock, requests())[1::2]


def test_vanilla_requests_in_a_batch_with_hot_ones_get_stock_tokens(stock: LLM, fire: LLM) -> None:
    def seeded(**extra: object) -> list[tuple[list[int], object]]:
        return [(p, params(seed=i, extra_args=extra or None)) for i, p in enumerate(PROMPTS)]

    mixed = [r for pair in zip(seeded(esamp_vanilla=True), seeded(), strict=True) for r in pair]
    together = generate(fire, mixed)
    assert together[0::2] == generate(stock, seeded())
    assert together[1::2] != together[0::2]


def test_unusable_settings_stay_vanilla_and_are_counted(stock: LLM, fire: LLM) -> None:
    before = policy_of(fire).counters().rejected_requests
    bad = [(PROMPTS[0], params(seed=1, extra_args={"esamp_vanilla": "yes"}))]
    assert generate(fire, bad) == generate(stock, [(PROMPTS[0], params(seed=1))])
    assert policy_of(fire).counters().rejected_requests == before + 1


def test_telemetry_knows_the_first_draw(fire: LLM, tiny_model: Path) -> None:
    before = policy_of(fire).counters().explored_rows
    [[tokens]] = generate(fire, [(PROMPTS[1], params(seed=3, extra_args={"esamp_record": "r"}))])
    [records] = records_of(fire, ["r"])
    assert records["intervened"] == [True] + [False] * 23
    assert policy_of(fire).counters().explored_rows == before + 1
    assert records["num_candidates"][:2] == [TOP_K, 128]
    z_V = first_logits(tiny_model, PROMPTS[1])
    assert records["behaviour_logprobs"][0] == pytest.approx(first_distribution(z_V)[tokens[0]].log().item(), abs=1e-4)
    assert records["policy_logprobs"][0] == pytest.approx(z_V.log_softmax(0)[tokens[0]].item(), abs=1e-4)
    assert records["behaviour_logprobs"][1:] == pytest.approx(records["policy_logprobs"][1:], abs=1e-4)


def test_prompts_read_in_pieces_and_preempted_requests_have_one_first_token(tiny_model: Path) -> None:
    engine = start_baseline(tiny_model, "fire", **TIGHT)
    preempted = count_preemptions(engine)
    tags = [f"r{i}" for i in range(len(CROWD))]
    generate(
        engine,
        [(p, params(max_tokens=40, extra_args={"esamp_record": tag})) for p, tag in zip(CROWD, tags, strict=True)],
    )
    assert preempted, "the cache is large enough for all: nothing was tested"
    for records in records_of(engine, tags):
        assert records["intervened"] == [True] + [False] * 39
    assert policy_of(engine).counters().explored_rows == len(CROWD)


def test_what_the_filters_left_out_stays_out() -> None:
    logits = torch.tensor([[3.0, 2.0, -torch.inf, 1.0, -torch.inf], [5.0, 4.0, 3.0, 2.0, 1.0]])
    heated = HotDraw(torch.tensor([0]), 10.0, 4)(logits.clone(), torch.tensor([2.0, 1.0]))
    torch.testing.assert_close(heated[0], torch.tensor([0.6, 0.4, -torch.inf, 0.2, -torch.inf]))
    assert torch.equal(heated[1], logits[1])


@needs_stories
def test_stories_start_in_more_ways() -> None:
    tokenizer = AutoTokenizer.from_pretrained(STORIES)
    prompt = tokenizer("Once upon a time, there was a little").input_ids
    settings = params(n=32, max_tokens=20, top_k=0, seed=0)
    [plain] = generate(start_engine(STORIES), [(prompt, settings)])
    [hot] = generate(start_baseline(STORIES, "fire"), [(prompt, settings)])
    assert len({sample[0] for sample in hot}) > len({sample[0] for sample in plain})
    assert all(tokenizer.decode(sample).strip() for sample in hot)
