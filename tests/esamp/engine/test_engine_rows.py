"""Rows come and go, move and return: each keeps its own hidden states, and each decode row explores once."""

from collections import Counter
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from vllm import LLM

from tests.esamp.distiller.oracle import Oracle
from tests.esamp.engine.engines import (
    PROMPTS,
    explorer,
    generate,
    generate_staggered,
    params,
    record,
    records,
    rows_by_request,
    settle,
    start_engine,
    watched,
)

pytestmark = pytest.mark.engine
SETTINGS = {"beta": 0.6, "learning_rate": 3e-3}


@pytest.fixture(scope="module")
def exploring(tiny_model: Path) -> LLM:
    return start_engine(tiny_model, SETTINGS)


@pytest.fixture(scope="module")
def crowded(tiny_model: Path) -> LLM:
    """A cache too small for its batch preempts; a token budget below its prompts reads them in pieces."""
    return start_engine(
        tiny_model,
        SETTINGS,
        num_gpu_blocks_override=12,
        block_size=32,
        max_num_batched_tokens=32,
        enable_chunked_prefill=True,
    )


@pytest.fixture(scope="module")
def oracle(tiny_model: Path) -> Oracle:
    return Oracle(tiny_model)


def assert_every_row_had_its_own_states(
    engine: LLM, oracle: Oracle, requests: list[tuple[list[int], object]], arrivals: list[int]
) -> list[list[int]]:
    """Run staggered requests; compare the states of each exploring row with the oracle's at that very position."""
    with watched(engine) as seen:
        tokens = generate_staggered(engine, requests, arrivals)  # type: ignore[arg-type]
    sources, targets = rows_by_request(seen, "source_RH"), rows_by_request(seen, "target_RH")
    for i, (prompt, _) in enumerate(requests):
        states = oracle.read(prompt + tokens[i][:-1])
        # The first token is drawn from the prompt; the row that draws token k holds the states of token k - 1.
        assert len(sources[f"r{i}"]) == len(tokens[i]) - 1, "one row for each token but the first"
        torch.testing.assert_close(torch.stack(sources[f"r{i}"]), states.source_TH[len(prompt) :], rtol=1e-3, atol=1e-3)
        torch.testing.assert_close(torch.stack(targets[f"r{i}"]), states.target_TH[len(prompt) :], rtol=1e-3, atol=1e-3)
    return tokens


def test_rows_that_swap_places_keep_their_own_states_while_the_batch_grows_and_shrinks(
    exploring: LLM, oracle: Oracle
) -> None:
    """Lengths fall and rise, so that requests leave from every place of the batch and others are moved there."""
    lengths = [3, 40, 9, 2, 25, 7, 30, 4, 12, 18, 5, 21]
    requests = [(PROMPTS[i % 4], params(max_tokens=length)) for i, length in enumerate(lengths)]
    with watched(exploring) as seen:
        assert_every_row_had_its_own_states(exploring, oracle, requests, [0] * 4 + [1] * 5 + [9] * 3)
    sizes = [len(step.rows) for step in seen]
    assert max(sizes) >= 8 and sizes[-1] == 1
    assert any(a < b for a, b in pairwise(sizes))
    places: dict[str, set[int]] = {}
    for step in seen:
        for row, name in enumerate(step.request_ids):
            places.setdefault(name, set()).add(row)
    assert any(len(rows) > 1 for rows in places.values()), "no request moved: nothing was tested"


def test_rows_read_in_pieces_preempted_and_resumed_keep_their_own_states(crowded: LLM, oracle: Oracle) -> None:
    scheduler = crowded.llm_engine.engine_core.engine_core.scheduler
    preempted, preempt = [], scheduler._preempt_request
    scheduler._preempt_request = lambda *args, **kwargs: (preempted.append(args), preempt(*args, **kwargs))[1]
    requests = [([7 + i, *range(1, 50)], params(max_tokens=40)) for i in range(6)]
    with watched(crowded) as seen:
        assert_every_row_had_its_own_states(crowded, oracle, requests, [0] * 6)
    scheduler._preempt_request = preempt
    assert preempted, "the cache is large enough for all: nothing was tested"
    assert any(not all(step.draws_token) for step in seen), "no prompt was read in pieces: nothing was tested"


def test_prompts_that_are_partly_read_neither_explore_nor_learn(crowded: LLM) -> None:
    """Two samples decode while a prompt of three pieces is read in the same steps."""
    requests = [([3, 4], params(max_tokens=30))] * 2 + [([9, *range(1, 80)], params(max_tokens=4))]
    with watched(crowded) as seen:
        generate_staggered(crowded, requests, [0, 0, 4])
    partly_read = [step for step in seen if not all(step.draws_token)]
    assert partly_read
    for step in partly_read:
        names = [name.split("-")[0] for name in step.request_ids]
        assert [names[row] for row in step.rows] == ["r0", "r1"]


def test_a_seeded_request_draws_the_same_tokens_when_its_prompt_is_read_in_pieces(exploring: LLM, crowded: LLM) -> None:
    """On a CPU vLLM 0.32 ends in an error here: it winds back a generator that cannot be."""
    decoding = ([3, 4], params(max_tokens=30))
    seeded = [([7 + i, *range(1, 80)], params(seed=5 + i, extra_args={"esamp_beta": 0.0})) for i in range(2)]
    [_, *whole] = generate_staggered(exploring, [decoding, *seeded], [0, 4, 4])
    with watched(crowded) as seen:
        [_, *in_pieces] = generate_staggered(crowded, [decoding, *seeded], [0, 4, 4])
    assert any(not all(step.draws_token) for step in seen), "no prompt was read in pieces: nothing was tested"
    assert in_pieces == whole


def test_a_step_that_reads_prompts_and_decodes_explores_in_its_decode_rows_alone(
    stock: LLM, exploring: LLM, oracle: Oracle
) -> None:
    """A published implementation divided such steps by the temperature twice, and explored in none of their rows."""
    temperature = 0.5
    requests = [
        (PROMPTS[i], params(seed=i, temperature=temperature, max_tokens=20, **record(f"r{i}"))) for i in range(4)
    ]
    with watched(exploring) as seen:
        tokens = generate_staggered(exploring, requests, [0, 3, 6, 9])
    mixed = [step for step in seen if len(set(step.is_decode)) == 2]
    assert len(mixed) == 3
    for step in mixed:
        assert step.rows == tuple(row for row, decodes in enumerate(step.is_decode) if decodes)
    recorded = records(exploring, [f"r{i}" for i in range(4)])
    vanilla = generate(
        stock, [(p, params(seed=i, temperature=temperature, max_tokens=1)) for i, p in enumerate(PROMPTS)]
    )
    for i, prompt in enumerate(PROMPTS):
        assert recorded[f"r{i}"]["intervened"] == [False] + [True] * 19
        assert tokens[i][:1] == vanilla[i][0], "the first token is drawn from the prompt, as ever"
        wanted = (oracle.read(prompt).logits_TV[-1] / temperature).log_softmax(-1)[tokens[i][0]].item()
        assert recorded[f"r{i}"]["behaviour_logprobs"][0] == pytest.approx(wanted, abs=1e-3)


def test_240_requests_of_different_lengths_drain_and_every_decode_row_explores_and_learns(
    stock: LLM, exploring: LLM
) -> None:
    """A third of them are vanilla and seeded: they get what stock vLLM gives them, whatever explores in the same batch."""
    inside = explorer(exploring)
    before = inside.counters()

    def requests(vanilla_only: bool) -> list[tuple[list[int], object]]:
        return [
            (
                [*PROMPTS[i % 4], i % 60 + 1],
                params(
                    max_tokens=1 + (i * 7) % 23,
                    seed=i if i % 3 == 0 else None,
                    extra_args={"esamp_beta": 0.0} if i % 3 == 0 else None,
                ),
            )
            for i in range(240)
            if i % 3 == 0 or not vanilla_only
        ]

    with watched(exploring) as seen:
        tokens = [samples[0] for samples in generate(exploring, requests(vanilla_only=False))]  # type: ignore[arg-type]
    assert [len(t) for t in tokens] == [1 + (i * 7) % 23 for i in range(240)]
    assert tokens[::3] == [samples[0] for samples in generate(stock, requests(vanilla_only=True))]  # type: ignore[arg-type]
    settle(exploring)
    after = inside.counters()
    decode_rows = sum(len(t) - 1 for i, t in enumerate(tokens) if i % 3)
    assert after.explored_rows - before.explored_rows == decode_rows
    assert after.trained_rows - before.trained_rows == decode_rows
    assert after.optimiser_steps - before.optimiser_steps == sum(len(set(step.slots)) for step in seen)
    assert after.nonfinite_rows == before.nonfinite_rows and after.live_groups == 0
    assert Counter(len(step.rows) for step in seen)[1] > 0, "it drained to one row"


def test_samples_of_one_prompt_with_different_last_tokens_get_different_predictions(exploring: LLM) -> None:
    """A published implementation gave all samples of a prompt the prediction of the first."""
    with watched(exploring) as seen:
        generate(exploring, [(PROMPTS[0], params(n=8))])
    apart = 0
    for before, step in pairwise(seen):
        assert step.prediction_RH is not None and len(set(step.slots)) == 1
        last_tokens = before.tokens_B[list(before.rows)].tolist()
        for a in range(8):
            for b in range(a):
                if last_tokens[a] != last_tokens[b]:
                    apart += 1
                    assert (step.prediction_RH[a] - step.prediction_RH[b]).abs().max() > 1e-3
    assert apart > 100


def test_a_step_without_exploring_rows_predicts_nothing_and_learns_nothing(stock: LLM, exploring: LLM) -> None:
    """All greedy, all vanilla, or all reading their prompts."""
    inside = explorer(exploring)
    before = inside.counters()
    greedy = [(p, params(temperature=0.0)) for p in PROMPTS]
    vanilla = [(p, params(seed=i, extra_args={"esamp_beta": 0.0})) for i, p in enumerate(PROMPTS)]
    reading = [(p, params(seed=i, max_tokens=1)) for i, p in enumerate(PROMPTS)]
    with watched(exploring) as seen:
        assert generate(exploring, greedy) == generate(stock, greedy)
        assert generate(exploring, vanilla) == generate(stock, [(p, params(seed=i)) for i, p in enumerate(PROMPTS)])
        assert generate(exploring, reading) == generate(stock, reading)
    after = inside.counters()
    assert not seen
    assert (after.explored_rows, after.trained_rows, after.optimiser_steps) == (
        before.explored_rows,
        before.trained_rows,
        before.optimiser_steps,
    )


def test_greedy_rows_stay_greedy_in_a_batch_that_explores(stock: LLM, exploring: LLM) -> None:
    """A published implementation divided greedy rows of a mixed batch by -1 and took the worst token."""
    greedy = [(p, params(temperature=0.0)) for p in PROMPTS]
    sampled = [(p, params(seed=i)) for i, p in enumerate(PROMPTS)]
    together = generate(exploring, [request for pair in zip(greedy, sampled, strict=True) for request in pair])
    assert together[0::2] == generate(stock, greedy)
    assert together[1::2] != generate(stock, sampled)


def test_a_row_nobody_announced_stays_vanilla(stock: LLM, exploring: LLM, monkeypatch: pytest.MonkeyPatch) -> None:
    """A published implementation gave it the Distiller of prompt 0."""
    inside = explorer(exploring)
    follow = inside.follow
    monkeypatch.setattr(inside, "follow", lambda finished, new: follow(finished, []))
    requests = [(p, params(seed=i)) for i, p in enumerate(PROMPTS)]
    assert generate(exploring, requests) == generate(stock, requests)
    inside.follow({"an unknown request"}, [])
