"""Rollouts of a run that still goes on: a folder of canonical Parquet files, each of some groups that have finished.

    000000.parquet, 000001.parquet, ...    groups_per_step groups each, in the order in which they finished; the last file may hold fewer

Promise: a group is there as a whole, once, and only if each of its planned samples was generated and seen by the verifier. A file appears
as a whole and is never changed, so that a trainer may read what is there. A session that goes on with the run goes on with the folder.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from pipelines.errors import InputError
from pipelines.rollouts.config import ExportConfig
from pipelines.rollouts.export import ExportSummary, NothingToExport, export_rollouts
from pipelines.runs.folder import RunFolder

LOOK_EVERY_S = 5.0
FORMAT = "canonical"


@dataclass(kw_only=True, slots=True)
class StreamSummary:
    """What a session wrote."""

    files: int = 0
    groups: int = 0
    rows: int = 0
    empty_groups: int = 0
    """Finished groups of which filters left nothing."""

    def add(self, summary: ExportSummary) -> None:
        """Take a file."""
        self.files += 1
        self.groups += summary.groups
        self.rows += summary.rows

    def lines(self) -> Iterator[str]:
        """For the terminal."""
        yield f"{self.rows} rows of {self.groups} groups in {self.files} files"
        if self.empty_groups:
            yield f"left out: {self.empty_groups} groups of which filters left nothing"


@dataclass(slots=True)
class RolloutStream:
    """Writes the groups of a run as they finish."""

    folder: RunFolder
    output: Path
    config: ExportConfig
    summary: StreamSummary = field(default_factory=StreamSummary)
    _taken: set[int] = field(default_factory=set)
    """Places of the problems that were written, or that filters left out."""

    def __post_init__(self) -> None:
        if self.config.format != FORMAT:
            raise InputError(
                f"groups are streamed in format {FORMAT}; got {self.config.format}. Export the run in that format once it is done."
            )
        self.output.mkdir(parents=True, exist_ok=True)

    def write_finished(self, *, at_least: int) -> None:
        """Write what has finished, a file for each `groups_per_step` groups, and one for what is left if that is `at_least` so many."""
        finished = self._finished()
        step = self.config.groups_per_step
        for first in range(0, len(finished), step):
            places = finished[first : first + step]
            if len(places) >= min(at_least, step):
                self._write(places)

    def _finished(self) -> list[int]:
        """Places of problems all of whose samples have an answer in samples/, where none is without a verdict; those taken left out."""
        if not self.folder.files():
            return []
        if not self._taken:
            self._taken = self._stored()
        is_finished_P = self.folder.sample_index().answered_PN.all(axis=1)
        return [place for place in np.flatnonzero(is_finished_P).tolist() if place not in self._taken]

    def _stored(self) -> set[int]:
        """What an earlier session wrote."""
        written = {
            group
            for path in self.output.glob("*.parquet")
            for group in pq.read_table(path, columns=["group_id"])["group_id"].unique().to_pylist()
        }
        problem_ids = self.folder.problem_ids().to_pylist()
        return {place for place, problem_id in enumerate(problem_ids) if problem_id in written}

    def _write(self, places: list[int]) -> None:
        number = len(list(self.output.glob("*.parquet")))
        try:
            self.summary.add(
                export_rollouts(self.folder, self.output / f"{number:06d}.parquet", self.config, problems=places)
            )
        except NothingToExport:
            self.summary.empty_groups += len(places)
        self._taken.update(places)


@contextmanager
def streaming(path: str | Path, output: Path, config: ExportConfig) -> Iterator[StreamSummary]:
    """Write the groups of the run in `path` as they finish, in a thread, while the block makes the run; at its end what is left, also if it
    raises. An export that is refused is raised here, once the run is done: the run is not to blame."""
    # Folders of the thread's own: a RunFolder remembers what it has read.
    stream = RolloutStream(RunFolder(path), output, config)
    is_over = threading.Event()
    failures: list[InputError] = []

    def look() -> None:
        while not is_over.wait(LOOK_EVERY_S) and not failures:
            try:
                stream.write_finished(at_least=config.groups_per_step)
            except InputError as error:
                failures.append(error)

    thread = threading.Thread(target=look, name="rollout-stream", daemon=True)
    thread.start()
    try:
        yield stream.summary
    finally:
        is_over.set()
        thread.join()
        if not failures:
            stream.write_finished(at_least=1)
    if failures:
        raise failures[0]
