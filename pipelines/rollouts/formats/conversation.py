"""Prompt and response as trainers read them: chat messages, or plain text where the model was prompted with it.

TRL tells the two apart by any one column of a row (trl.data_utils.is_conversational), so all columns of a file are of one kind.
"""

import pyarrow as pa

from pipelines.rollouts.formats.writer import MESSAGES, ExportContext
from pipelines.rollouts.rollout import Messages, Rollout, RolloutGroup


def conversation_type(context: ExportContext) -> pa.DataType:
    """Type of such a column."""
    return MESSAGES if context.is_chat else pa.string()


def prompt_of(group: RolloutGroup) -> Messages | str:
    """The prompt of a group."""
    return group.prompt if group.messages is None else group.messages


def completion_of(group: RolloutGroup, rollout: Rollout) -> Messages | str:
    """A response to it."""
    return rollout.response if group.messages is None else [{"role": "assistant", "content": rollout.response}]
