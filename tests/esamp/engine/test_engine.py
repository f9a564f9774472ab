"""Exploratory Sampling in a real vLLM engine: what must not change does not, and what must happen does."""

from pathlib import Path

import pytest
import torch
from vllm import LLM

from esamp.distiller.bank import Forward
from esamp.distiller.hidden_rows import HiddenRows
from esamp.distiller.predictors import Prediction
from esamp.distiller.reference import ReferenceDistiller
from tests.esamp.engine.engines import PROMPTS, explorer, generate, params, start_engine

pytestmark = pytest.mark.engine


@pytest.fixture(scope="module")
def exploring(tiny_model: Path) -> LLM:
    return start_engine(tiny_model, {"beta": 0.8, "learning_rate": 3e-3})


@pytest.fixture(scope="module")
def beta_one(tiny_model: Path) -> LLM:
    return start_engine(tiny_model, {"beta": 1.0})


@pytest.fixture(scope="module")
def beta_zero(tiny_model: Path) -> LLM:
    return start_engine(tiny_model, {"beta": 0.0})


def seeded(beta: float | None = None, group: str | None = None, **settings: object) -> list[tuple[list[int], object]]:
    """Four samples of each prompt, each with its own seed, so that tokens do not depend on the order of rows."""
    extra = {} if beta is None else {"esamp_beta": beta}
    extra |= {} if group is None else {"esamp_group": group}
    return [
        (p, params(seed=100 * i + j, extra_args=extra or None, **settings))
        for i, p in enumerate(PROMPTS)
        for j in range(4)
    ]


REQUEST_KINDS = {
    "seedless": [(p, params(n=4)) for p in PROMPTS],
    "seeded with top-k and top-p": [(p, params(seed=i, top_k=20, top_p=0.9)) for i, p in enumerate(PROMPTS)],
    "min-p": [(p, params(n=2, min_p=0.1, temperature=1.3)) for p in PROMPTS],
    "greedy": [(p, params(temperature=0.0)) for p in PROMPTS],
    "penalties and bias": [
        (p, params(seed=i, presence_penalty=0.7, repetition_penalty=1.2, logit_bias={4: 3.0}))
        for i, p in enumerate(PROMPTS)
    ],
    "mixed": [
        (PROMPTS[0], params(n=3)),
        (PROMPTS[1], params(temperature=0.0)),
        (PROMPTS[2], params(seed=5, top_p=0.8)),
        (PROMPTS[3], params(min_p=0.2, max_tokens=9)),
    ],
}


@pytest.mark.parametrize("kind", REQUEST_KINDS)
def test_beta_zero_gives_stock_tokens(kind: str, stock: LLM, beta_zero: LLM) -> None:
    assert generate(beta_zero, REQUEST_KINDS[kind]) == generate(stock, REQUEST_KINDS[kind])


@pytest.mark.parametrize("kind", REQUEST_KINDS)
def test_requests_with_beta_zero_get_stock_tokens_from_an_exploring_engine(
    kind: str, stock: LLM, exploring: LLM
) -> None:
    requests = []
    for prompt, settings in REQUEST_KINDS[kind]:
        vanilla = settings.clone()
        vanilla.extra_args = {"esamp_beta": 0.0}
        requests.append((prompt, vanilla))
    assert generate(exploring, requests) == generate(stock, REQUEST_KINDS[kind])


def test_vanilla_requests_in_a_batch_that_explores_get_stock_tokens(stock: LLM, exploring: LLM) -> None:
    alone = generate(stock, seeded())
    mixed = [request for pair in zip(seeded(beta=0.0), seeded(beta=2.0), strict=True) for request in pair]
    together = generate(exploring, mixed)
    assert together[0::2] == alone
    assert together[1::2] != alone


class PerfectPrediction:
    """Knows the deep states."""

    def predict(self, rows: HiddenRows) -> Prediction:
        return Prediction(rows.target_RH.float(), None)


@pytest.mark.parametrize("filters", [{}, {"top_p": 0.95}, {"top_k": 9}, {"min_p": 0.05}], ids=str)
def test_a_perfect_prediction_is_vanilla(
    filters: dict[str, float], stock: LLM, beta_one: LLM, monkeypatch: pytest.MonkeyPatch
) -> None:
    inside = explorer(beta_one)
    monkeypatch.setattr(inside, "predictor", PerfectPrediction())
    before = inside.counters().explored_rows
    assert generate(beta_one, seeded(**filters)) == generate(stock, seeded(**filters))
    assert inside.counters().explored_rows - before == 16 * 23


def test_training_in_the_background_gives_the_tokens_of_training_in_step(tiny_model: Path) -> None:
    settings = {"beta": 0.8, "learning_rate": 1e-2}
    in_step = generate(start_engine(tiny_model, {**settings, "trainer": "sync"}), seeded())
    background = generate(start_engine(tiny_model, {**settings, "trainer": "local"}), seeded())
    assert background == in_step


def test_the_engine_predicts_and_learns_like_the_reference(tiny_model: Path) -> None:
    """Every prediction of a whole generation equals that of the slow reference trained on the same rows."""
    engine = start_engine(tiny_model, {"beta": 0.5, "trainer": "sync", "learning_rate": 3e-3})
    inside = explorer(engine)
    seen: list[tuple[torch.Tensor, torch.Tensor]] = []
    learned: list[tuple[torch.Tensor, torch.Tensor]] = []
    predict, learn = inside.bank.predict, inside.learner.learn

    def watch_predict(rows: HiddenRows) -> Forward:
        forward = predict(rows)
        seen.append((rows.source_RH.float(), forward.prediction_RH.clone()))
        return forward

    def watch_learn(rows: HiddenRows, forward: Forward | None) -> None:
        learned.append((rows.source_RH.float(), rows.target_RH.float()))
        learn(rows, forward)

    inside.bank.predict = watch_predict  # type: ignore[method-assign]
    inside.learner.learn = watch_learn  # type: ignore[method-assign]
    generate(engine, [(PROMPTS[0], params(n=6, max_tokens=20))])
    reference = ReferenceDistiller(inside.config, inside.initial_gain())
    assert len(seen) == len(learned) == 19
    for (source, prediction), (x, y) in zip(seen, learned, strict=True):
        assert source.shape[0] == x.shape[0] == 6, "all rows of the group are predicted and learned from"
        with torch.inference_mode(False):
            torch.testing.assert_close(reference(source.clone()).detach(), prediction.clone(), rtol=2e-3, atol=2e-3)
            reference.learn(x.clone(), y.clone())


def test_two_generate_calls_are_independent(exploring: LLM) -> None:
    first = generate(exploring, seeded(group="same-name"))
    second = generate(exploring, seeded(group="same-name"))
    assert first == second


def test_loss_falls_within_a_prompt(tiny_model: Path) -> None:
    engine = start_engine(tiny_model, {"beta": 0.25, "learning_rate": 3e-3})
    generate(engine, [(PROMPTS[0], params(n=16, max_tokens=120, extra_args={"esamp_record": "r"}))])
    [records] = engine.collective_rpc("esamp_records", args=(["r"],))
    losses = [loss for loss in records["r"]["loss"] if loss == loss]
    tenth = len(losses) // 10
    assert sum(losses[-tenth:]) < 0.8 * sum(losses[:tenth])


def test_first_tokens_and_greedy_requests_stay_vanilla(exploring: LLM) -> None:
    before = explorer(exploring).counters()
    record = {"extra_args": {"esamp_record": "sampled"}}
    greedy = {"extra_args": {"esamp_record": "greedy"}, "temperature": 0.0}
    generate(exploring, [(PROMPTS[0], params(seed=1, **record)), (PROMPTS[1], params(**greedy))])
    [records] = exploring.collective_rpc("esamp_records", args=(["sampled", "greedy"],))
    assert records["sampled"]["intervened"] == [False] + [True] * 23
    assert records["greedy"]["intervened"] == [False] * 24
    assert records["greedy"]["behaviour_logprobs"] == [0.0] * 24
    after = explorer(exploring).counters()
    assert after.trained_rows - before.trained_rows == 23


def test_recorded_log_probabilities_are_those_vllm_reports(stock: LLM, exploring: LLM) -> None:
    requests = [(p, params(seed=i, logprobs=0, top_p=0.9)) for i, p in enumerate(PROMPTS)]
    outputs = stock.generate([{"prompt_token_ids": p} for p, _ in requests], [s for _, s in requests], use_tqdm=False)
    for i, (prompt, settings) in enumerate(requests):
        settings.extra_args = {"esamp_beta": 0.0, "esamp_record": f"r{i}"}
        exploring.generate([{"prompt_token_ids": prompt}], settings, use_tqdm=False)
    [records] = exploring.collective_rpc("esamp_records", args=([f"r{i}" for i in range(len(requests))],))
    for i, output in enumerate(outputs):
        [completion] = output.outputs
        reported = [step[token].logprob for step, token in zip(completion.logprobs, completion.token_ids, strict=True)]
        assert records[f"r{i}"]["policy_logprobs"] == pytest.approx(reported, abs=1e-4)
        behaviour = records[f"r{i}"]["behaviour_logprobs"]
        assert all(b >= p - 1e-4 for b, p in zip(behaviour, reported, strict=True)), "top-p only takes rivals away"


def test_groups_without_a_slot_stay_vanilla_and_are_counted(stock: LLM, tiny_model: Path) -> None:
    engine = start_engine(tiny_model, {"beta": 3.0, "max_groups": 1})
    alone, crowded = generate(stock, seeded()), generate(engine, seeded())
    per_prompt = [(alone[4 * i : 4 * i + 4], crowded[4 * i : 4 * i + 4]) for i in range(len(PROMPTS))]
    assert [a != b for a, b in per_prompt] == [True, False, False, False]
    assert explorer(engine).counters().vanilla_groups == 3


def test_non_finite_predictions_stay_vanilla_and_are_counted(stock: LLM, tiny_model: Path) -> None:
    engine = start_engine(tiny_model, {"beta": 1.0})
    inside = explorer(engine)
    inside.bank._initial_P.fill_(torch.nan)
    assert generate(engine, seeded()) == generate(stock, seeded())
    counters = inside.counters()
    assert counters.nonfinite_rows == counters.explored_rows > 0


def test_an_aborted_group_frees_its_slot(exploring: LLM) -> None:
    engine = exploring.llm_engine
    inside = explorer(exploring)
    names = [
        engine.add_request(f"a{i}", {"prompt_token_ids": PROMPTS[0]}, params(seed=i, max_tokens=100)) for i in range(3)
    ]
    for _ in range(5):
        engine.step()
    assert len(inside.groups) == 1
    engine.abort_request([f"a{i}" for i in range(3)])
    assert names and not engine.has_unfinished_requests()
    generate(exploring, [(PROMPTS[1], params(seed=1, max_tokens=2))])
    generate(exploring, [(PROMPTS[1], params(temperature=0.0, max_tokens=2))])
    assert len(inside.groups) == 0


def test_chunked_prefill_and_preemption_keep_stock_tokens_and_every_decode_row(tiny_model: Path) -> None:
    """A cache too small for the batch preempts; a token budget below the prompts reads them in pieces."""
    tight = {
        "num_gpu_blocks_override": 12,
        "block_size": 32,
        "max_num_batched_tokens": 32,
        "enable_chunked_prefill": True,
    }
    prompts = [[7 + i, *range(1, 50)] for i in range(6)]
    requests = [(p, params(max_tokens=40)) for p in prompts]
    stock_tokens = generate(start_engine(tiny_model, **tight), requests)
    assert generate(start_engine(tiny_model, {"beta": 0.0}, **tight), requests) == stock_tokens
    engine = start_engine(tiny_model, {"beta": 0.25}, **tight)
    scheduler = engine.llm_engine.engine_core.engine_core.scheduler
    preempted, preempt = [], scheduler._preempt_request
    scheduler._preempt_request = lambda *args, **kwargs: (preempted.append(args), preempt(*args, **kwargs))[1]
    generate(engine, requests)
    assert preempted, "the cache is large enough for all: nothing was tested"
    assert explorer(engine).counters().trained_rows == 6 * 39


def test_bad_request_settings_stay_vanilla_and_are_counted(stock: LLM, exploring: LLM) -> None:
    before = explorer(exploring).counters().rejected_requests
    bad = [
        (PROMPTS[0], params(seed=i, extra_args={"esamp_beta": beta}))
        for i, beta in enumerate((-1.0, float("nan"), "high"))
    ]
    assert generate(exploring, bad) == generate(stock, [(PROMPTS[0], params(seed=i)) for i in range(3)])
    assert explorer(exploring).counters().rejected_requests - before == 3
