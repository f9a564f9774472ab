"""Prompts for online RL: a row for each problem, in the columns of verl, SkyRL and open-instruct. Which problems, is what the filters are
for: those with mixed groups teach most.

Read in: verl 0.9.1 verl/utils/dataset/rl_dataset.py and trainer/ppo/reward code (data_source, reward_model.ground_truth,
extra_info.index); SkyRL a9564572 skyrl/train/dataset/dataset.py (prompt, env_class, the rest goes to the environment); open-instruct
e6c3044a open_instruct/dataset_transformation.py rlvr_tokenize_v1 (messages, ground_truth, dataset).
"""

from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pyarrow as pa

from pipelines.rollouts.formats.writer import MESSAGES, ExportContext, RolloutWriter, parquet_rows
from pipelines.rollouts.rollout import RolloutGroup

SCHEMA = pa.schema(
    {
        "data_source": pa.string(),
        "prompt": MESSAGES,
        "reward_model": pa.struct({"style": pa.string(), "ground_truth": pa.string()}),
        "extra_info": pa.struct({"index": pa.int64(), "group_id": pa.string(), "problem": pa.string()}),
        "env_class": pa.string(),
        "messages": MESSAGES,
        "ground_truth": pa.string(),
        "dataset": pa.string(),
    }
)


def open_writer(output: Path, context: ExportContext) -> AbstractContextManager[RolloutWriter]:
    """A writer to the Parquet file `output`."""
    return parquet_rows(output, SCHEMA, rows_of, context)


def rows_of(group: RolloutGroup, context: ExportContext) -> list[dict[str, Any]]:
    """One row. The trainer applies its own chat template, so that a plain prompt too becomes a user's message."""
    messages = group.messages or [{"role": "user", "content": group.question}]
    return [
        {
            "data_source": context.data_source,
            "prompt": messages,
            "reward_model": {"style": "rule", "ground_truth": group.answer},
            "extra_info": {"index": group.index, "group_id": group.group_id, "problem": group.problem},
            "env_class": context.data_source,
            "messages": messages,
            "ground_truth": group.answer,
            "dataset": context.data_source,
        }
    ]
