"""The canonical format: everything that is known of each rollout, in Parquet. docs/rollouts.md has the schema."""

from contextlib import AbstractContextManager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from pipelines.rollouts.formats.writer import MESSAGES, ExportContext, RolloutWriter, parquet_rows
from pipelines.rollouts.rollout import Rollout, RolloutGroup

SCHEMA_VERSION = 2
"""Raised when a column changes its meaning or goes away; new columns leave it as it is. Version 1 had no version in it."""

SCHEMA = pa.schema(
    {
        "run_id": pa.string(),
        "group_id": pa.string(),
        "sample_index": pa.int32(),
        "seed": pa.int64(),
        "problem": pa.string(),
        "messages": MESSAGES,
        "prompt": pa.string(),
        "prompt_token_ids": pa.list_(pa.int32()),
        "response": pa.string(),
        "response_token_ids": pa.list_(pa.int32()),
        "completion_mask": pa.list_(pa.int8()),
        "loss_mask": pa.list_(pa.int8()),
        "finish_reason": pa.string(),
        "is_truncated": pa.bool_(),
        "behaviour_logprobs": pa.list_(pa.float32()),
        "sampling_logprobs": pa.list_(pa.float32()),
        "policy_logprobs": pa.list_(pa.float32()),
        "kept_token_ids": pa.list_(pa.int32()),
        "kept_token_offsets": pa.list_(pa.int32()),
        "kept_tokens_capped": pa.bool_(),
        "novelty": pa.list_(pa.float32()),
        "distiller_version": pa.string(),
        "distiller_scope": pa.string(),
        "weight_version": pa.string(),
        "status": pa.string(),
        "verdict_class": pa.string(),
        "reward": pa.float32(),
        "advantage": pa.float32(),
        "group_size": pa.int32(),
        "group_complete": pa.bool_(),
        "answer": pa.dictionary(pa.int32(), pa.string()),
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
    }
)


def open_writer(output: Path, context: ExportContext) -> AbstractContextManager[RolloutWriter]:
    """A writer to the Parquet file `output`."""
    return parquet_rows(output, SCHEMA, rows_of, context)


def rows_of(group: RolloutGroup, context: ExportContext) -> list[dict[str, Any]]:
    """A row for each rollout."""
    common = {
        **asdict(context.labels),
        "distiller_scope": context.distiller_scope,
        "group_id": group.group_id,
        "problem": group.problem,
        "messages": group.messages,
        "prompt": group.prompt,
        "prompt_token_ids": group.prompt_token_ids,
        "answer": group.answer,
        "group_size": group.size,
        "group_complete": group.is_complete,
    }
    return [{**common, **row_of(group, rollout)} for rollout in group.rollouts]


def row_of(group: RolloutGroup, rollout: Rollout) -> dict[str, Any]:
    """What differs between the rollouts of a group. Masks cover prompt and response; a rollout without a reward is masked out."""
    num_prompt, num_response = len(group.prompt_token_ids), len(rollout.response_token_ids)
    completion_mask = np.repeat(np.array([0, 1], np.int8), [num_prompt, num_response])
    kept = rollout.kept_tokens
    return {
        "sample_index": rollout.sample_index,
        "seed": rollout.seed,
        "response": rollout.response,
        "response_token_ids": rollout.response_token_ids,
        "completion_mask": completion_mask,
        "loss_mask": completion_mask if rollout.reward is not None else np.zeros_like(completion_mask),
        "finish_reason": rollout.finish_reason,
        "is_truncated": rollout.is_truncated,
        "behaviour_logprobs": rollout.behaviour_logprobs,
        "sampling_logprobs": rollout.sampling_logprobs,
        "policy_logprobs": rollout.policy_logprobs,
        "kept_token_ids": None if kept is None else kept.token_ids,
        "kept_token_offsets": None if kept is None else kept.offsets,
        "kept_tokens_capped": None if kept is None else kept.is_capped,
        "novelty": rollout.novelty,
        "distiller_version": rollout.distiller_version,
        "weight_version": rollout.weight_version,
        "status": rollout.status.value,
        "verdict_class": rollout.verdict_class.value,
        "reward": rollout.reward,
        "advantage": rollout.advantage,
    }
