"""What an engine keeps between requests: nothing it should forget, and no more than it can hold."""

import gc
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from vllm import LLM

from esamp.policy import VanillaPolicy
from tests.esamp.engine.engines import (
    PROMPTS,
    explorer,
    generate,
    generate_staggered,
    params,
    record,
    records,
    settle,
    start_engine,
    watched,
)

pytestmark = pytest.mark.engine
SETTINGS = {"beta": 0.8, "learning_rate": 1e-2}


@pytest.fixture(scope="module")
def exploring(tiny_model: Path) -> LLM:
    return start_engine(tiny_model, SETTINGS)


@pytest.fixture(scope="module")
def single_slot(tiny_model: Path) -> LLM:
    return start_engine(tiny_model, {**SETTINGS, "max_groups": 1})


def test_beta_zero_builds_nothing(tiny_model: Path) -> None:
    engine = start_engine(tiny_model, {"beta": 0.0})
    [[policy, hooks]] = engine.collective_rpc(
        lambda worker: [type(worker.policy), worker.model_runner.use_aux_hidden_state_outputs]
    )
    assert policy is VanillaPolicy and not hooks


@pytest.mark.parametrize(
    ("extra", "expected"),
    [
        ([{}, {}], 1),
        ([{"esamp_group": "a"}, {"esamp_group": "a"}], 1),
        ([{"esamp_group": "a"}, {"esamp_group": "b"}], 2),
        ([{"esamp_group": "a"}, {}], 2),
    ],
    ids=["no names", "one name", "two names", "a name and none"],
)
def test_the_same_prompt_twice_shares_a_slot_unless_its_groups_have_different_names(
    extra: Sequence[dict[str, str]], expected: int, exploring: LLM
) -> None:
    with watched(exploring) as seen:
        generate(exploring, [(PROMPTS[0], params(seed=i, extra_args=e)) for i, e in enumerate(extra)])
    assert {len(set(step.slots)) for step in seen} == {expected}
    assert {len(set(step.groups)) for step in seen} == {expected}


def test_a_group_of_many_teaches_its_own_slot_alone(exploring: LLM) -> None:
    """The same prompt under two names: one group of seven rows, one of one. Each slot sees its own rows, one step per decode step."""
    inside = explorer(exploring)
    with watched(exploring) as seen:
        generate(
            exploring,
            [
                (PROMPTS[0], params(n=7, seed=1, extra_args={"esamp_group": "many"})),
                (PROMPTS[0], params(seed=1, extra_args={"esamp_group": "one"})),
            ],
        )
    inside.learner.refresh()
    assert all(Counter(step.groups) == {"many": 7, "one": 1} for step in seen)
    slots = {group: slot for step in seen for group, slot in zip(step.groups, step.slots, strict=True)}
    assert [int(inside.bank.steps_S[slot]) for slot in slots.values()] == [23, 23]
    assert not torch.equal(*(inside.bank.theta_SP[slot] for slot in slots.values()))


def test_a_slot_given_to_the_next_group_is_as_new(single_slot: LLM) -> None:
    one, other = ([(p, params(n=4, seed=9, max_tokens=40))] for p in PROMPTS[:2])
    first = generate(single_slot, one)
    generate(single_slot, other)
    assert generate(single_slot, one) == first
    assert explorer(single_slot).counters().vanilla_groups == 0


def test_more_groups_than_slots_wait_for_nothing_and_the_next_one_gets_the_slot(stock: LLM, single_slot: LLM) -> None:
    requests = [(p, params(seed=i, max_tokens=20)) for i, p in enumerate(PROMPTS)]
    before = explorer(single_slot).counters()
    # The second starts while the first has the slot, the third after the first has ended.
    tokens = generate_staggered(single_slot, requests[:3], [0, 3, 45])
    wanted = [samples[0] for samples in generate(stock, requests[:3])]
    assert tokens[0] != wanted[0] and tokens[1] == wanted[1] and tokens[2] != wanted[2]
    assert explorer(single_slot).counters().vanilla_groups - before.vanilla_groups == 1


def test_a_slot_that_breaks_leaves_its_group_vanilla_and_the_others_alone(exploring: LLM) -> None:
    inside = explorer(exploring)
    requests = [
        (p, params(n=3, seed=10 * i, max_tokens=40, extra_args={"esamp_group": f"g{i}"}))
        for i, p in enumerate(PROMPTS[:2])
    ]
    healthy = generate(exploring, requests)
    settle(exploring)
    before = inside.counters()
    after_sampling = inside.after_sampling
    steps = 0

    def poison(step: object, tokens_B: torch.Tensor) -> None:
        nonlocal steps
        steps += 1
        if steps == 10 and inside._step is not None:
            inside.learner.refresh()
            diverged = inside._step.plan.groups[0].slot
            inside.bank.theta_SP[diverged, 7] = torch.inf
        after_sampling(step, tokens_B)  # type: ignore[arg-type]

    inside.after_sampling = poison  # type: ignore[method-assign, assignment]
    diverged = generate(exploring, requests)
    inside.after_sampling = after_sampling  # type: ignore[method-assign]
    settle(exploring)
    counters = inside.counters()
    assert diverged[1] == healthy[1], "the other group"
    assert diverged[0] != healthy[0] and all(len(sample) == 40 for sample in diverged[0])
    assert [a[:9] for a in diverged[0]] == [b[:9] for b in healthy[0]]
    assert counters.diverged_slots - before.diverged_slots == 1
    assert counters.nonfinite_rows - before.nonfinite_rows == 3 * (39 - 9)
    assert generate(exploring, requests) == healthy, "its next group starts afresh"


def test_a_seeded_run_is_the_same_to_the_last_bit(tiny_model: Path) -> None:
    """Tokens, and every number recorded of them: training in the background included."""
    requests = [(p, params(n=4, seed=50 * i, max_tokens=40, **record(f"r{i}"))) for i, p in enumerate(PROMPTS)]
    tags = [f"r{i}" for i in range(4)]
    runs = []
    for _ in range(2):
        engine = start_engine(tiny_model, SETTINGS)
        tokens = generate(engine, requests)
        explorer(engine).learner.refresh()
        runs.append((tokens, str(records(engine, tags)), explorer(engine).bank.theta_SP.clone()))
    assert runs[0][0] == runs[1][0]
    assert runs[0][1] == runs[1][1]
    assert torch.equal(runs[0][2], runs[1][2])


def kept_objects() -> Counter[str]:
    """Live objects of our own classes."""
    gc.collect()
    return Counter(
        f"{type(thing).__module__}.{type(thing).__qualname__}"
        for thing in gc.get_objects()
        if type(thing).__module__.startswith("esamp.")
    )


def test_an_engine_that_has_served_many_keeps_nothing_of_them(tiny_model: Path) -> None:
    """Ended, aborted, recorded and read, greedy, refused, and without a slot: after each round the tables are as after the first."""
    exploring = start_engine(tiny_model, {**SETTINGS, "max_groups": 8})
    inside = explorer(exploring)
    [telemetry] = exploring.collective_rpc(lambda worker: worker.telemetry)
    engine = exploring.llm_engine
    kept = []
    for round_ in range(12):
        requests = [
            ([round_ + 1, i], params(seed=i, max_tokens=2 + (i * round_) % 9, **record(f"{round_}/{i}")))
            for i in range(40)
        ]
        requests += [(PROMPTS[0], params(temperature=0.0)), (PROMPTS[1], params(extra_args={"esamp_beta": "much"}))]
        generate(exploring, requests)
        aborted = [
            engine.add_request(f"a{round_}{i}", {"prompt_token_ids": [i, 2]}, params(**record(f"a{round_}{i}")))
            for i in range(5)
        ]
        for _ in range(4):
            engine.step()
        engine.abort_request([f"a{round_}{i}" for i in range(len(aborted))])
        records(exploring, [f"{round_}/{i}" for i in range(40)] + [f"a{round_}{i}" for i in range(5)])
        settle(exploring)
        assert len(inside.groups) == inside.counters().live_groups == 0
        assert not telemetry._tags and not telemetry._numbers and not telemetry._popped
        assert not inside.groups._requests and not inside.learner._steps
        assert inside.groups._free == list(range(inside.config.max_groups))
        kept.append(kept_objects())
    assert kept[-1] == kept[0]
    assert inside.counters().vanilla_groups > 0, "every group found a slot: nothing was tested"


def test_an_engine_that_was_told_nothing_records_nothing(exploring: LLM) -> None:
    [telemetry] = exploring.collective_rpc(lambda worker: worker.telemetry)
    generate(exploring, [(PROMPTS[0], params(seed=1))])
    assert not telemetry._unread
    assert records(exploring, ["never asked for"])["never asked for"]["behaviour_logprobs"] == []
