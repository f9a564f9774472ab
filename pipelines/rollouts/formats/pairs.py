"""Preferences for DPO (arXiv:2305.18290): in each group the first correct answer with the first wrong one, the second with the second, and
so on; an answer stands in one pair at most.

Read in: TRL 1.16.0 trl/trainer/dpo_trainer.py (prompt, chosen, rejected); OpenRLHF 0.11.2 openrlhf/datasets/reward_dataset.py
(data.prompt_key, chosen_key, rejected_key); NeMo-RL 7ea279ab BinaryPreferenceDataset, whose answers are texts (chosen_key chosen_text).
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
    columns = {"prompt": kind, "chosen": kind, "rejected": kind}
    texts = dict.fromkeys(("chosen_text", "rejected_text", "group_id"), pa.string())
    return parquet_rows(output, pa.schema({**columns, **texts}), rows_of, context)


def rows_of(group: RolloutGroup, context: ExportContext) -> list[dict[str, Any]]:
    """A row for each pair."""
    correct = [rollout for rollout in group.rollouts if rollout.is_correct]
    wrong = [rollout for rollout in group.rollouts if not rollout.is_correct]
    return [
        {
            "prompt": prompt_of(group),
            "chosen": completion_of(group, chosen),
            "rejected": completion_of(group, rejected),
            "chosen_text": chosen.response,
            "rejected_text": rejected.response,
            "group_id": group.group_id,
        }
        for chosen, rejected in zip(correct, wrong, strict=False)
    ]
