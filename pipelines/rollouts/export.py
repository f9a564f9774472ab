"""Samples as rollouts for reinforcement learning: one row per sample, grouped by problem, with advantages.

ESamp samples are off-policy: drawn from the fused distribution, not from the model's. Both log-probabilities of every token travel along,
so that a trainer can weigh them: exp(policy_logprobs - behaviour_logprobs), per token.
"""

from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet

from pipelines.errors import InputError
from pipelines.runs.folder import RunFolder
from pipelines.runs.reference_answers import Answers
from pipelines.runs.storage import write_atomically
from pipelines.verifiers.verdict import VerdictStatus

ADVANTAGE_EPS = 1e-4
"""Added to a group's standard deviation, as GRPO's implementations do."""
MAX_DICTIONARY_BYTES = 2**30
"""Of the answers in a row group of the file; above that each rollout has its own copy."""

RENAMED = {
    "problem_id": "group_id",
    "token_ids": "response_token_ids",
    "text": "response",
    "score": "reward",
}
"""Columns that have another name among RL trainers."""
KEPT = (
    "run_id",
    "sample_index",
    "seed",
    "prompt",
    "prompt_token_ids",
    "behaviour_logprobs",
    "policy_logprobs",
    "finish_reason",
    "status",
    "sampler",
    "beta",
    "temperature",
    "top_p",
    "top_k",
    "min_p",
    "distiller_version",
    "model",
    "model_fingerprint",
    "config_hash",
)
"""Columns as they are in samples/*.parquet."""


def write_rollouts(folder: RunFolder, output: Path) -> int:
    """Write a run's samples as rollouts to a Parquet file; returns their number.

    Samples without a verdict (generation or the verifier failed, or there is no verifier) are left out: they have no reward. Raises
    InputError if the folder holds no run or no sample.
    """
    folder.manifest()
    rollouts = with_answers(rollouts_table(folder.read_samples([*RENAMED, *KEPT])), Answers(folder.answers))
    output.parent.mkdir(parents=True, exist_ok=True)
    sink = pa.BufferOutputStream()
    pa.parquet.write_table(rollouts, sink, dictionary_pagesize_limit=MAX_DICTIONARY_BYTES)
    write_atomically(output, sink.getvalue().to_pybytes())
    return rollouts.num_rows


def rollouts_table(samples: pa.Table) -> pa.Table:
    """Rollouts from stored samples, ordered by group and sample index. Raises InputError if none has a reward."""
    without_reward = (VerdictStatus.ERROR, VerdictStatus.UNVERIFIED)
    has_reward = [status not in without_reward for status in samples["status"].to_pylist()]
    samples = samples.filter(pa.array(has_reward)).sort_by([("problem_id", "ascending"), ("sample_index", "ascending")])
    if samples.num_rows == 0:
        raise InputError(
            "no sample of this run has a verdict, so there is no reward; look at the errors in its summary.json."
        )
    advantages = group_advantages(samples["problem_id"].to_pylist(), samples["score"].to_pylist())
    renamed = samples.rename_columns([RENAMED.get(name, name) for name in samples.column_names])
    return renamed.append_column("advantage", pa.array(advantages, pa.float32()))


def with_answers(rollouts: pa.Table, answers: Mapping[str, str]) -> pa.Table:
    """The same with a column of reference answers, a dictionary: the tests of a code problem are there once for all its rollouts."""
    groups = rollouts["group_id"].combine_chunks().dictionary_encode()
    values = pa.array([answers[problem_id] for problem_id in groups.dictionary.to_pylist()], pa.string())
    return rollouts.append_column("answer", pa.DictionaryArray.from_arrays(groups.indices, values))


def group_advantages(groups: list[str], rewards: list[float]) -> list[float]:
    """(reward - mean) / (std + 1e-4) with the mean and the population standard deviation of the reward's own group.

    Outcome supervision of DeepSeekMath (arXiv:2402.03300), section 4.1.2. A group whose rewards are all the same has advantages 0: it
    teaches nothing.

    >>> [round(a, 3) for a in group_advantages(["p", "p", "q"], [1.0, 0.0, 1.0])]
    [1.0, -1.0, 0.0]
    """
    rewards_of: dict[str, list[float]] = defaultdict(list)
    for group, reward in zip(groups, rewards, strict=True):
        rewards_of[group].append(reward)
    centre = {group: (np.mean(values), np.std(values) + ADVANTAGE_EPS) for group, values in rewards_of.items()}
    return [
        float((reward - centre[group][0]) / centre[group][1]) for group, reward in zip(groups, rewards, strict=True)
    ]
