"""verdicts.jsonl: one line per reply, written as soon as it is scored, so that a stop loses none that is finished.

    {"row": 1, "task_id": "HumanEval/0", "sample_index": 0, "status": "correct", "score": 1.0, "extracted": "...",
     "extraction_rule": "the whole text", "detail": "", "verdict_ms": 41.2, "text_hash": "9f86d081884c7d65"}

Lines come in the order of finishing. A line that a kill cut is dropped when the same command goes on. grade.json beside it holds the
settings that verdicts depend on: other settings in the same folder are refused.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from pipelines.errors import InputError
from pipelines.grading.completions import Completion
from pipelines.runs.storage import write_atomically
from pipelines.verifiers.verdict import Verdict, VerdictStatus

VERDICTS = "verdicts.jsonl"
SETTINGS = "grade.json"


@dataclass(frozen=True, kw_only=True, slots=True)
class GradedRow:
    """One line."""

    row: int
    """Of the completions file, from 1."""
    task_id: str
    sample_index: int
    status: str
    score: float
    extracted: str
    extraction_rule: str
    """By which rule a program was found in the reply; empty for verifiers other than code."""
    detail: str
    verdict_ms: float
    text_hash: str
    """Of the reply: a row whose text was changed since is scored again."""


def text_hash(text: str) -> str:
    """16 hexadecimal digits of SHA-256."""
    # Lone surrogates, which JSON may hold, have no UTF-8.
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]


def graded(completion: Completion, verdict: Verdict, *, milliseconds: float) -> GradedRow:
    """A verdict as a line of the file."""
    return GradedRow(
        row=completion.row,
        task_id=completion.problem.problem_id,
        sample_index=completion.sample_index,
        status=verdict.status.value,
        score=verdict.score,
        extracted=verdict.extracted,
        extraction_rule=verdict.rule,
        detail=verdict.detail,
        verdict_ms=round(milliseconds, 3),
        text_hash=text_hash(completion.text),
    )


class VerdictsFile:
    """The verdicts of one folder: those that are there, and new ones appended. A context manager; one thread writes."""

    def __init__(self, folder: Path, settings: Mapping[str, Any]) -> None:
        """Raises InputError if the folder holds verdicts of other settings, or cannot be made."""
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except (FileExistsError, NotADirectoryError, PermissionError) as error:
            raise InputError(f"output {folder} cannot be made: {error.strerror}. Give another --output.") from error
        self._path = folder / VERDICTS
        check_settings(folder, settings)
        self._lines = self._path.read_bytes().splitlines(keepends=True) if self._path.is_file() else []
        if self._lines and not self._lines[-1].endswith(b"\n"):
            write_atomically(self._path, b"".join(self._lines[:-1]))
            self._lines.pop()

    def rows_of(self, completions: list[Completion]) -> dict[int, GradedRow]:
        """Stored verdicts of these replies, by row. An `error` is not kept: what failed then may work now."""
        wanted = {
            completion.row: (completion.problem.problem_id, text_hash(completion.text)) for completion in completions
        }
        stored = [self._parsed(number, line) for number, line in enumerate(self._lines, start=1)]
        again = (VerdictStatus.ERROR, VerdictStatus.SANDBOX_ERROR)
        return {
            row.row: row
            for row in stored
            if wanted.get(row.row) == (row.task_id, row.text_hash) and row.status not in again
        }

    def _parsed(self, number: int, line: bytes) -> GradedRow:
        try:
            return GradedRow(**json.loads(line))
        except (ValueError, TypeError) as error:
            raise InputError(
                f"{self._path}: line {number} is no verdict ({error}). Remove the file, or give another --output."
            ) from error

    def __enter__(self) -> "VerdictsFile":
        self._file = self._path.open("ab")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._file.close()

    def append(self, row: GradedRow) -> None:
        """Write one line, at once."""
        self._file.write(json.dumps(asdict(row)).encode() + b"\n")
        self._file.flush()

    def rewrite(self, rows: list[GradedRow]) -> None:
        """The finished file: one line per reply, in the order of the completions file."""
        write_atomically(self._path, b"".join(json.dumps(asdict(row)).encode() + b"\n" for row in rows))


def check_settings(folder: Path, settings: Mapping[str, Any]) -> None:
    """Write grade.json, or compare with the one that is there. Raises InputError if they differ."""
    path = folder / SETTINGS
    if not path.is_file():
        write_atomically(path, json.dumps(settings, indent=2).encode())
        return
    try:
        before = dict(json.loads(path.read_text()))
    except (ValueError, TypeError) as error:
        raise InputError(f"{path} holds no settings ({error}). Give another --output.") from error
    if changed := [name for name in {**before, **settings} if before.get(name) != settings.get(name)]:
        name = changed[0]
        raise InputError(
            f"{folder} holds verdicts of {name}={before.get(name)!r}; got {settings.get(name)!r}. Give another --output."
        )
