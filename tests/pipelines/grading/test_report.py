"""The page of graded replies: what it shows of them, which ones where there are many, and that they cannot write into it."""

import re
from dataclasses import replace
from html import unescape
from pathlib import Path

from pipelines.grading.completions import Completion
from pipelines.grading.readable_replies import choose_replies, readable_problems, shortened
from pipelines.grading.report import MAX_BAD_ROWS
from pipelines.grading.verdicts_file import GradedRow
from pipelines.problems.problem import Problem
from tests.pipelines.grading.test_grade import REPLIES, graded
from tests.pipelines.report.report_runs import HOSTILE

ROW = GradedRow(
    row=1,
    task_id="a",
    sample_index=0,
    status="correct",
    score=1.0,
    extracted="",
    extraction_rule="",
    detail="",
    verdict_ms=1.0,
    text_hash="",
)


def page_of(folder: Path) -> str:
    return (folder / "graded" / "report.html").read_text()


def rows_of(*verdicts: tuple[str, str]) -> list[GradedRow]:
    """Rows 1, 2, ... from (problem, status)."""
    return [replace(ROW, row=row, task_id=task, status=status) for row, (task, status) in enumerate(verdicts, 1)]


def test_the_page_has_the_numbers_and_every_reply_with_what_was_extracted(tmp_path: Path) -> None:
    graded(tmp_path, REPLIES)
    html = page_of(tmp_path)
    assert re.findall(r'scope="row">(\d)</th><td><span class="estimate">(.*?)</span>', html) == [
        ("1", "50.0%"),
        ("2", "100.0%"),
    ]
    assert "2 of 2 problems have a correct reply; 2 of 4 replies are correct." in html
    assert html.count("<article") == 4 and '<div class="text">Answer: 5</div>' in html
    assert re.findall(r'class="id">(\w)</span><span class="interval">(.*?)</span>', html) == [
        ("a", "1 wrong"),
        ("b", "1 wrong"),
    ]
    assert re.findall(r"<b class=\"verdict\">. (\w+)</b> row (\d)", html) == [
        ("wrong", "3"), ("correct", "1"), ("wrong", "2"), ("correct", "4"),
    ]  # fmt: skip
    assert '<figure id="figure-pass_at_k"' in html


def test_a_reply_cannot_write_markup_and_half_a_surrogate_pair_does_no_harm(tmp_path: Path) -> None:
    graded(tmp_path, [{"task_id": "a", "completion": HOSTILE}, {"task_id": "b", "completion": "Answer: \ud800"}])
    html = page_of(tmp_path)
    assert HOSTILE not in html and "onerror='" not in html and html.count("<script>") == 1
    assert HOSTILE.replace("\r", "\u240d") in unescape(html)
    assert r"\ud800" in html
    assert not re.search(r"""(?:src|href)=["'](?!#|data:)""", html), "something would be fetched"


def test_rows_that_could_not_be_scored_are_told_up_to_a_limit(tmp_path: Path) -> None:
    graded(tmp_path, [*REPLIES, *({"task_id": "<i>", "completion": "4"} for _ in range(MAX_BAD_ROWS + 7))])
    html = page_of(tmp_path)
    assert html.count("is no problem of the task") == MAX_BAD_ROWS and "<li>and 7 more</li>" in html
    assert "<i>" not in html


def test_wrong_replies_are_shown_before_right_ones_and_every_problem_before_a_second_reply_of_one() -> None:
    rows = rows_of(
        ("a", "correct"), ("a", "wrong"), ("a", "wrong"), ("a", "timeout"),
        ("b", "correct"), ("b", "correct"), ("c", "wrong"), ("c", "wrong"),
    )  # fmt: skip
    assert choose_replies(rows, 2) == {4, 7}, "of a problem the one that may be the machine's fault"
    assert choose_replies(rows, 5) == {2, 3, 4, 7, 8}
    assert choose_replies(rows, 7) == {2, 3, 4, 7, 8, 1, 5}, "one right reply of each, then a second"


def test_a_page_of_many_replies_is_bounded_and_says_what_it_leaves_out() -> None:
    problem = Problem("a", "?" * 10_000, "2")
    replies = [Completion(row, problem, row - 1, "x" * 100_000) for row in range(1, 1_001)]
    [shown] = readable_problems(replies, rows_of(*[("a", "wrong")] * 1_000))
    assert (shown.replies, len(shown.shown)) == (1_000, 300)
    assert len(shown.text) < 4_100 and all(len(reply.text) < 4_100 for reply in shown.shown)
    assert "[... 96,000 characters left out ...]" in shown.shown[0].text


def test_a_long_text_keeps_both_ends() -> None:
    assert shortened("abc" * 10, 10) == "abcab\n[... 20 characters left out ...]\nbcabc"
    assert shortened("a" * 10, 10) == "a" * 10


def test_one_reply_each_has_no_curve(tmp_path: Path) -> None:
    graded(tmp_path, REPLIES[:2])
    assert "<figure" not in page_of(tmp_path)
