"""slime's debug rollout dump: a folder of {rollout_id}.pt, one for each training step, each {"rollout_id", "samples": [Sample.to_dict()]}.

Read in slime 0.3.1 (624b824a): slime/observability/rollout_data_utils.py (load_debug_rollout_data), slime/utils/types.py (Sample),
slime/ray/rollout.py (the reward normalisation takes rollout_batch_size * n_samples_per_prompt samples in the order of their groups).
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pipelines.rollouts.formats.writer import ExportContext, Metadata, Steps, atomic_folder, write_sidecar
from pipelines.rollouts.rollout import Rollout, RolloutGroup


@contextmanager
def open_writer(output: Path, context: ExportContext) -> Iterator["SlimeDump"]:
    """A writer to the folder `output`."""
    with atomic_folder(output) as folder:
        yield SlimeDump(folder, context)


class SlimeDump:
    """Groups to steps."""

    def __init__(self, folder: Path, context: ExportContext) -> None:
        self._folder = folder
        self._steps = Steps(context.groups_per_step, self._save)
        self._rows = 0

    @property
    def rows(self) -> int:
        return self._rows

    def write(self, group: RolloutGroup) -> None:
        self._rows += self._steps.add(group)

    def finish(self, metadata: Metadata) -> None:
        left_over = self._steps.leave_rest()
        write_sidecar(self._folder, {**metadata, "steps": self._steps.saved, "groups_left_over": left_over})

    def _save(self, step: int, groups: list[RolloutGroup]) -> None:
        import torch  # imported late: the formats in Parquet need not wait for it

        siblings = [(number, group, rollout) for number, group in enumerate(groups) for rollout in group.rollouts]
        samples = [
            sample_dict(index, number, group, rollout) for index, (number, group, rollout) in enumerate(siblings)
        ]
        torch.save({"rollout_id": step, "samples": samples}, self._folder / f"{step}.pt")


def sample_dict(index: int, group_index: int, group: RolloutGroup, rollout: Rollout) -> dict[str, Any]:
    """A rollout as slime's Sample.to_dict gives it; `index` and `group_index` count within the step."""
    sample = {
        "group_index": group_index,
        "index": index,
        "prompt": group.prompt,
        "tokens": group.prompt_token_ids.tolist() + rollout.response_token_ids.tolist(),
        "response": rollout.response,
        "response_length": len(rollout.response_token_ids),
        "label": group.answer,
        "reward": rollout.reward,
        "loss_mask": [1] * len(rollout.response_token_ids),
        "weight_versions": [rollout.weight_version],
        "rollout_log_probs": rollout.behaviour_logprobs.tolist(),
        "status": "truncated" if rollout.is_truncated else "completed",
        "metadata": {"group_id": group.group_id, "sample_index": rollout.sample_index},
    }
    if rollout.kept_tokens is not None:
        sample["rollout_top_p_token_ids"] = rollout.kept_tokens.token_ids.tolist()
        sample["rollout_top_p_token_offsets"] = rollout.kept_tokens.offsets.tolist()
    return sample
