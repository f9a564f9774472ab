"""Real vLLM engines on the tiny model, in this process."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from vllm import LLM, SamplingParams

from esamp.batch import BatchStep
from esamp.exploration.explorer import Explorer

KEPT_ALIVE: list[LLM] = []
"""vLLM's engines share one process group per process, and the first to be collected takes it from the others."""

PROMPTS = [[5, 6, 7], [9, 3, 3, 8], [20, 21], [30, 31, 32, 33, 34]]


def start_engine(model: Path, esamp: dict[str, Any] | None = None, **options: Any) -> LLM:
    """Stock vLLM if `esamp` is None, else our worker with these settings."""
    ours: dict[str, Any] = {}
    if esamp is not None:
        ours = {"worker_cls": "esamp.worker.ESampWorker", "additional_config": {"esamp": {"inner_width": 32, **esamp}}}
    defaults = {
        "max_model_len": 160,
        "max_num_seqs": 32,
        "kv_cache_memory_bytes": 32 << 20,
        "enforce_eager": True,
        "dtype": "float32",
    }
    engine = LLM(str(model), skip_tokenizer_init=True, disable_log_stats=True, **{**defaults, **options}, **ours)
    KEPT_ALIVE.append(engine)
    return engine


def explorer(engine: LLM) -> Explorer:
    """The Explorer inside an in-process engine."""
    [found] = engine.collective_rpc(lambda worker: worker.explorer)
    return found


def params(**settings: Any) -> SamplingParams:
    """Sampling parameters that need no tokenizer."""
    return SamplingParams(**{"max_tokens": 24, "detokenize": False, "ignore_eos": True, **settings})


def generate(
    engine: LLM, requests: Sequence[tuple[list[int], SamplingParams]], *, seed: int = 11
) -> list[list[list[int]]]:
    """Tokens of each request's samples. Seedless requests draw from the global generator, which starts at `seed`."""
    torch.manual_seed(seed)
    prompts = [{"prompt_token_ids": prompt} for prompt, _ in requests]
    outputs = engine.generate(prompts, [p for _, p in requests], use_tqdm=False)
    return [[list(completion.token_ids) for completion in output.outputs] for output in outputs]


def generate_staggered(
    engine: LLM, requests: Sequence[tuple[list[int], SamplingParams]], arrivals: Sequence[int], *, seed: int = 11
) -> list[list[int]]:
    """Tokens of each request's one sample; request i is added before engine step `arrivals[i]`."""
    torch.manual_seed(seed)
    core, step = engine.llm_engine, 0
    waiting = sorted(range(len(requests)), key=lambda i: arrivals[i])
    tokens: dict[int, list[int]] = {}
    while waiting or core.has_unfinished_requests():
        while waiting and arrivals[waiting[0]] <= step:
            i = waiting.pop(0)
            prompt, settings = requests[i]
            core.add_request(f"r{i}", {"prompt_token_ids": prompt}, settings)
        for output in core.step():
            if output.finished:
                tokens[int(output.request_id.removeprefix("r"))] = list(output.outputs[0].token_ids)
        step += 1
    return [tokens[i] for i in range(len(requests))]


def records(engine: LLM, tags: Sequence[str]) -> dict[str, dict[str, Any]]:
    """What the engine recorded of the requests with these tags."""
    [found] = engine.collective_rpc("esamp_records", args=(list(tags),))
    return found


def record(tag: str, **extra: Any) -> dict[str, Any]:
    """The part of a request's settings that has it recorded."""
    return {"extra_args": {"esamp_record": tag, **extra}}


def settle(engine: LLM) -> None:
    """Two requests that do not explore: vLLM reports a finished request to its worker with the next step that runs."""
    for _ in range(2):
        generate(engine, [([1], params(temperature=0.0, max_tokens=1))])


@dataclass(frozen=True, slots=True, eq=False)
class SeenStep:
    """What the Explorer knew when it had sampled a step."""

    request_ids: tuple[str, ...]
    is_decode: tuple[bool, ...]
    draws_token: tuple[bool, ...]
    tokens_B: torch.Tensor
    rows: tuple[int, ...]
    """[R] batch rows that explored; all that follows is for these."""
    groups: tuple[str, ...]
    slots: tuple[int, ...]
    source_RH: torch.Tensor
    target_RH: torch.Tensor
    prediction_RH: torch.Tensor | None
    """None if no row was adjusted."""


@contextmanager
def watched(engine: LLM) -> Iterator[list[SeenStep]]:
    """Steps with exploring rows, as they happen."""
    inside, seen = explorer(engine), []
    after_sampling = inside.after_sampling

    def watch(step: BatchStep, tokens_B: torch.Tensor) -> None:
        found = inside._step
        if found is not None:
            seen.append(
                SeenStep(
                    request_ids=step.request_ids,
                    is_decode=step.is_decode,
                    draws_token=step.draws_token,
                    tokens_B=tokens_B.clone(),
                    rows=found.plan.rows,
                    groups=tuple(group.name for group in found.plan.groups),
                    slots=found.hidden.slots,
                    source_RH=found.hidden.source_RH.float().clone(),
                    target_RH=found.hidden.target_RH.float().clone(),
                    prediction_RH=None if found.adjustment is None else found.adjustment.prediction_RH.clone(),
                )
            )
        after_sampling(step, tokens_B)

    inside.after_sampling = watch  # type: ignore[method-assign]
    try:
        yield seen
    finally:
        inside.after_sampling = after_sampling  # type: ignore[method-assign]


def rows_by_request(seen: Sequence[SeenStep], field: str) -> dict[str, list[torch.Tensor]]:
    """`field` [H] of each exploring row, by the name its request was added under, in order."""
    found: dict[str, list[torch.Tensor]] = {}
    for step in seen:
        for row, values in zip(step.rows, getattr(step, field), strict=True):
            found.setdefault(step.request_ids[row].split("-")[0], []).append(values)
    return found
