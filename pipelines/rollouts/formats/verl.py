"""verl's dump of generation batches, which its trainer loads in place of generating (skip.rollout): a folder

    GBS32_N16_in512_out1024/1/gen_batch.dp, meta.json     one for each training step, from 1
    prompts.parquet                                       the groups in the same order, for data.train_files with data.shuffle=False

The trainer joins a stored batch with its own by position alone, so that prompts of any other order would be given other prompts' responses.

Read in verl 0.9.1: verl/utils/skip/rollout_skip.py, verl/experimental/agent_loop/agent_loop.py (AgentLoopWorker._postprocess: prompts are
padded on the left, responses on the right, the reward stands at the last token). A dump is a pickled DataProto, so that writing one takes
verl itself. The V1 trainer's tq_batch.pt is not written.

Legend: B rollouts of a step, P prompt length, R response length.
"""

import json
import pickle
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pipelines.errors import InputError
from pipelines.rollouts.formats import prompts
from pipelines.rollouts.formats.writer import (
    ExportContext,
    Metadata,
    RolloutWriter,
    StepFolder,
    atomic_folder,
)
from pipelines.rollouts.rollout import RolloutGroup

FIRST_STEP = 1
"""verl counts training steps from 1."""


@contextmanager
def open_writer(output: Path, context: ExportContext) -> Iterator["VerlDump"]:
    """A writer to the folder `output`. Raises InputError where verl is not installed."""
    try:
        import verl.protocol  # noqa: F401
    except ImportError as error:
        raise InputError(
            f"format verl is a pickle of verl's own DataProto, and verl cannot be imported ({error}); give this command in the trainer's "
            "environment (pip install verl==0.9.1)."
        ) from error
    with atomic_folder(output) as folder, prompts.open_writer(folder / "prompts.parquet", context) as prompt_rows:
        yield VerlDump(folder, prompt_rows, context)


class VerlDump(StepFolder):
    """Batches, and the prompts in their order."""

    def __init__(self, folder: Path, prompt_rows: RolloutWriter, context: ExportContext) -> None:
        super().__init__(folder, context.groups_per_step, self._save_batch)
        shape = f"GBS{context.groups_per_step}_N{context.group_size}_in{context.prompt_length}_out{context.labels.max_tokens}"
        self._batches = folder / shape  # verl's name for batches of this shape
        self._prompt_rows = prompt_rows
        self._context = context

    def finish(self, metadata: Metadata) -> None:
        """See StepFolder."""
        super().finish(metadata)
        self._prompt_rows.finish(metadata)

    def _save_batch(self, number: int, groups: list[RolloutGroup]) -> None:
        import torch  # imported late, as verl is
        from verl.protocol import DataProto

        tensors = generation_batch(groups, self._context.prompt_length, self._context.labels.max_tokens)
        batch = DataProto.from_dict(
            tensors={name: torch.from_numpy(array) for name, array in tensors.items()},
            non_tensors={"__num_turns__": np.full(len(tensors["prompts"]), 2, np.int32)},  # a question and its response
            meta_info={"timing": {}, "reward_extra_keys": []},
        )
        step = self._batches / str(FIRST_STEP + number)
        step.mkdir(parents=True)
        (step / "gen_batch.dp").write_bytes(pickle.dumps(batch))
        (step / "meta.json").write_text(json.dumps({"global_steps": FIRST_STEP + number}))
        for group in groups:
            self._prompt_rows.write(group)


def generation_batch(
    groups: list[RolloutGroup], prompt_length: int, response_length: int
) -> dict[str, npt.NDArray[Any]]:
    """The tensors of a step: token ids, masks and positions [B, P], [B, R] or [B, P + R], int64; log-probabilities and rewards [B, R],
    fp32. Padding is token 0 where the attention mask is 0. Raises InputError at a prompt that is longer than `prompt_length`."""
    siblings = [(group, rollout) for group in groups for rollout in group.rollouts]
    shape_P, shape_R = (len(siblings), prompt_length), (len(siblings), response_length)
    prompts_BP, prompt_mask_BP = np.zeros(shape_P, np.int64), np.zeros(shape_P, np.int64)
    responses_BR, response_mask_BR = np.zeros(shape_R, np.int64), np.zeros(shape_R, np.int64)
    logprobs_BR, rewards_BR = np.zeros(shape_R, np.float32), np.zeros(shape_R, np.float32)
    for row, (group, rollout) in enumerate(siblings):
        num_prompt, num_response = len(group.prompt_token_ids), len(rollout.response_token_ids)
        if num_prompt > prompt_length:
            raise InputError(
                f"the prompt of {group.group_id} has {num_prompt} tokens and prompt_length is {prompt_length}; give a longer "
                "--prompt-length, the data.max_prompt_length of the trainer."
            )
        prompts_BP[row, prompt_length - num_prompt :] = group.prompt_token_ids
        prompt_mask_BP[row, prompt_length - num_prompt :] = 1
        responses_BR[row, :num_response] = rollout.response_token_ids
        response_mask_BR[row, :num_response] = 1
        logprobs_BR[row, :num_response] = rollout.behaviour_logprobs
        rewards_BR[row, num_response - 1] = rollout.reward
    attention_mask = np.concatenate([prompt_mask_BP, response_mask_BR], axis=1)
    return {
        "prompts": prompts_BP,
        "responses": responses_BR,
        "response_mask": response_mask_BR,
        "input_ids": np.concatenate([prompts_BP, responses_BR], axis=1),
        "attention_mask": attention_mask,
        "position_ids": np.maximum(attention_mask.cumsum(axis=1) - 1, 0),
        "rollout_log_probs": logprobs_BR,
        "rm_scores": rewards_BR,
    }
