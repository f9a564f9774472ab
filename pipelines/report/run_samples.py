"""One finished run as arrays, for statistics and for reading.

Legend: P problems whose samples are all there, N samples of each in launch order, T tokens of a sample.
"""

import hashlib
from collections import defaultdict
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipelines.errors import InputError
from pipelines.problems.problem import Problem
from pipelines.runs.folder import RunFolder, Session
from pipelines.runs.manifest import Manifest
from pipelines.runs.reference_answers import Answers
from pipelines.verifiers.verdict import VerdictStatus

READABLE = ["problem_id", "sample_index", "problem", "prompt", "seed", "text", "token_ids", "num_tokens"]
JUDGED = [
    "finish_reason",
    "error",
    "status",
    "score",
    "extracted",
    "extraction_rule",
    "detail",
    "novelty",
    "loss",
    "lag_mean",
]
SCORED = ["policy_logprobs", "intervened_tokens"]
MAX_SHOWN_ANSWER = 2000
"""Characters."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RunSamples:
    """A run's samples, aligned: row p of every array is problem p. Failed samples are there, and not correct."""

    path: str
    """The run folder."""
    manifest: Manifest
    sessions: list[Session]
    table: pa.Table
    """Stored rows; `rows_PN` says which is which."""
    problems: list[Problem]
    """[P] with answers as the page shows them."""
    unfinished: int
    """Problems with samples missing: left out."""
    rows_PN: npt.NDArray[np.int64]
    """Row of each sample in `table`."""
    correct_PN: npt.NDArray[np.bool_]
    status_PN: npt.NDArray[Any]
    num_tokens_PN: npt.NDArray[np.int64]
    truncated_PN: npt.NDArray[np.bool_]
    logprob_PN: npt.NDArray[np.float64]
    """Mean log-probability of the tokens under the plain model; -inf where there are none."""

    @property
    def problem_ids(self) -> list[str]:
        """[P]"""
        return [problem.problem_id for problem in self.problems]

    @property
    def group_size(self) -> int:
        """N."""
        return self.manifest.config.samples

    def column(self, name: str, rows: npt.NDArray[np.int64]) -> npt.NDArray[Any]:
        """A column of the table at some of `rows_PN`, in their shape."""
        flat = np.empty(rows.size, dtype=object)
        flat[:] = self.table[name].take(pa.array(rows.ravel())).to_pylist()
        return flat.reshape(rows.shape)

    def token_column(self, name: str) -> pa.ListArray:
        """A per-token column of all samples, in the table's order."""
        column: pa.ListArray = self.table[name].combine_chunks()
        return column

    def only(self, problem_ids: list[str]) -> "RunSamples":
        """The same run with these problems, in this order."""
        place = {problem_id: p for p, problem_id in enumerate(self.problem_ids)}
        chosen = np.array([place[problem_id] for problem_id in problem_ids], dtype=np.int64)
        return RunSamples(
            path=self.path,
            manifest=self.manifest,
            sessions=self.sessions,
            table=self.table,
            problems=[self.problems[p] for p in chosen],
            unfinished=self.unfinished,
            rows_PN=self.rows_PN[chosen],
            correct_PN=self.correct_PN[chosen],
            status_PN=self.status_PN[chosen],
            num_tokens_PN=self.num_tokens_PN[chosen],
            truncated_PN=self.truncated_PN[chosen],
            logprob_PN=self.logprob_PN[chosen],
        )


def read_run(folder: RunFolder) -> RunSamples:
    """Read a run. Raises InputError if there is none, it stopped problems early, or no problem of it is finished."""
    manifest = folder.manifest()
    table = folder.read_samples([*READABLE, *JUDGED, *SCORED])
    if manifest.config.stopping_rule is not None:
        raise InputError(
            f"{folder.path} stopped problems early, and this page needs all samples of every problem. "
            "Its pass@k, which allows for that, is in summary.json; python -m jobs.report compares it with other runs."
        )
    wanted = manifest.config.samples
    rows_of: dict[str, dict[int, int]] = defaultdict(dict)
    for row, (problem_id, index) in enumerate(
        zip(table["problem_id"].to_pylist(), table["sample_index"].to_pylist(), strict=True)
    ):
        rows_of[problem_id][index] = row
    # In the order of the dataset: output files are read in any order, and seeded resampling must not depend on it.
    complete = [problem_id for problem_id in folder.problem_ids().to_pylist() if len(rows_of[problem_id]) == wanted]
    if not complete:
        raise InputError(
            f"{folder.path} has no problem with all {wanted} samples yet; let the run finish at least one, then report again."
        )
    rows_PN = np.array([[rows_of[problem_id][index] for index in range(wanted)] for problem_id in complete])
    texts, answers = table["problem"].to_pylist(), Answers(folder.answers)
    status_PN = np.array(table["status"].to_pylist(), dtype=object)[rows_PN]
    return RunSamples(
        path=str(folder.path),
        manifest=manifest,
        sessions=folder.sessions(),
        table=table,
        problems=[
            Problem(problem_id, texts[row], shown_answer(answers[problem_id]))
            for problem_id, row in zip(complete, rows_PN[:, 0].tolist(), strict=True)
        ],
        unfinished=manifest.num_problems - len(complete),
        rows_PN=rows_PN,
        correct_PN=status_PN == VerdictStatus.CORRECT.value,
        status_PN=status_PN,
        num_tokens_PN=np.array(table["num_tokens"].to_pylist(), dtype=np.int64)[rows_PN],
        truncated_PN=np.array(table["finish_reason"].to_pylist(), dtype=object)[rows_PN] == "length",
        logprob_PN=mean_of_lists(table["policy_logprobs"].combine_chunks(), empty=-np.inf)[rows_PN],
    )


def shown_answer(answer: str) -> str:
    """An answer as the page shows it. The tests of a code problem can be megabytes: they are cut, and a digest stands for the rest."""
    if len(answer) <= MAX_SHOWN_ANSWER:
        return answer
    digest = hashlib.sha256(answer.encode()).hexdigest()[:12]
    return f"{answer[:MAX_SHOWN_ANSWER]} ... ({len(answer):,} characters, sha256 {digest})"


def mean_of_lists(lists: pa.ListArray, *, empty: float) -> npt.NDArray[np.float64]:
    """Mean of each list, one per row; `empty` for null and empty ones."""
    lengths = np.array([length or 0 for length in lists.value_lengths().to_pylist()], dtype=np.int64)
    values = lists.flatten().to_numpy(zero_copy_only=False).astype(np.float64)
    sums = np.bincount(np.repeat(np.arange(len(lengths)), lengths), weights=values, minlength=len(lengths))
    return np.divide(sums, lengths, out=np.full(len(lengths), empty), where=lengths > 0)


@dataclass(frozen=True, kw_only=True, slots=True)
class TokenCurve:
    """A per-token measure by token position in the sample; empty where no token has one."""

    position: npt.NDArray[np.float64]
    """Mean place of the tokens in each bin, from 0."""
    mean: npt.NDArray[np.float64]
    count: npt.NDArray[np.int64]
    """Tokens in the bin."""


def token_curve(lists: pa.ListArray, *, num_bins: int = 120) -> TokenCurve:
    """Mean by place over all samples' tokens that have a value, in at most `num_bins` bins of equal width."""
    lengths = np.array([length or 0 for length in lists.value_lengths().to_pylist()], dtype=np.int64)
    values = lists.flatten().to_numpy(zero_copy_only=False).astype(np.float64)
    place = np.arange(len(values)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    has_value = ~np.isnan(values)
    values, place = values[has_value], place[has_value]
    width = max(1, -(-(int(place.max(initial=0)) + 1) // num_bins))
    count = np.bincount(place // width)
    filled = count > 0
    return TokenCurve(
        position=np.bincount(place // width, weights=place)[filled] / count[filled],
        mean=np.bincount(place // width, weights=values)[filled] / count[filled],
        count=count[filled],
    )
