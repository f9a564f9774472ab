"""Correct answers for supervised fine-tuning (rejection sampling), as chat messages or plain text.

Read in: TRL 1.16.0 trl/trainer/sft_trainer.py (prompt, completion); verl 0.9.1 verl/utils/dataset/multiturn_sft_dataset.py, prime-rl
559b4477 src/prime_rl/trainer/sft/data.py, NeMo-RL 7ea279ab ResponseDataset and open-instruct e6c3044a (messages); OpenRLHF 0.11.2
openrlhf/datasets/sft_dataset.py (input_key, output_key).
"""

from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pyarrow as pa

from pipelines.rollouts.formats.conversation import completion_of, conversation_type, prompt_of
from pipelines.rollouts.formats.writer import MESSAGES, ExportContext, RolloutWriter, parquet_rows
from pipelines.rollouts.rollout import RolloutGroup


def open_writer(output: Path, context: ExportContext) -> AbstractContextManager[RolloutWriter]:
    """A writer to the Parquet file `output`. A plain text has no messages column: it would make TRL take the row for a chat."""
    kind = conversation_type(context)
    columns: dict[str, pa.DataType] = {"prompt": kind, "completion": kind, "group_id": pa.string()}
    if context.is_chat:
        columns["messages"] = MESSAGES
    return parquet_rows(output, pa.schema(columns), rows_of, context)


def rows_of(group: RolloutGroup, context: ExportContext) -> list[dict[str, Any]]:
    """A row for each correct answer."""
    rows = []
    for rollout in group.rollouts:
        if rollout.is_correct:
            prompt, completion = prompt_of(group), completion_of(group, rollout)
            row: dict[str, Any] = {"prompt": prompt, "completion": completion, "group_id": group.group_id}
            if isinstance(prompt, list) and isinstance(completion, list):
                row["messages"] = [*prompt, *completion]
            rows.append(row)
    return rows
