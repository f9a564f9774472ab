"""Answers labelled desirable or not, for KTO (arXiv:2402.01306).

Read in: TRL 1.16.0 trl/trainer/kto_trainer.py (prompt, completion, label).
"""

from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pyarrow as pa

from pipelines.rollouts.formats.conversation import completion_of, conversation_type, prompt_of
from pipelines.rollouts.formats.writer import ExportContext, RolloutWriter, parquet_rows
from pipelines.rollouts.rollout import RolloutGroup


def open_writer(output: Path, context: ExportContext) -> AbstractContextManager[RolloutWriter]:
    """A writer to the Parquet file `output`."""
    kind = conversation_type(context)
    schema = pa.schema({"prompt": kind, "completion": kind, "label": pa.bool_(), "group_id": pa.string()})
    return parquet_rows(output, schema, rows_of, context)


def rows_of(group: RolloutGroup, context: ExportContext) -> list[dict[str, Any]]:
    """A row for each rollout."""
    return [
        {
            "prompt": prompt_of(group),
            "completion": completion_of(group, rollout),
            "label": rollout.is_correct,
            "group_id": group.group_id,
        }
        for rollout in group.rollouts
    ]
