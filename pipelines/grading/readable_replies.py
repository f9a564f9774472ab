"""Replies that the report shows: which ones, and how much of each.

A file may hold hundreds of thousands of replies, and a page must open. So at most MAX_REPLIES are shown: replies that are not correct
before those that are, one of every problem before a second one of any, and of a problem first those whose verdict may be the machine's
fault.
"""

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from pipelines.grading.completions import Completion
from pipelines.grading.summary import NOT_TRUSTED
from pipelines.grading.verdicts_file import GradedRow
from pipelines.problems.problem import Problem
from pipelines.report.html_text import shown_text
from pipelines.verifiers.verdict import VerdictStatus

MAX_REPLIES = 300
MAX_CHARACTERS = 4_000
"""Of a problem, a reply or what was extracted from it. A longer text is shown without its middle: the answer is often at the end."""
MAX_REFERENCE_CHARACTERS = 200
"""Reference answers that are longer are the tests of a code problem, and not shown."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ReadableReply:
    """One reply and its verdict."""

    verdict: GradedRow
    text: str
    extracted: str


@dataclass(frozen=True, kw_only=True, slots=True)
class ReadableProblem:
    """One problem with its verdicts, and those of its replies that are shown."""

    problem_id: str
    text: str
    """Empty if none of its replies is shown."""
    reference: str
    replies: int
    correct: int
    other_verdicts: dict[str, int]
    """Replies by verdict, the most frequent first."""
    shown: list[ReadableReply]
    """Those that are not correct first."""


def readable_problems(completions: Sequence[Completion], rows: Sequence[GradedRow]) -> list[ReadableProblem]:
    """The problems that have replies, in the order of the file; `rows[i]` is the verdict on `completions[i]`."""
    chosen = choose_replies(rows)
    replies_of: defaultdict[Problem, list[tuple[Completion, GradedRow]]] = defaultdict(list)
    for completion, row in zip(completions, rows, strict=True):
        replies_of[completion.problem].append((completion, row))
    return [readable_problem(problem, replies, chosen) for problem, replies in replies_of.items()]


def readable_problem(
    problem: Problem, replies: list[tuple[Completion, GradedRow]], chosen: set[int]
) -> ReadableProblem:
    """One problem; `chosen`: the rows of the file that are shown."""
    statuses = Counter(row.status for _, row in replies)
    correct = statuses.pop(VerdictStatus.CORRECT, 0)
    shown = [
        ReadableReply(verdict=row, text=shortened(completion.text), extracted=shortened(row.extracted))
        for completion, row in sorted(replies, key=lambda reply: display_rank(reply[1]))
        if row.row in chosen
    ]
    is_short = len(problem.answer) <= MAX_REFERENCE_CHARACTERS
    return ReadableProblem(
        problem_id=problem.problem_id,
        text=shortened(problem.text) if shown else "",
        reference=shown_text(problem.answer) if shown and is_short else "",
        replies=len(replies),
        correct=correct,
        other_verdicts=dict(statuses.most_common()),
        shown=shown,
    )


def choose_replies(rows: Sequence[GradedRow], limit: int = MAX_REPLIES) -> set[int]:
    """Rows of the file to show."""
    of_problem: defaultdict[tuple[str, bool], list[GradedRow]] = defaultdict(list)
    for row in sorted(rows, key=display_rank):
        of_problem[row.task_id, row.status == VerdictStatus.CORRECT].append(row)
    in_turn = [
        (is_correct, turn, row.row)
        for (_, is_correct), replies in of_problem.items()
        for turn, row in enumerate(replies)
    ]
    return {number for _, _, number in sorted(in_turn)[:limit]}


def display_rank(row: GradedRow) -> int:
    """0 for a verdict that may be the machine's fault, 1 for other replies that are not correct, 2 for correct ones."""
    return 0 if row.status in NOT_TRUSTED else 2 if row.status == VerdictStatus.CORRECT else 1


def shortened(text: str, limit: int = MAX_CHARACTERS) -> str:
    """The text for the page; of a long one both ends, and how much is left out between them."""
    if len(text) <= limit:
        return shown_text(text)
    half = limit // 2
    return shown_text(f"{text[:half]}\n[... {len(text) - 2 * half:,} characters left out ...]\n{text[-half:]}")
