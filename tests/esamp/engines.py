"""Real vLLM engines on the tiny model, in this process."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from vllm import LLM, SamplingParams

from esamp.explorer import Explorer

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
