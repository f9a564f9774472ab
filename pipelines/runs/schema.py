"""One row per sample, as it is stored: what every stage after generation, and every reader of a run folder, relies on. Reference answers
are stored once per problem: see reference_answers.py.

Legend: T tokens of the answer.
"""

import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from statistics import fmean
from typing import Any

import pyarrow as pa

from actors.types import Sample, WorkUnit
from pipelines.config.identity import config_hash
from pipelines.config.run import RunConfig


@dataclass(frozen=True, kw_only=True, slots=True)
class RunLabels:
    """Columns that are the same in every row of a run."""

    run_id: str
    model: str
    model_fingerprint: str
    config_hash: str
    sampler: str
    beta: float
    temperature: float
    top_p: float
    top_k: int
    min_p: float
    max_tokens: int


def run_labels(config: RunConfig, *, run_id: str, model_fingerprint: str) -> RunLabels:
    """The labels of a run."""
    return RunLabels(
        run_id=run_id,
        model=config.model,
        model_fingerprint=model_fingerprint,
        config_hash=config_hash(config),
        sampler=config.sampler,
        beta=config.beta,
        **asdict(config.effective_sampling),
    )


SAMPLE_SCHEMA = pa.schema(
    {
        "run_id": pa.string(),
        "unit_id": pa.string(),
        "problem_id": pa.string(),
        "sample_index": pa.int32(),  # position in launch order within the problem
        "seed": pa.int64(),
        "problem": pa.string(),
        "prompt": pa.string(),
        "prompt_token_ids": pa.list_(pa.int32()),
        "text": pa.string(),
        "token_ids": pa.list_(pa.int32()),  # [T]
        "num_tokens": pa.int32(),  # T
        "finish_reason": pa.string(),  # "stop", "length", or "error"
        "behaviour_logprobs": pa.list_(pa.float32()),  # [T] under the policy that was sampled
        "policy_logprobs": pa.list_(pa.float32()),  # [T] under the plain model at temperature 1
        "num_candidates": pa.list_(pa.int32()),  # [T] tokens that could have been drawn
        "flipped": pa.list_(
            pa.bool_()
        ),  # [T] the same random numbers would have drawn another token without the policy
        "flipped_tokens": pa.int32(),
        "novelty": pa.list_(pa.float32()),  # [T] NaN where the Distiller took no part
        "novelty_mean": pa.float32(),  # over tokens intervened on; null if there is none
        "loss": pa.list_(pa.float32()),  # [T] Distiller loss of the problem's group, NaN where it took no part
        "intervened_tokens": pa.int32(),
        "lag_mean": pa.float32(),  # decode steps the weights were behind; null if nothing was intervened on
        "distiller_version": pa.string(),
        "shard": pa.string(),
        "generation_seconds": pa.float32(),
        "sampler": pa.string(),
        "beta": pa.float32(),
        "temperature": pa.float32(),
        "top_p": pa.float32(),
        "top_k": pa.int32(),
        "min_p": pa.float32(),
        "max_tokens": pa.int32(),
        "model": pa.string(),
        "model_fingerprint": pa.string(),
        "config_hash": pa.string(),
        "error": pa.string(),  # why there is no answer; null where there is one
    }
)
"""What generation knows of a sample."""

VERDICT_SCHEMA = pa.schema(
    {
        "status": pa.string(),  # pipelines.verifiers.verdict.VerdictStatus
        "score": pa.float32(),  # in [0, 1] for our verifiers
        "extracted": pa.string(),  # what the verifier took for the answer
        "detail": pa.string(),
        "verdict_ms": pa.float32(),
    }
)
"""What verification adds."""

STORED_SCHEMA = pa.schema([*SAMPLE_SCHEMA, *VERDICT_SCHEMA])
"""A row of samples/*.parquet."""


def samples_table(samples: Iterable[Sample], unit: WorkUnit, *, problem: str, labels: RunLabels) -> pa.Table:
    """Rows of a unit that was generated; `problem` is its text."""
    return pa.Table.from_pylist(
        [{**_common(unit, problem, labels), **_drawn(sample)} for sample in samples], schema=SAMPLE_SCHEMA
    )


def failed_table(error: str, unit: WorkUnit, *, problem: str, labels: RunLabels) -> pa.Table:
    """Rows of a unit that could not be generated: one per sample that is missing, each with the reason."""
    common = _common(unit, problem, labels)
    rows = [
        {
            **common,
            "sample_index": index,
            "seed": seed,
            "text": "",
            "num_tokens": 0,
            "finish_reason": "error",
            "error": error,
        }
        for index, seed in zip(unit.sample_indices, unit.seeds, strict=True)
    ]
    return pa.Table.from_pylist(rows, schema=SAMPLE_SCHEMA)


def _common(unit: WorkUnit, problem: str, labels: RunLabels) -> dict[str, Any]:
    return {
        **asdict(labels),
        "unit_id": unit.unit_id,
        "problem_id": unit.problem_id,
        "problem": problem,
        "prompt": unit.prompt,
    }


def _drawn(sample: Sample) -> dict[str, Any]:
    novelty = [value for value in sample.novelty if not math.isnan(value)]
    lags = [lag for lag in sample.lag if lag >= 0]
    return {
        "sample_index": sample.sample_index,
        "seed": sample.seed,
        "prompt_token_ids": sample.prompt_token_ids,
        "text": sample.text,
        "token_ids": sample.token_ids,
        "num_tokens": len(sample.token_ids),
        "finish_reason": sample.finish_reason,
        "behaviour_logprobs": sample.behaviour_logprobs,
        "policy_logprobs": sample.policy_logprobs,
        "num_candidates": sample.num_candidates,
        "flipped": sample.flipped,
        "flipped_tokens": sum(sample.flipped),
        "novelty": sample.novelty,
        "novelty_mean": fmean(novelty) if novelty else None,
        "loss": sample.loss,
        "intervened_tokens": sum(sample.intervened),
        "lag_mean": fmean(lags) if lags else None,
        "distiller_version": sample.distiller_version,
        "shard": sample.shard,
        "generation_seconds": sample.generation_seconds,
        "error": None,
    }
