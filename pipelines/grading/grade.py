"""Grades replies that were generated elsewhere: no engine, no Ray.

    completions.jsonl -> read_completions -> replies without a verdict -> scorers in threads -> verdicts.jsonl
                                                                                              -> summary.json, report.html

A thread only waits: code runs in a sandbox and mathematics in a child process, of which each thread has its own.
"""

import os
import queue
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from itertools import islice
from types import FrameType

from rich.console import Console

from pipelines.errors import InputError, Terminated
from pipelines.grading.completions import BadRow, Completion, read_completions
from pipelines.grading.config import GradeConfig
from pipelines.grading.progress import GradeProgress
from pipelines.grading.readable_replies import readable_problems
from pipelines.grading.report import report_html
from pipelines.grading.summary import GradeSummary, summarise, summary_json
from pipelines.grading.verdicts_file import GradedRow, VerdictsFile, graded
from pipelines.prepare.load_problems import load_problems
from pipelines.problems.problem import Problem, data_fingerprint
from pipelines.runs.storage import write_atomically
from pipelines.verifiers.scorer import Scorer, check_verifier, start_scorer
from pipelines.verifiers.settings import VerifierSettings, verifier_settings

SHOWN_BAD_ROWS = 20


def grade(config: GradeConfig, console: Console) -> GradeSummary:
    """Score every row that has no verdict yet; write verdicts, summary and report.

    Raises InputError if nothing can be scored, and KeyboardInterrupt that says what is saved if it is stopped.
    """
    run = config.as_run()
    settings = verifier_settings(run)
    if settings.name == "none":
        raise InputError("--verifier none gives no verdicts; name one that does (docs/verifiers.md).")
    problems = load_problems(run)
    completions, bad = read_completions(config.completions, problems)
    show_bad_rows(bad, console)
    if line := check_verifier(settings):
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    decides = identity(config, settings, problems)
    file = VerdictsFile(config.output, decides)
    rows = file.rows_of(completions)
    left = [completion for completion in completions if completion.row not in rows]
    if rows:
        console.print(f"{len(rows)} of {len(completions)} replies have their verdict from before.", highlight=False)
    with (
        saved_at_a_stop(rows, len(completions), config),
        file,
        GradeProgress(rows.values(), len(completions), console) as bar,
    ):
        for row in verdicts_on(left, settings, workers=config.workers):
            file.append(row)
            rows[row.row] = row
            bar.add(row)
    in_order = [rows[completion.row] for completion in completions]
    file.rewrite(in_order)
    summary = summarise(
        in_order, num_problems=len(problems), bad_rows=len(bad), pass_at=config.pass_at, verifier=settings.name
    )
    write_atomically(config.output / "summary.json", summary_json(summary))
    readable = readable_problems(completions, in_order)
    write_atomically(config.output / "report.html", report_html(summary, readable, bad, config, decides))
    return summary


def identity(config: GradeConfig, settings: VerifierSettings, problems: list[Problem]) -> dict[str, str | float | None]:
    """What verdicts depend on, besides the replies."""
    return {
        "task": config.task,
        "dataset": config.dataset,
        "problems": data_fingerprint(problems),
        "verifier": settings.name,
        "timeout_s": settings.timeout_s,
        "judge": settings.judge.model if settings.judge else None,
    }


def show_bad_rows(bad: list[BadRow], console: Console) -> None:
    """One line each, up to a screen of them."""
    for row in bad[:SHOWN_BAD_ROWS]:
        console.print(f"row {row.row} {row.reason}", style="yellow", markup=False, highlight=False, soft_wrap=True)
    if len(bad) > SHOWN_BAD_ROWS:
        console.print(f"... and {len(bad) - SHOWN_BAD_ROWS} more rows that cannot be scored.", style="yellow")


@contextmanager
def saved_at_a_stop(rows: dict[int, GradedRow], total: int, config: GradeConfig) -> Iterator[None]:
    """Ctrl-C and SIGTERM (what schedulers send) end the work with a line that says what is saved."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise Terminated

    is_main = threading.current_thread() is threading.main_thread()
    before = signal.signal(signal.SIGTERM, stop) if is_main else None
    try:
        yield
    except KeyboardInterrupt as stopped:
        raise type(stopped)(
            f"stopped. {len(rows)} of {total} verdicts are saved in {config.output}; the same command goes on from there."
        ) from None
    finally:
        if is_main:
            signal.signal(signal.SIGTERM, before)


def verdicts_on(completions: list[Completion], settings: VerifierSettings, *, workers: int) -> Iterator[GradedRow]:
    """Verdicts as they come: from this machine, or from a cluster where it has fewer cores than there are workers."""
    if workers > (os.cpu_count() or 1):
        # Imported late: only a cluster needs Ray, which takes seconds.
        from pipelines.grading.cluster import is_wanted, score_on_cluster

        if is_wanted(settings, workers):
            return score_on_cluster(completions, settings, workers=workers)
    return score_all(completions, settings, workers=min(workers, len(completions)))


def score_all(completions: list[Completion], settings: VerifierSettings, *, workers: int) -> Iterator[GradedRow]:
    """Verdicts as they come. Twice as many replies as workers are under way, so that a stop waits for few."""
    if not completions:
        return
    idle: queue.SimpleQueue[Scorer] = queue.SimpleQueue()
    scorers = [start_scorer(settings) for _ in range(workers)]
    for scorer in scorers:
        idle.put(scorer)
    waiting = iter(completions)
    try:
        with ThreadPoolExecutor(workers) as pool:
            pending: set[Future[GradedRow]] = set()
            try:
                while True:
                    pending |= {pool.submit(score_one, c, idle) for c in islice(waiting, 2 * workers - len(pending))}
                    if not pending:
                        return
                    done, pending = wait(pending, return_when=FIRST_COMPLETED)
                    yield from (future.result() for future in done)
            finally:
                for future in pending:  # a stop waits for what has begun, not for what is next
                    future.cancel()
    finally:
        for scorer in scorers:
            scorer.close()


def score_one(completion: Completion, idle: queue.SimpleQueue[Scorer]) -> GradedRow:
    """One verdict, by whichever scorer is idle."""
    scorer = idle.get()
    started = time.perf_counter()
    try:
        verdict = scorer.score(completion.problem, completion.text)
    finally:
        idle.put(scorer)
    return graded(completion, verdict, milliseconds=1000 * (time.perf_counter() - started))
