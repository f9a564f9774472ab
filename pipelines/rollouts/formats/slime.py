"""slime's debug rollout dump: a folder of {rollout_id}.pt, one for each training step, each {"rollout_id", "samples": [Sample.to_dict()]}.

Read in slime 0.3.1 (624b824a): slime/observability/rollout_data_utils.py (load_debug_rollout_data), slime/utils/types.py (Sample),
slime/ray/rollout.py (the reward normalisation takes rollout_batch_size * n_samples_per_prompt samples in the order of their groups).
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from pipelines.rollouts.formats.writer import ExportContext, StepFolder, atomic_folder
from pipelines.rollouts.rollout import Rollout, RolloutGroup


@contextmanager
def open_writer(output: Path, context: ExportContext) -> Iterator[StepFolder]:
    """A writer to the folder `output`."""
    with atomic_folder(output) as folder:
        yield StepFolder(folder, context.groups_per_step, partial(save_step, folder))


def save_step(folder: Path, step: int, groups: list[RolloutGroup]) -> None:
    """Write the dump of a step."""
    import torch  # imported late: the formats in Parquet need not wait for it

    siblings = [(number, group, rollout) for number, group in enumerate(groups) for rollout in group.rollouts]
    samples = [sample_dict(index, number, group, rollout) for index, (number, group, rollout) in enumerate(siblings)]
    torch.save({"rollout_id": step, "samples": samples}, folder / f"{step}.pt")


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
