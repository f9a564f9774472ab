"""One row per sample, as it is stored: what every stage after generation, and every reader of a run folder, relies on. Reference answers
are stored once per problem: see reference_answers.py.

Legend: T tokens of the answer.
"""

import math
from dataclasses import asdict, dataclass
from statistics import fmean
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet

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
    sampling = config.effective_sampling
    return RunLabels(
        run_id=run_id,
        model=config.model,
        model_fingerprint=model_fingerprint,
        config_hash=config_hash(config),
        sampler=config.sampler,
        beta=config.beta,
        temperature=sampling.temperature,
        top_p=sampling.top_p,
        top_k=sampling.top_k,
        min_p=sampling.min_p,
        max_tokens=sampling.max_tokens,
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
        # [T] under the plain model at the same temperature and on the same kept tokens; this and the next three are null unless the run
        # recorded rollouts
        "sampling_logprobs": pa.list_(pa.float32()),
        "kept_token_ids": pa.list_(
            pa.int32()
        ),  # [K] what filters left, draw after draw; null where nothing was filtered
        "kept_token_offsets": pa.list_(pa.int32()),  # [T + 1] draw t kept ids[offsets[t]:offsets[t + 1]]
        "kept_tokens_capped": pa.bool_(),  # some draw kept too many to be stored; its range is empty
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
        "weight_version": pa.string(),  # times the model's weights had changed; null: those the engine started with
        "shard": pa.string(),
        "generation_seconds": pa.float32(),
        "group_resumed": pa.bool_(),  # the samples of its work unit were generated in more than one go
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
        "extraction_rule": pa.string(),  # how that was found in the text; null in runs from before the column was there
    }
)
"""What verification adds."""

STORED_SCHEMA = pa.schema([*SAMPLE_SCHEMA, *VERDICT_SCHEMA])
"""A row of samples/*.parquet."""


def sample_row(sample: Sample, unit: WorkUnit, *, problem: str, labels: RunLabels) -> pa.Table:
    """[1] the row of a sample that has no verdict yet; `problem` is its text."""
    return pa.Table.from_pylist([{**_common(unit, problem, labels), **_drawn(sample)}], schema=STORED_SCHEMA)


ADDED_COLUMNS: dict[str, Any] = {
    "extraction_rule": None,
    "group_resumed": False,
    "sampling_logprobs": None,
    "kept_token_ids": None,
    "kept_token_offsets": None,
    "kept_tokens_capped": None,
    "weight_version": None,
}
"""Columns that files of earlier versions do not have, with what holds for their rows: an earlier version ran a work unit again as a whole,
so that none of its groups was resumed."""


def read_stored(file: BinaryIO, columns: list[str] | None = None) -> pa.Table:
    """A file of samples or verdicts, by default all of its columns. Columns that came after it was written have the values of
    ADDED_COLUMNS."""
    with pa.parquet.ParquetFile(file) as stored:
        names = stored.schema_arrow.names
        missing = [name for name in columns or () if name not in names and name in ADDED_COLUMNS]
        table = stored.read(None if columns is None else [name for name in columns if name not in missing])
    for name in missing:
        field = STORED_SCHEMA.field(name)
        table = table.append_column(field, pa.array([ADDED_COLUMNS[name]] * table.num_rows, field.type))
    return table if columns is None else table.select(columns)


def with_verdict(row: pa.Table, verdict: dict[str, Any]) -> pa.Table:
    """[1] the same row with the columns of VERDICT_SCHEMA."""
    for field in VERDICT_SCHEMA:
        column = pa.array([verdict[field.name]], field.type)
        row = row.set_column(row.schema.get_field_index(field.name), field, column)
    return row


def has_verdict(row: pa.Table) -> bool:
    """True if a verifier has seen this sample."""
    return bool(row["status"][0].is_valid)


def as_resumed_group(rows: pa.Table) -> pa.Table:
    """The rows of a work unit whose samples were generated in more than one go."""
    field = STORED_SCHEMA.field("group_resumed")
    return rows.set_column(rows.schema.get_field_index(field.name), field, pa.array([True] * rows.num_rows))


def failed_rows(error: str, unit: WorkUnit, *, problem: str, labels: RunLabels) -> list[pa.Table]:
    """[1] each: the rows of samples that could not be generated, with the reason, and without a verdict yet."""
    common = _common(unit, problem, labels)
    rows = [
        {
            **common,
            "sample_index": index,
            "seed": seed,
            "text": "",
            "num_tokens": 0,
            "finish_reason": "error",
            "group_resumed": False,
            "error": error,
        }
        for index, seed in zip(unit.sample_indices, unit.seeds, strict=True)
    ]
    return [pa.Table.from_pylist([row], schema=STORED_SCHEMA) for row in rows]


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
        "sampling_logprobs": sample.sampling_logprobs,
        "kept_token_ids": sample.kept_token_ids,
        "kept_token_offsets": sample.kept_token_offsets,
        "kept_tokens_capped": sample.kept_tokens_capped,
        "num_candidates": sample.num_candidates,
        "flipped": sample.flipped,
        "flipped_tokens": sum(sample.flipped),
        "novelty": sample.novelty,
        "novelty_mean": fmean(novelty) if novelty else None,
        "loss": sample.loss,
        "intervened_tokens": sum(sample.intervened),
        "lag_mean": fmean(lags) if lags else None,
        "distiller_version": sample.distiller_version,
        "weight_version": None if sample.weight_version == "0" else sample.weight_version,
        "shard": sample.shard,
        "generation_seconds": sample.generation_seconds,
        "group_resumed": sample.group_resumed,
        "error": None,
    }
