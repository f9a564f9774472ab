"""Reads a run as groups of rollouts, in the order of its dataset. In memory are the samples of a few problems at a time.

Legend: P problems in the plan's order, N samples of each in launch order.
"""

from collections.abc import Iterator
from dataclasses import replace
from itertools import groupby, pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from esamp.config import ESampConfig
from pipelines.config.run import RunConfig
from pipelines.config.samplers import SAMPLERS
from pipelines.errors import InputError
from pipelines.rollouts.formats.writer import ExportContext
from pipelines.rollouts.rollout import KeptTokens, Messages, Rollout, RolloutGroup, verdict_class
from pipelines.runs.folder import RunFolder
from pipelines.runs.manifest import Manifest
from pipelines.runs.reference_answers import Answers
from pipelines.runs.schema import read_stored, run_labels
from pipelines.verifiers.verdict import VerdictStatus

PORTION_SAMPLES = 1024
"""Samples read at a time; one problem's at least."""

TOKEN_COLUMNS = ("token_ids", "prompt_token_ids", "behaviour_logprobs", "policy_logprobs", "novelty")
COLUMNS = [
    *("problem_id", "sample_index", "seed", "problem", "prompt", "text", "finish_reason"),
    *("intervened_tokens", "distiller_version", "status", "score", *TOKEN_COLUMNS),
]
"""Columns of samples/*.parquet that every run has."""
NEW_TOKEN_COLUMNS = ("sampling_logprobs", "kept_token_ids", "kept_token_offsets")
NEW_COLUMNS = [*NEW_TOKEN_COLUMNS, "kept_tokens_capped", "weight_version"]
"""Columns that are null unless the run recorded rollouts; what they would hold is then derived, or absent."""
VERDICT_COLUMNS = ["status", "score"]

Row = dict[str, Any]


class StoredSamples:
    """The samples of a run as rollouts."""

    def __init__(self, folder: RunFolder) -> None:
        """Raises InputError if the folder holds no run or no sample."""
        self.folder = folder
        self.manifest = folder.manifest()
        self._index = folder.sample_index()
        if not self._index.num_rows:
            raise InputError(f"{folder.path} holds no samples yet; let the run finish a work unit first.")
        self._answers = Answers(folder.answers)
        self._problem_ids: list[str] = folder.problem_ids().to_pylist()
        name = self.manifest.verification
        self._verdicts = folder.verdicts(name).columns(VERDICT_COLUMNS) if name else None
        self._is_program = verifier_of(self.manifest) == "code"
        config = self.manifest.config
        self._samples_plain_model = is_unfiltered(config) and config.effective_sampling.temperature == 1
        """But for what a policy does, samples are drawn from softmax(logits)."""
        self._is_chat = self._was_chat()

    def context(self, *, groups_per_step: int, prompt_length: int, data_source: str | None) -> ExportContext:
        """What formats may know of the run."""
        manifest = self.manifest
        config, policy = manifest.config, manifest.config.policy
        return ExportContext(
            labels=run_labels(config, run_id=manifest.run_id, model_fingerprint=manifest.model_fingerprint),
            distiller_scope=policy.scope if isinstance(policy, ESampConfig) else "",
            is_chat=self._is_chat,
            group_size=config.samples,
            groups_per_step=groups_per_step,
            prompt_length=prompt_length,
            data_source=data_source or config.dataset_name,
        )

    def groups(self) -> Iterator[RolloutGroup]:
        """Every problem that has a sample, failed ones included."""
        num_samples = self.manifest.config.samples
        step = max(1, PORTION_SAMPLES // num_samples)
        for first in range(0, len(self._problem_ids), step):
            rows = self._rows(slice(first, first + step))
            for index, siblings in groupby(rows, key=lambda row: row["place"] // num_samples):
                yield self._group(index, list(siblings))

    def _rows(self, problems: slice) -> list[Row]:
        """The rows of some problems, in launch order; another column is their place in the flattened grid, p * N + n."""
        index = self._index
        # A part of the index, so that a portion costs what it holds and not what the run holds.
        portion = replace(
            index,
            file_PN=index.file_PN[problems],
            row_PN=index.row_PN[problems],
            answered_PN=index.answered_PN[problems],
        )
        rows: list[Row] = []
        for file in portion.rows_by_file():
            with self.folder.storage.open(file.name) as source:
                table = read_stored(source, [*COLUMNS, *NEW_COLUMNS])
            table = table.take(pa.array(file.rows))
            places = file.places + problems.start * index.file_PN.shape[1]
            if self._verdicts is not None:
                table = self._verdicts.put_into(table, places, index.answered_PN.ravel()[places])
            rows += rows_of(table.append_column("place", pa.array(places)))
        return sorted(rows, key=lambda row: row["place"])

    def _was_chat(self) -> bool:
        """True if the model was prompted through its chat template: then a prompt is more than its task's template."""
        config, file = self.manifest.config, next(self._index.rows_by_file())
        [row] = self.folder.read_rows(file.name, file.rows[:1], ["problem", "prompt"]).to_pylist()
        is_wanted = config.chat and config.chosen_task.chat
        return is_wanted and row["prompt"] != question(config, row["problem"], is_chat=False)

    def _group(self, index: int, rows: list[Row]) -> RolloutGroup:
        config, first = self.manifest.config, rows[0]
        asked = question(config, first["problem"], is_chat=self._is_chat)
        messages: Messages = SAMPLERS[config.sampler].messages([{"role": "user", "content": asked}])
        prompts = [row["prompt_token_ids"] for row in rows if len(row["prompt_token_ids"])]
        rollouts = tuple(self._rollout(row) for row in rows)
        has_rewards = all(rollout.reward is not None for rollout in rollouts)
        return RolloutGroup(
            group_id=self._problem_ids[index],
            index=index,
            problem=first["problem"],
            prompt=first["prompt"],
            prompt_token_ids=prompts[0] if prompts else first["prompt_token_ids"],
            messages=messages if self._is_chat else None,
            question=asked,
            answer=self._answers[self._problem_ids[index]],
            size=config.samples,
            is_complete=has_rewards and len(rollouts) == config.samples,
            rollouts=rollouts,
        )

    def _rollout(self, row: Row) -> Rollout:
        status = VerdictStatus(row["status"])
        kind = verdict_class(status, is_program=self._is_program)
        return Rollout(
            sample_index=row["sample_index"],
            seed=row["seed"],
            response=row["text"],
            response_token_ids=row["token_ids"],
            finish_reason=row["finish_reason"],
            behaviour_logprobs=row["behaviour_logprobs"],
            sampling_logprobs=self._sampling_logprobs(row),
            policy_logprobs=row["policy_logprobs"],
            kept_tokens=kept_tokens(row),
            novelty=row["novelty"],
            distiller_version=row["distiller_version"] or "",
            weight_version=row["weight_version"] or self.manifest.model_fingerprint,
            status=status,
            verdict_class=kind,
            reward=row["score"] if kind.has_reward else None,
        )

    def _sampling_logprobs(self, row: Row) -> npt.NDArray[np.float32] | None:
        """The plain model's log-probabilities at the sampling temperature on the kept tokens: as stored; else as sampled from, where no
        policy took part in any token; else the plain model's own, which at temperature 1 without filters are the same."""
        if row["sampling_logprobs"] is not None:
            return row["sampling_logprobs"]
        if row["intervened_tokens"] == 0:
            return row["behaviour_logprobs"]
        return row["policy_logprobs"] if self._samples_plain_model else None


def question(config: RunConfig, problem: str, *, is_chat: bool) -> str:
    """A problem in its task's template."""
    return config.prompt_template(is_chat=is_chat).replace("{problem}", problem)


def is_unfiltered(config: RunConfig) -> bool:
    """True if every token could be drawn."""
    sampling = config.effective_sampling
    return sampling.top_p == 1 and sampling.top_k == 0 and sampling.min_p == 0


def verifier_of(manifest: Manifest) -> str:
    """The verifier whose verdicts count."""
    for event in reversed(manifest.events):
        if event.kind == "verified" and event.details["verification"] == manifest.verification:
            return str(event.details["verifier"])
    return manifest.config.verifier_name


def kept_tokens(row: Row) -> KeptTokens | None:
    """The kept tokens of a row, if they were stored."""
    if row["kept_token_ids"] is None:
        return None
    return KeptTokens(
        token_ids=row["kept_token_ids"],
        offsets=row["kept_token_offsets"],
        is_capped=bool(row["kept_tokens_capped"]),
    )


def rows_of(table: pa.Table) -> list[Row]:
    """Rows with their lists as numpy arrays, which take a tenth of the memory of Python lists. Null is an empty array in the columns that
    every run has, and None in new ones."""
    columns: dict[str, list[Any]] = {}
    for name in table.column_names:
        if name in TOKEN_COLUMNS:
            columns[name] = arrays_of(table[name])
        elif name in NEW_TOKEN_COLUMNS:
            is_null = table[name].is_null().to_pylist()
            columns[name] = [
                None if null else array for null, array in zip(is_null, arrays_of(table[name]), strict=True)
            ]
        else:
            columns[name] = table[name].to_pylist()
    return [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]


def arrays_of(column: pa.ChunkedArray) -> list[npt.NDArray[Any]]:
    """The lists of a column; null is an empty one."""
    lists = column.combine_chunks()
    values = lists.values.to_numpy(zero_copy_only=False)
    return [values[start:end] for start, end in pairwise(lists.offsets.to_pylist())]
