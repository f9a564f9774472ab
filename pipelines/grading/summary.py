"""What graded replies come to: pass@k with intervals over problems, verdicts by name; summary.json, a table and report.md.

Problems of the task without a reply are left out of pass@k, and said so: to call them unsolved would answer another question.
"""

from collections import Counter
from dataclasses import dataclass

from rich.table import Table

from pipelines.grading.completions import BadRow
from pipelines.grading.config import GradeConfig
from pipelines.grading.verdicts_file import GradedRow
from pipelines.statistics.pass_at_k import PassAtK, ks_up_to, pass_at_k_curve
from pipelines.verifiers.verdict import VerdictStatus

CONFIDENCE = 0.95
SHOWN_CHARACTERS = 60
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
                "no reply is correct: look at extracted and detail in verdicts.jsonl before believing that."
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


def table_cells(summary: GradeSummary) -> list[tuple[str, str]]:
    """Name and value of each number, for the terminal and the report."""
    cells = [
        (
            f"pass@{p.k}",
            f"{p.estimate:.1%} [{100 * p.low:.1f}, {100 * p.high:.1f}]" if p.estimate == p.estimate else "undefined",
        )
        for p in summary.pass_at
    ]
    cells.append(("problems solved", f"{summary.solved}/{summary.problems}"))
    return cells + [(status.replace("_", " "), str(count)) for status, count in summary.statuses.items()]


def summary_table(summary: GradeSummary) -> Table:
    """The numbers, with 95% intervals over problems."""
    table = Table(
        title=f"{summary.problems} problems, {summary.replies} replies, verifier {summary.verifier}, 95% intervals over problems",
        title_justify="left",
        show_header=False,
    )
    table.add_column("")
    table.add_column("", justify="right")
    for name, value in table_cells(summary):
        table.add_row(name, value)
    return table


def report_markdown(summary: GradeSummary, rows: list[GradedRow], bad: list[BadRow], config: GradeConfig) -> str:
    """report.md: the numbers, every problem, and the rows that could not be scored."""
    lines = [
        f"# {config.completions.name} on {config.task or config.dataset}",
        "",
        f"{summary.problems} problems, {summary.replies} replies, verifier `{summary.verifier}`; 95% intervals over problems.",
        "",
        *(f"- **Note:** {warning}" for warning in summary.warnings),
        "",
        "| | |",
        "|---|---:|",
        *(f"| {name} | {value} |" for name, value in table_cells(summary)),
        "",
        "## Problems",
        "",
        "| problem | replies | correct | other verdicts | first detail |",
        "|---|---:|---:|---|---|",
        *problem_lines(rows),
    ]
    if bad:
        lines += ["", "## Rows that could not be scored", "", *(f"- row {row.row} {row.reason}" for row in bad)]
    return "\n".join(lines) + "\n"


def problem_lines(rows: list[GradedRow]) -> list[str]:
    """A row of the table for each problem, in the order of the file."""
    by_problem: dict[str, list[GradedRow]] = {}
    for row in rows:
        by_problem.setdefault(row.task_id, []).append(row)
    lines = []
    for task_id, replies in by_problem.items():
        others = Counter(row.status for row in replies if row.status != VerdictStatus.CORRECT)
        detail = next((row.detail for row in replies if row.detail), "")
        shown = " ".join(detail.replace("|", "\\|").replace("`", "'").split())[:SHOWN_CHARACTERS]
        words = ", ".join(f"{count} {status}" for status, count in others.most_common())
        lines.append(f"| {task_id} | {len(replies)} | {len(replies) - others.total()} | {words} | {shown} |")
    return lines
