"""vLLM's real AsyncScheduler over our worker: a step is under way before the host knows which samples the last one has ended."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from vllm import LLM, SamplingParams
from vllm.v1.core.sched.async_scheduler import AsyncScheduler

from tests.esamp.engine.ahead import scheduling_ahead
from tests.esamp.engine.engines import (
    KEPT_ALIVE,
    PROMPTS,
    explorer,
    generate,
    params,
    record,
    records,
    start_engine,
)

pytestmark = pytest.mark.engine

EMBEDDED = Path(__file__).resolve().parents[3] / "pipelines" / "countdown_model"
ESAMP = {"beta": 0.5, "trainer": "sync", "learning_rate": 1e-3}


@pytest.fixture(scope="module")
def asynchronous(stock: LLM) -> Iterator[None]:
    """Engines of this module schedule asynchronously; not `stock`, which all modules share and which starts before."""
    with scheduling_ahead():
        yield


@pytest.fixture(scope="module")
def ahead(asynchronous: None, tiny_model: Path) -> LLM:
    engine = start_engine(tiny_model, ESAMP, max_model_len=40)
    assert type(engine.llm_engine.engine_core.engine_core.scheduler) is AsyncScheduler
    return engine


def counted_rows(engine: LLM, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Number of rows that count in each training from now on."""
    bank, counts = explorer(engine).bank, []
    train = bank.train

    def count_and_train(rows: Any, forward: Any = None) -> None:
        counts.append(int(torch.isfinite(rows.target_RH.sum(-1)).sum()))
        train(rows, forward)

    monkeypatch.setattr(bank, "train", count_and_train)
    return counts


def run(engine: LLM, **settings: Any) -> tuple[list[list[int]], dict[str, dict[str, Any]]]:
    """Tokens and records of 8 samples of each of two prompts."""
    tags = [f"{prompt}/{sample}" for prompt in range(2) for sample in range(8)]
    requests = [
        ([5, 6, 7, int(tag[0])], params(seed=number, **{**settings, **record(tag, esamp_group=tag[0])}))
        for number, tag in enumerate(tags)
    ]
    tokens = [one for [one] in generate(engine, requests)]
    return tokens, records(engine, tags)


def decode_rows(tokens: list[list[int]]) -> int:
    """All but the first token of each sample, which the prompt's row draws."""
    return sum(len(one) - 1 for one in tokens)


ENDS: dict[str, dict[str, Any]] = {
    "stop tokens": {"stop_token_ids": [3, 17, 40, 41, 42], "max_tokens": 30},
    "end of text": {"ignore_eos": False, "max_tokens": 30},
    "ignored end of text": {"max_tokens": 30},
    "length": {"max_tokens": 7},
    "the model's length": {"max_tokens": 100},
}


@pytest.mark.parametrize("end", ENDS)
def test_a_sample_that_ends_teaches_its_own_tokens_alone(end: str, ahead: LLM, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once the Distiller learned from one row more of every sample that a token ended."""
    learned = counted_rows(ahead, monkeypatch)
    before = explorer(ahead).counters()
    tokens, recorded = run(ahead, **ENDS[end])
    after = explorer(ahead).counters()
    is_ended_by_token = end in ("stop tokens", "end of text")
    assert (len({len(one) for one in tokens}) > 1) == is_ended_by_token
    rows = [len(record_of_one["behaviour_logprobs"]) for record_of_one in recorded.values()]
    more = [row - len(one) for row, one in zip(rows, tokens, strict=True)]
    # The shard cuts a record to its sample's length; without a row too many this test would show nothing.
    assert set(more) <= {0, 1} and any(more) == is_ended_by_token
    assert sum(learned) == decode_rows(tokens)
    assert after.trained_rows - before.trained_rows == sum(learned)


def test_a_stop_token_drawn_for_a_sample_that_does_not_stop_at_it_ends_nothing(
    ahead: LLM, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Requests of one batch stop at different tokens, and rows move as samples end."""
    learned = counted_rows(ahead, monkeypatch)
    requests = [
        (prompt, params(seed=10 * i + j, max_tokens=30, stop_token_ids=list(range(j * 16, j * 16 + 12 * (j % 3)))))
        for i, prompt in enumerate(PROMPTS)
        for j in range(8)
    ]
    tokens = [one for [one] in generate(ahead, requests)]
    assert len({len(one) for one in tokens}) > 4
    assert sum(learned) == decode_rows(tokens)


def test_requests_with_beta_zero_get_the_tokens_of_an_engine_that_waits_for_every_step(stock: LLM, ahead: LLM) -> None:
    requests = [(prompt, params(seed=i, stop_token_ids=[3, 17, 40, 41, 42])) for i, prompt in enumerate(PROMPTS)]
    vanilla = [(prompt, one.clone()) for prompt, one in requests]
    for _, one in vanilla:
        one.extra_args = {"esamp_beta": 0.0}
    assert generate(ahead, vanilla) == generate(stock, requests)


def test_a_sample_that_ends_at_a_stop_string_teaches_at_most_one_row_more(
    asynchronous: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = LLM(
        str(EMBEDDED),
        max_model_len=96,
        max_num_seqs=32,
        kv_cache_memory_bytes=32 << 20,
        enforce_eager=True,
        dtype="float32",
        disable_log_stats=True,
        worker_cls="esamp.worker.ESampWorker",
        additional_config={"esamp": {"inner_width": 32, **ESAMP}},
    )
    KEPT_ALIVE.append(engine)
    learned = counted_rows(engine, monkeypatch)
    settings = [SamplingParams(seed=seed, max_tokens=24, stop=["*", "-", "/"]) for seed in range(16)]
    outputs = engine.generate(["3 5 7 25 -> 22\n"] * 16, settings, use_tqdm=False)
    ends = [output.outputs[0].stop_reason for output in outputs]
    stopped = sum(isinstance(end, str) for end in ends)
    assert stopped >= 4, ends
    more = sum(learned) - decode_rows([list(output.outputs[0].token_ids) for output in outputs])
    assert 0 <= more <= stopped
