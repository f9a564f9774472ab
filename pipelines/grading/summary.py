"""What graded replies come to: pass@k with intervals over problems, verdicts by name; summary.json and a table.

Problems of the task without a reply are left out of pass@k, and said so: to call them unsolved would answer another question.
"""

import json
import math
from collections import Counter
from dataclasses import asdict, dataclass

from rich.table import Table

from pipelines.grading.verdicts_file import GradedRow
from pipelines.statistics.pass_at_k import PassAtK, ks_up_to, pass_at_k_curve
from pipelines.verifiers.verdict import VerdictStatus

CONFIDENCE = 0.95
NOT_TRUSTED = (VerdictStatus.ERROR, VerdictStatus.SANDBOX_ERROR, VerdictStatus.TIMEOUT, VerdictStatus.OUT_OF_MEMORY)
"""Statuses that may be the machine's fault: they count as not correct, and a reader is told how many there are."""


@dataclass(frozen=True, kw_only=True, slots=True)
class GradeSummary:
    """Graded replies in numbers."""

    verifier: str
    problems: int
    """Problems with at least one reply."""
    problems_without_replies: int
    replies: int
    least_samples: int
    """Replies of the problem with the fewest: pass@k is defined up to here."""
    most_samples: int
    bad_rows: int
    """Rows of the file that could not be scored: in no number here."""
    pass_at: list[PassAtK]
    solved: int
    """Problems with at least one correct reply."""
    statuses: dict[str, int]
    """Replies by verdict, the most frequent first."""

    @property
    def warnings(self) -> list[str]:
        """What a reader must know before believing the numbers."""
        warnings = []
        if self.problems_without_replies:
            total = self.problems + self.problems_without_replies
            warnings.append(
                f"{self.problems_without_replies} of {total} problems of the task have no reply that could be scored; pass@k is over the "
                f"other {self.problems}."
            )
        if self.bad_rows:
            warnings.append(f"{self.bad_rows} rows could not be scored and are in no number.")
        if self.least_samples != self.most_samples:
            warnings.append(
                f"problems have {self.least_samples} to {self.most_samples} replies; pass@k above {self.least_samples} is undefined."
            )
        if untrusted := sum(self.statuses.get(status, 0) for status in NOT_TRUSTED):
            warnings.append(
                f"{untrusted} replies had no verdict of their tests (time, memory, errors); they count as not correct."
            )
        if self.solved == 0:
            warnings.append(
                "no reply is correct: look in report.html at what was extracted from some before believing that."
            )
        return warnings


def summarise(
    rows: list[GradedRow], *, num_problems: int, bad_rows: int, pass_at: tuple[int, ...], verifier: str
) -> GradeSummary:
    """The numbers of these verdicts; `num_problems` the task has. `rows` must not be empty."""
    samples = Counter(row.task_id for row in rows)
    correct = Counter(row.task_id for row in rows if row.status == VerdictStatus.CORRECT)
    counts_P = list(samples.values())
    ks = pass_at or ks_up_to(min(counts_P))
    return GradeSummary(
        verifier=verifier,
        problems=len(samples),
        problems_without_replies=num_problems - len(samples),
        replies=len(rows),
        least_samples=min(counts_P),
        most_samples=max(counts_P),
        bad_rows=bad_rows,
        pass_at=pass_at_k_curve(counts_P, [correct[task] for task in samples], ks, confidence=CONFIDENCE),
        solved=len(correct),
        statuses=dict(Counter(row.status for row in rows).most_common()),
    )


def summary_json(summary: GradeSummary) -> bytes:
    """summary.json: the fields by name. What is undefined is null there: JSON has no NaN."""
    fields = asdict(summary)
    for point in fields["pass_at"]:
        point |= {name: None for name in ("estimate", "low", "high") if math.isnan(point[name])}
    return json.dumps(fields, indent=2, allow_nan=False).encode()


def summary_table(summary: GradeSummary) -> Table:
    """The numbers, with 95% intervals over problems."""
    table = Table(
        title=f"{summary.problems} problems, {summary.replies} replies, verifier {summary.verifier}, 95% intervals over problems",
        title_justify="left",
        show_header=False,
    )
    table.add_column("")
    table.add_column("", justify="right")
    for point in summary.pass_at:
        interval = f"{point.estimate:.1%} [{100 * point.low:.1f}, {100 * point.high:.1f}]"
        table.add_row(f"pass@{point.k}", interval if point.method != "undefined" else "undefined")
    table.add_row("problems solved", f"{summary.solved}/{summary.problems}")
    for status, count in summary.statuses.items():
        table.add_row(status.replace("_", " "), str(count))
    return table
