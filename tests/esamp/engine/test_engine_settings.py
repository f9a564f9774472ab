"""Every setting in a real engine: it changes tokens, counts what it does, and learns where it is to learn.

All settings share one engine, whose policy is built anew for each as its start-up does.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from vllm import LLM

from esamp.config import ESampConfig
from esamp.distiller.learner import WeightsVersion
from esamp.exploration.explorer import Explorer
from esamp.policy import Counters, build_policy
from tests.esamp.engine.engines import (
    PROMPTS,
    explorer,
    generate,
    generate_staggered,
    params,
    record,
    records,
    start_engine,
    watched,
)

pytestmark = pytest.mark.engine
BASE = {"beta": 0.8, "learning_rate": 1e-2, "inner_width": 32, "max_groups": 8}
TAGS = [f"r{i}" for i in range(4)]


@pytest.fixture(scope="module")
def engine(tiny_model: Path) -> LLM:
    return start_engine(tiny_model, BASE)


@pytest.fixture(autouse=True)
def settled_once_more(engine: LLM) -> Iterator[None]:
    """Requests of one test end before the next policy comes."""
    yield
    generate(engine, [([1], params(temperature=0.0, max_tokens=2))])


def with_settings(engine: LLM, **settings: Any) -> LLM:
    """The engine with another policy, built as load_model builds it."""
    config = ESampConfig.from_dict({**BASE, **settings})

    [worker] = engine.collective_rpc(lambda wrapper: wrapper.worker)
    vars(worker.model_runner.get_model()).pop("compute_logits", None)
    worker.policy = build_policy(config, worker)
    return engine


def requests(max_tokens: int = 60, **settings: Any) -> list[tuple[list[int], Any]]:
    return [
        (p, params(n=4, seed=100 * i, max_tokens=max_tokens, **record(f"r{i}"), **settings))
        for i, p in enumerate(PROMPTS)
    ]


@pytest.fixture(scope="module")
def stock_tokens(stock: LLM) -> list[list[list[int]]]:
    return generate(stock, requests())


def run(engine: LLM) -> tuple[list[list[list[int]]], dict[str, dict[str, Any]], Counters]:
    """Tokens, records and counters of the four prompts, four samples each."""
    tokens = generate(engine, requests())
    return tokens, records(engine, TAGS), explorer(engine).counters()


def losses_by_step(recorded: dict[str, dict[str, Any]], tag: str) -> list[float]:
    """The four samples of a prompt run side by side, and are recorded step by step."""
    return [loss for loss in recorded[tag]["loss"] if loss == loss]


def fall(recorded: dict[str, dict[str, Any]]) -> float:
    """Loss of the last fifth of a run over that of its first fifth, all prompts together."""
    losses = [losses_by_step(recorded, tag) for tag in TAGS]
    fifth = len(losses[0]) // 5
    return sum(sum(of_prompt[-fifth:]) for of_prompt in losses) / sum(sum(of_prompt[:fifth]) for of_prompt in losses)


LEARNING = {
    "as in the paper": {},
    "scope shard": {"scope": "shard"},
    "scope prior": {"scope": "prior"},
    "shuffled": {"prediction": "shuffled"},
    "noise": {"prediction": "noise"},
    "vocabulary": {"prediction": "vocabulary"},
    "subtraction": {"fusion": "subtraction"},
    "clamped": {"fusion": "clamped", "max_shift": 0.5},
    "entropy matched": {"fusion": "entropy_matched"},
    "fit": {"warmup": "fit", "learning_rate": 3e-2},
    "trained in step": {"trainer": "sync"},
    "lag 4": {"lag": 4},
    "two blocks": {"num_blocks": 2},
    "source layer 2": {"source_layer": 2},
    "behaviour only": {"record": "behaviour"},
}


@pytest.mark.parametrize("settings", LEARNING.values(), ids=LEARNING)
def test_it_explores_in_every_decode_row_learns_from_it_and_gets_better(
    settings: dict[str, Any], engine: LLM, stock_tokens: list[list[list[int]]]
) -> None:
    tokens, recorded, counters = run(with_settings(engine, **settings))
    assert tokens != stock_tokens
    assert [sample[:1] for samples in tokens for sample in samples] == [
        sample[:1] for samples in stock_tokens for sample in samples
    ], "first tokens are drawn from the prompt"
    assert counters.explored_rows == counters.trained_rows == 16 * 59
    assert counters.optimiser_steps == (59 if settings.get("scope") == "shard" else 4 * 59)
    assert counters.nonfinite_rows == counters.diverged_slots == counters.vanilla_groups == 0
    assert fall(recorded) < 0.9


def test_the_running_mean_is_that_of_the_groups_rows_of_all_earlier_steps(
    engine: LLM, stock_tokens: list[list[list[int]]]
) -> None:
    mean = with_settings(engine, prediction="running_mean")
    with watched(mean) as seen:
        assert run(mean)[0] != stock_tokens
    known: dict[int, list[torch.Tensor]] = {}
    for step in seen:
        assert step.prediction_RH is not None
        for slot, predicted in zip(step.slots, step.prediction_RH, strict=True):
            wanted = torch.stack(known[slot]).mean(0) if slot in known else torch.zeros_like(predicted)
            torch.testing.assert_close(predicted, wanted, rtol=1e-4, atol=1e-4)
        for slot, target in zip(step.slots, step.target_RH, strict=True):
            known.setdefault(slot, []).append(target)
    assert {len(rows) for rows in known.values()} == {4 * 59}


def test_a_distiller_that_never_learns_explores_and_counts_no_learning(
    engine: LLM, stock_tokens: list[list[list[int]]]
) -> None:
    frozen = with_settings(engine, trainer="none")
    before = explorer(frozen).bank.theta_SP.clone()
    tokens, recorded, counters = run(frozen)
    assert tokens != stock_tokens
    assert counters.explored_rows == 16 * 59
    assert counters.trained_rows == counters.optimiser_steps == 0
    assert torch.equal(explorer(frozen).bank.theta_SP, before)
    assert all(loss != loss for tag in TAGS for loss in recorded[tag]["loss"])


def test_training_in_step_and_in_the_background_draw_the_same_tokens_of_every_kind(engine: LLM) -> None:
    for settings in ({}, {"scope": "prior"}, {"prediction": "running_mean"}, {"prediction": "vocabulary"}):
        in_step, background = (run(with_settings(engine, trainer=t, **settings))[0] for t in ("sync", "local"))
        assert in_step == background


def test_one_distiller_for_the_shard_keeps_what_it_learned_from_earlier_prompts(engine: LLM) -> None:
    for scope, keeps in (("shard", True), ("prompt", False)):
        shared = with_settings(engine, scope=scope)
        with watched(shared) as seen:
            _, first, _ = run(shared)
            _, second, _ = run(shared)
        assert {len(set(step.slots)) for step in seen} == ({1} if keeps else {4})
        start, again = (sum(losses_by_step(recorded, "r0")[:8]) for recorded in (first, second))
        assert (again < 0.9 * start) == keeps
        assert explorer(shared).counters().live_groups == (1 if keeps else 4), "the shard's group never ends"


def test_shared_initial_weights_give_later_prompts_a_better_start(engine: LLM) -> None:
    starts = {}
    for scope in ("prompt", "prior"):
        scoped = with_settings(engine, scope=scope)
        run(scoped)
        _, recorded, _ = run(scoped)
        starts[scope] = sum(losses_by_step(recorded, "r0")[:4])
    assert starts["prior"] < 0.9 * starts["prompt"]


def test_a_group_alone_has_nobody_to_be_shuffled_with_and_is_counted(engine: LLM, stock: LLM) -> None:
    shuffled = with_settings(engine, prediction="shuffled")
    alone = [(PROMPTS[0], params(n=4, seed=1))]
    assert generate(shuffled, alone) == generate(stock, alone)
    counters = explorer(shuffled).counters()
    assert counters.nonfinite_rows == counters.explored_rows == counters.trained_rows == 4 * 23


def test_entropy_matching_alone_draws_like_another_temperature(engine: LLM) -> None:
    """Per token the order of probabilities is the model's: a greedy look at both would see no difference."""
    matched = with_settings(engine, fusion="entropy_matched", trainer="sync")
    sharp = generate(matched, [(PROMPTS[0], params(n=8, seed=1, top_k=1))])
    assert sharp == [[sharp[0][0]] * 8]


@pytest.mark.parametrize("form", ["clamped", "subtraction"])
def test_other_forms_of_fusion_draw_other_tokens_than_the_proposed_one(form: str, engine: LLM) -> None:
    proposed = run(with_settings(engine, beta=2.0))[0]
    assert run(with_settings(engine, beta=2.0, fusion=form, max_shift=0.1))[0] != proposed


def test_a_lag_is_reported_as_it_was_set(engine: LLM) -> None:
    for lag in (1, 4):
        _, recorded, _ = run(with_settings(engine, lag=lag))
        seen = recorded["r0"]["lag"]
        assert set(seen[:4]) == {-1}, "first tokens"
        assert max(seen) == lag and set(seen[4 * (lag + 1) :]) == {lag}


def test_slots_that_are_warming_up_learn_and_do_not_explore(engine: LLM, stock: LLM) -> None:
    warming = with_settings(engine, warmup_steps=10)
    tokens, recorded, counters = run(warming)
    plain = generate(stock, requests())
    # Drawn with the weights of 10 steps for the first time: the token after the first, which is drawn from the prompt, and these.
    assert [[sample[:11] for sample in samples] for samples in tokens] == [
        [s[:11] for s in samples] for samples in plain
    ]
    assert tokens != plain
    assert counters.trained_rows == 16 * 59 and counters.explored_rows == 16 * (59 - 10)
    assert recorded["r0"]["intervened"] == [False] * 4 * 11 + [True] * 4 * 49


def test_a_slot_that_explains_nothing_yet_does_not_explore_under_fit_warmup(engine: LLM) -> None:
    _, recorded, _ = run(with_settings(engine, warmup="fit", learning_rate=3e-2))
    intervened = recorded["r0"]["intervened"]
    assert not any(intervened[:8]), "the first decode step has never been trained"
    assert any(intervened[8:])


class StuckLearner:
    """A remote trainer that no longer replies."""

    def open(self, slot: int, group: str) -> None: ...

    def close(self, slot: int) -> None: ...

    def refresh(self) -> None: ...

    def catch_up(self) -> None: ...

    def learn(self, rows: object, forward: object) -> None: ...

    def version(self, slot: int) -> WeightsVersion:
        return WeightsVersion(incarnation="initial", step=0, rows=0, learned=0)


def test_weights_that_grow_stale_fade_out_and_every_row_that_fades_is_counted(engine: LLM, stock: LLM) -> None:
    stuck = with_settings(engine, trainer="actor", max_staleness=20)
    explorer(stuck).use_learner(StuckLearner())
    [[tokens]] = generate(stuck, [(PROMPTS[0], params(seed=1, max_tokens=60, **record("r0")))])
    recorded, counters = records(stuck, ["r0"])["r0"], explorer(stuck).counters()
    assert recorded["intervened"] == [False] + [True] * 19 + [False] * 40
    assert counters.explored_rows == 19
    assert counters.stale_rows == 59 - 10, "half of the bound is free, the rest is not, and beyond it nothing is left"
    assert len(tokens) == 60


def test_an_engine_without_its_trainer_says_so(tiny_model: Path) -> None:
    lonely = start_engine(tiny_model, {"trainer": "actor"})
    with pytest.raises(RuntimeError, match='trainer="actor" needs a learner before the first request'):
        generate(lonely, [(PROMPTS[0], params(seed=1))])


@pytest.mark.parametrize("trainer", ["sync", "local"])
def test_prefix_caching_changes_no_token(trainer: str, tiny_model: Path) -> None:
    """Cached positions are not computed again; decode rows are always computed, and they are all that a Distiller sees."""
    shared = list(range(1, 70))
    wanted = [([*shared, 90 + i], params(seed=i, max_tokens=30)) for i in range(6)]
    tokens, cached = [], []
    for enabled in (True, False):
        caching = start_engine(tiny_model, {**BASE, "trainer": trainer}, enable_prefix_caching=enabled, block_size=32)
        tokens.append([generate_staggered(caching, wanted, [0, 10, 20, 30, 40, 50]) for _ in range(2)])
        [output] = caching.generate([{"prompt_token_ids": wanted[0][0]}], params(max_tokens=1), use_tqdm=False)
        cached.append(output.num_cached_tokens)
    assert cached[0] >= 64 and not cached[1], "nothing was cached: nothing was tested"
    assert tokens[0] == tokens[1]


def test_a_policy_is_what_the_engine_was_told(engine: LLM) -> None:
    assert isinstance(explorer(with_settings(engine)), Explorer)
    engine = with_settings(engine, beta=0.0)
    with pytest.raises(TypeError, match="this engine does not explore: its policy is VanillaPolicy"):
        explorer(engine)
    with_settings(engine)
