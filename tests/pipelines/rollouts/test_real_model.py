"""Stored log-probabilities of a real model against transformers' own: what a trainer that recomputes them will find."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer
from vllm import LLM, SamplingParams

from esamp.telemetry import TokenRecords
from pipelines.rollouts.importance import Ratios, RatioSummary

pytestmark = [pytest.mark.slow, pytest.mark.engine]
MODEL = Path(
    os.environ.get("ESAMP_REAL_MODEL", Path.home() / ".cache" / "esamp-models" / "qwen2.5-coder-0.5b")
).expanduser()
"""Qwen2.5-Coder-0.5B-Instruct."""
TEMPERATURE, TOP_P = 0.7, 0.9
TASKS = ("Write a haiku about recursion.", "Write a Python function that merges two sorted lists.")
SAMPLES, TOKENS = 12, 32
ROUNDING = {"float32": 2e-3, "bfloat16": 0.06}
"""Mean difference of two programs' log-probabilities, in nats."""


@dataclass(frozen=True, slots=True, eq=False)
class Drawn:
    prompt: list[int]
    tokens: list[int]
    records: TokenRecords


@pytest.fixture(scope="module", params=list(ROUNDING))
def samples(request: pytest.FixtureRequest) -> Iterator[tuple[str, list[Drawn]]]:
    """ESamp samples of a few tasks, with the model in fp32 and in bf16."""
    if not MODEL.exists():
        pytest.skip(f"there is no model at {MODEL}; ESAMP_REAL_MODEL says where it is")
    engine = LLM(
        str(MODEL),
        dtype=request.param,
        max_model_len=256,
        max_num_seqs=32,
        kv_cache_memory_bytes=256 << 20,
        enforce_eager=True,
        worker_cls="esamp.worker.ESampWorker",
        additional_config={"esamp": {"beta": 0.25, "inner_width": 64, "learning_rate": 1e-3}},
    )
    tokenizer = AutoTokenizer.from_pretrained(MODEL)
    prompts = [
        tokenizer.apply_chat_template([{"role": "user", "content": task}], add_generation_prompt=True).input_ids
        for task in TASKS
        for _ in range(SAMPLES)
    ]
    outputs = engine.generate(
        [{"prompt_token_ids": prompt} for prompt in prompts],
        [
            SamplingParams(
                temperature=TEMPERATURE,
                top_p=TOP_P,
                max_tokens=TOKENS,
                seed=index,
                extra_args={"esamp_record": str(index), "esamp_record_rollout": True},
            )
            for index in range(len(prompts))
        ],
        use_tqdm=False,
    )
    [records] = engine.collective_rpc("esamp_records", args=([str(index) for index in range(len(prompts))],))
    yield (
        request.param,
        [
            Drawn(prompt, list(output.outputs[0].token_ids), TokenRecords(**records[str(index)]))
            for index, (prompt, output) in enumerate(zip(prompts, outputs, strict=True))
        ],
    )


@torch.inference_mode()
def sampling_logprobs(dtype: str, samples: list[Drawn]) -> list[np.ndarray]:
    """[T] of each sample: transformers' log-probabilities at the temperature, over the kept tokens alone."""
    model = AutoModelForCausalLM.from_pretrained(MODEL, dtype=dtype).eval()
    found = []
    for sample in samples:
        logits_TV = model(torch.tensor([sample.prompt + sample.tokens])).logits[0, len(sample.prompt) - 1 : -1].float()
        assert sample.records.kept_token_ids is not None and sample.records.kept_token_offsets is not None
        ranges = pairwise(sample.records.kept_token_offsets)
        logprobs = []
        for z_V, token, (start, end) in zip(logits_TV, sample.tokens, ranges, strict=True):
            kept_z = z_V[sample.records.kept_token_ids[start:end]] / TEMPERATURE
            logprobs.append(float(z_V[token] / TEMPERATURE - kept_z.logsumexp(0)))
        found.append(np.array(logprobs))
    return found


def ratios_of(log_ratios: list[np.ndarray]) -> RatioSummary:
    ratios = Ratios()
    for log_ratio_T in log_ratios:
        ratios.add(log_ratio_T)
    summary = ratios.summary()
    assert summary is not None
    return summary


def mean_difference(ours: list[np.ndarray], theirs: list[np.ndarray]) -> float:
    return float(np.abs(np.concatenate(ours) - np.concatenate(theirs)).mean())


def test_the_mean_importance_ratio_of_a_real_model_is_one(samples: tuple[str, list[Drawn]]) -> None:
    """Given the tokens before it, a token's ratio is 1 in expectation, whatever the Distiller did: if both log-probabilities are right."""
    dtype, drawn = samples
    theirs = sampling_logprobs(dtype, drawn)
    ours = [np.array(sample.records.sampling_logprobs) for sample in drawn]
    difference = mean_difference(ours, theirs)
    policy = mean_difference([np.array(sample.records.policy_logprobs) for sample in drawn], theirs)
    print(f"{dtype}: mean difference {difference:.2g} nats, of the pair at temperature 1 {policy:.2g}")
    assert difference < ROUNDING[dtype] and difference < policy / 3
    behaviour = [np.array(sample.records.behaviour_logprobs) for sample in drawn]
    for sampling in (ours, theirs):
        summary = ratios_of([s - b for s, b in zip(sampling, behaviour, strict=True)])
        print(f"{dtype}: {summary}")
        assert abs(summary.mean - 1) < 3 * summary.standard_error
        assert summary.effective_fraction < 0.999, "the Distiller changed nothing"
