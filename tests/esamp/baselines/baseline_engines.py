"""Engines that run a baseline, and what the baselines' tests ask of them."""

from pathlib import Path
from typing import Any

import pytest
from vllm import LLM

from esamp.policy import SamplingPolicy
from tests.conftest import SHARED
from tests.esamp.engine.engines import start_engine

STORIES = SHARED / "models" / "stories260K"
"""A trained model of 260,032 parameters."""

needs_stories = pytest.mark.skipif(not STORIES.is_dir(), reason="models/stories260K is not among the test inputs")

TIGHT = {"num_gpu_blocks_override": 12, "block_size": 32, "max_num_batched_tokens": 32, "enable_chunked_prefill": True}
"""Options of an engine whose cache is too small for `crowd`, so that it preempts, and which reads their prompts in pieces."""
CROWD = [[7 + i, *range(1, 50)] for i in range(6)]


def start_baseline(model: Path, name: str, settings: dict[str, Any] | None = None, **options: Any) -> LLM:
    """An engine whose policy is the baseline of that name."""
    ours = {"worker_cls": "esamp.worker.ESampWorker", "additional_config": {name: settings or {}}}
    return start_engine(model, **ours, **options)


def policy_of(engine: LLM) -> SamplingPolicy:
    """The policy inside an in-process engine."""
    [found] = engine.collective_rpc(lambda worker: worker.policy)
    return found


def records_of(engine: LLM, tags: list[str]) -> list[dict[str, Any]]:
    """Per-token records of requests that were recorded under `tags`."""
    [records] = engine.collective_rpc("esamp_records", args=(tags,))
    return [records[tag] for tag in tags]


def count_preemptions(engine: LLM) -> list[object]:
    """A list that grows with every preemption from now on."""
    scheduler = engine.llm_engine.engine_core.engine_core.scheduler
    preempted: list[object] = []
    preempt = scheduler._preempt_request
    scheduler._preempt_request = lambda *args, **kwargs: (preempted.append(args), preempt(*args, **kwargs))[1]
    return preempted
