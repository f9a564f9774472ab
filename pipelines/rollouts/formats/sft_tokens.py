"""Correct answers for supervised fine-tuning, as the very tokens that the model read and drew: no template, no end token is added.

Read in: TRL 1.16.0 trl/trainer/sft_trainer.py (input_ids; labels are taken as they are, a completion_mask counts only with
completion_only_loss=True, so labels are here too); SkyRL a9564572 skyrl/train/dataset/pretokenized.py (input_ids, loss_mask; labels are
passed over).
"""

from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pyarrow as pa

from pipelines.rollouts.formats.writer import ExportContext, RolloutWriter, parquet_rows
from pipelines.rollouts.rollout import RolloutGroup

IGNORED = -100
"""The label that torch's cross entropy leaves out."""

SCHEMA = pa.schema(
    {
        "input_ids": pa.list_(pa.int32()),
        "labels": pa.list_(pa.int32()),
        "completion_mask": pa.list_(pa.int8()),
        "loss_mask": pa.list_(pa.int8()),
        "group_id": pa.string(),
    }
)


def open_writer(output: Path, context: ExportContext) -> AbstractContextManager[RolloutWriter]:
    """A writer to the Parquet file `output`."""
    return parquet_rows(output, SCHEMA, rows_of, context)


def rows_of(group: RolloutGroup, context: ExportContext) -> list[dict[str, Any]]:
    """A row for each correct answer."""
    prompt = group.prompt_token_ids.tolist()
    rows = []
    for rollout in group.rollouts:
        if rollout.is_correct:
            response = rollout.response_token_ids.tolist()
            mask = [0] * len(prompt) + [1] * len(response)
            rows.append(
                {
                    "input_ids": prompt + response,
                    "labels": [IGNORED] * len(prompt) + response,
                    "completion_mask": mask,
                    "loss_mask": mask,
                    "group_id": group.group_id,
                }
            )
    return rows
