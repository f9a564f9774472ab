"""A run on disk, or on an object store.

    runs/countdown-esamp-0/
        run.json          what the run is: config, fingerprints, versions, git commit, command line, what was done to it since
        plan/             Parquet, one row per work unit; a file for each extension round
        answers.parquet   reference answers, one row per problem
        samples/          Parquet files, one row per sample; a unit counts as finished once all its samples lie here without an error,
                          or its problem has stopped early by the run's rule, which follows from the samples that lie here
        verdicts/         verdicts of jobs.verify, a folder for each verifier; run.json says whose count
        live/             finished samples of work units that are under way; see pipelines/live/log.py
        logs/             what actors and driver warned of, a JSON object a line, a file for each session; see pipelines/logs
        sessions.jsonl    one line per completed session (a run that was stopped and went on has several): time, tokens, shard counters
        todo/             while a session runs: the work units it generates, or the answers it scores
        merged/           where jobs.merge took the samples from, with the sha256 of every file
        corrupt/          files that a killed session left unreadable; what they held was made again
        failure.txt       what ended the last session that failed, in full
        summary.json      pass@k and the rest, at the end

Promise: a folder holds one run. Another configuration, other data or another model is refused before anything is written, with the
difference. An output file is written by one worker and never again. A worker that outlived its session may leave a work unit twice, with
the same seeds: `read_samples` gives every sample once. What is in memory here grows with problems and by a few bytes with samples,
never with the length of prompts or answers, but for the columns that `read_samples` is asked for.
"""

import json
import logging
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet

from actors.types import ShardStats
from pipelines.errors import InputError
from pipelines.live.log import LIVE
from pipelines.runs.early_stopping import stops_of
from pipelines.runs.finished_sample import FINISHED_COLUMNS, FinishedSample, finished_sample
from pipelines.runs.manifest import Manifest, differing
from pipelines.runs.plan import GROUP_UNITS, Plan, work_unit_groups, write_plan
from pipelines.runs.reference_answers import write_answers
from pipelines.runs.rescored_verdicts import VERDICTS, StoredVerdicts
from pipelines.runs.sample_index import SampleIndex, find_samples
from pipelines.runs.schema import VERDICT_SCHEMA, read_stored
from pipelines.runs.storage import storage_at

logger = logging.getLogger(__name__)

MANIFEST = "run.json"
ANSWERS = "answers.parquet"
SESSIONS = "sessions.jsonl"
PLAN = "plan"
SAMPLES = "samples"
TODO = "todo"
FAILURE = "failure.txt"
SUMMARY = "summary.json"


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
    shard_restarts: int = 0
    """Times a shard ended and came back."""
    units_run_again: int = 0
    """Units under way on a shard, or for a stage, that ended, each time."""

    warnings: list[dict[str, Any]] = field(default_factory=list)
    """What the actors warned of (actors.types.ActorWarning)."""

    @property
    def counters_were_reset(self) -> bool:
        """True if a shard may have been started again: its counters in `shards` were then reset."""
        return bool(self.units_run_again or self.shard_restarts)


@dataclass(frozen=True, kw_only=True, slots=True)
class WorkUnitCount:
    """How far a run is."""

    planned: int
    unfinished: int
    """Units with a sample missing or failed."""

    @property
    def finished(self) -> int:
        """Units all of whose samples have an answer."""
        return self.planned - self.unfinished


class RunFolder:
    """Reads and writes one run folder."""

    def __init__(self, path: str | Path) -> None:
        """`path`: a folder, or a URL that fsspec knows."""
        self.path = path
        self.storage = storage_at(path)
        # A file of samples is never changed once it can be read (a writer renames it into place, an object store puts it as a whole), so
        # what was found in it holds for as long as it is there.
        self._readable: set[str] = set()
        self._index: tuple[list[str], int, SampleIndex] | None = None

    @property
    def answers(self) -> str:
        """Path or URL of the answers' file, for workers elsewhere."""
        return self.storage.url(ANSWERS)

    def manifest(self) -> Manifest:
        """The run's manifest. Raises InputError if there is no run here."""
        if not self.has_run:
            raise InputError(
                f"{self.path} holds no run (no run.json); give the folder of a run, such as runs/countdown-esamp-0."
            )
        return Manifest.from_json(self.storage.read(MANIFEST).decode())

    def write_manifest(self, manifest: Manifest) -> None:
        """Replace run.json as a whole."""
        self.storage.write(MANIFEST, manifest.to_json().encode())

    @property
    def has_run(self) -> bool:
        """True if a run was begun here."""
        return self.storage.is_file(MANIFEST)

    def check(self, wanted: Manifest) -> None:
        """Raise InputError if the folder holds anything but `wanted` itself. Writes nothing."""
        if not self.has_run:
            if self.storage.is_file("") or self.storage.names():
                raise InputError(f"output folder {self.path} holds files that are no run; give another --output.")
            return
        held = self.manifest()
        differences = list(differing(held.grown_to(wanted).identity, wanted.identity))
        if differences:
            extension = (
                f" It was extended: --extend {held.config.samples} goes on with it." if held.extended_from else ""
            )
            raise InputError(
                f"output folder {self.path} holds another run: {'; '.join(differences)}. "
                f"Give another --output, or the settings that the folder holds.{extension}"
            )

    def open(self, wanted: Manifest, plan: Plan) -> Manifest:
        """Begin the run, go on with it or extend it: its manifest, with the id and the start it had. Checks first, then writes."""
        self.check(wanted)
        manifest = self.manifest().grown_to(wanted) if self.has_run else wanted
        for name in (SAMPLES, PLAN, LIVE):
            self.storage.make_folder(name)
        self.write_manifest(manifest)
        if not self.storage.is_file(ANSWERS):
            with self.storage.atomic_file(ANSWERS) as file:
                write_answers(file, plan.problems)
        for round_number, name in enumerate(plan_files(manifest)):
            if not self.storage.is_file(name):
                with self.storage.atomic_file(name) as file:
                    write_plan(file, plan.work_units(round_number))
        return manifest

    def problem_ids(self) -> pa.StringArray:
        """[P] in the order of the dataset."""
        with self.storage.open(ANSWERS) as file:
            table = pa.parquet.read_table(file, columns=["problem_id"])
        return table["problem_id"].combine_chunks()

    def files(self, folder: str = SAMPLES) -> list[str]:
        """Names of the output files of samples/, or of a folder of verdicts, that can be read."""
        names = self.storage.names(folder, suffix=".parquet")
        self._readable |= {name for name in names if name not in self._readable and self._is_readable(name)}
        return [name for name in names if name in self._readable]

    def move_corrupt_files(self, folder: str = SAMPLES) -> None:
        """Move files that a killed session left unreadable to corrupt/, and say so. Not while anything writes to the folder."""
        for name in sorted(set(self.storage.names(folder, suffix=".parquet")) - set(self.files(folder))):
            aside = f"corrupt/{Path(name).name}"
            self.storage.move(name, aside)
            logger.warning("%s was left unreadable by a killed session: moved to %s, and made again", name, aside)

    def sample_index(self) -> SampleIndex:
        """Where each sample lies. Looked up again only when there are other files than the last time."""
        files, samples = self.files(), self.manifest().config.samples
        if self._index is None or self._index[:2] != (files, samples):
            self._index = files, samples, find_samples(self.storage, files, self.problem_ids(), samples)
        return self._index[2]

    def finished_samples(self) -> list[FinishedSample]:
        """Every sample that holds an answer, in short; a folder may hold none."""
        if not self.sample_index().num_rows:
            return []
        rows = self.read_samples(FINISHED_COLUMNS).to_pylist()
        return [finished_sample(row) for row in rows if row["error"] is None]

    def stopped(self, manifest: Manifest) -> npt.NDArray[np.bool_]:
        """[P] True for problems that stopped early."""
        rule = manifest.config.stopping_rule
        stops = {} if rule is None else stops_of(self.finished_samples(), rule)
        return pc.is_in(self.problem_ids(), value_set=pa.array(stops, pa.string())).to_numpy(zero_copy_only=False)

    def verdicts(self, verification: str) -> StoredVerdicts:
        """The verdicts in a folder of verdicts/."""
        files = self.files(f"{VERDICTS}/{verification}")
        return StoredVerdicts(self.storage, files, self.problem_ids(), self.manifest().config.samples)

    def is_planned(self, manifest: Manifest) -> bool:
        """True if the whole plan of the run is here: a session has begun, and so has its last extension round."""
        return self.has_run and all(map(self.storage.is_file, [ANSWERS, *plan_files(manifest)]))

    def count_work_units(self, manifest: Manifest) -> WorkUnitCount:
        """How far the partition of a run is that its config names. What a run plans and is not in the plan here yet is not finished."""
        planned = manifest.config.run_partition.count(manifest.num_problems, len(manifest.group_sizes))
        if not self.is_planned(manifest):
            return WorkUnitCount(planned=planned, unfinished=planned)
        index = self.sample_index()
        unfinished = sum(
            units.num_rows
            for round_number in range(len(manifest.rounds))
            for units in self._unfinished(manifest, round_number, index, ["problem_id", "sample_indices"])
        )
        return WorkUnitCount(planned=planned, unfinished=unfinished)

    def write_todo(self, manifest: Manifest, round_number: int) -> pa.Table:
        """Write to todo/, for a session to read, the work units of an extension round that are not finished, of the partition that the
        config names. Returns a row of each: problem_id, and the number of its samples."""
        self.clear_todo()
        self.storage.make_folder(TODO)
        index = self.sample_index()
        counts = [pa.table({"problem_id": pa.array([], pa.string()), "samples": pa.array([], pa.int32())})]
        for number, units in enumerate(self._unfinished(manifest, round_number, index)):
            samples = pc.list_value_length(units["sample_indices"])
            counts.append(pa.table({"problem_id": units["problem_id"], "samples": samples}))
            with self.storage.atomic_file(f"{TODO}/{number:06}.parquet") as file:
                pa.parquet.write_table(units, file)
        return pa.concat_tables(counts)

    def clear_todo(self) -> None:
        """At the end of a session."""
        self.storage.remove(TODO)

    def _unfinished(
        self, manifest: Manifest, round_number: int, index: SampleIndex, columns: list[str] | None = None
    ) -> Iterator[pa.Table]:
        """The units of an extension round that are to be drawn here and are not finished, a row group of the plan at a time."""
        stopped_P = self.stopped(manifest)
        groups = work_unit_groups(manifest.config, manifest.rounds)
        starts = [unit.start for units in groups for unit in units]
        with self.storage.open(plan_files(manifest)[round_number]) as file, pa.parquet.ParquetFile(file) as plan:
            problem_of = pc.index_in(plan.read(["problem_id"])["problem_id"], value_set=self.problem_ids()).to_numpy()
            first = 0
            for batch in plan.iter_batches(batch_size=GROUP_UNITS, columns=columns):
                problem_U = problem_of[first : first + batch.num_rows].astype(np.int64)
                first += batch.num_rows
                unit_U = np.searchsorted(starts, pc.list_element(batch["sample_indices"], 0).to_numpy())
                is_here_U = manifest.config.run_partition.holds(problem_U, unit_U)
                is_finished_U = stopped_P[problem_U] | index.is_finished(problem_U, batch["sample_indices"])
                wanted_U = is_here_U & ~is_finished_U
                if wanted_U.any():
                    yield pa.Table.from_batches([batch.filter(pa.array(wanted_U))])

    def read_samples(self, columns: list[str], *, verification: str | None = None) -> pa.Table:
        """All samples, one row each: where a unit was tried again, the row that holds an answer. Verdicts are those of `verification`,
        by default of the last one that was completed. Raises InputError if there is no sample."""
        return pa.concat_tables(self.sample_tables(columns, verification=verification))

    def sample_tables(self, columns: list[str], *, verification: str | None = None) -> Iterator[pa.Table]:
        """The same, a file at a time: for what must not hold all samples at once."""
        index = self.sample_index()
        if not index.num_rows:
            raise InputError(f"{self.path} holds no samples yet; let the run finish a work unit first.")
        verification = verification or self.manifest().verification
        judged = [name for name in columns if name in VERDICT_SCHEMA.names]
        verdicts = self.verdicts(verification).columns(judged) if verification and judged else None
        for file in index.rows_by_file():
            samples = self.read_rows(file.name, file.rows, columns)
            if verdicts is not None:
                samples = verdicts.put_into(samples, file.places, index.answered_PN.ravel()[file.places])
            yield samples

    def read_rows(self, name: str, rows: npt.ArrayLike, columns: list[str] | None = None) -> pa.Table:
        """Some rows of an output file; by default all columns."""
        with self.storage.open(name) as file:
            return read_stored(file, columns).take(pa.array(rows, pa.int32()))

    def read_finished(self) -> list[FinishedSample]:
        """All samples in short, one each, failed ones included. Raises InputError if there is none."""
        return [finished_sample(row) for row in self.read_samples(FINISHED_COLUMNS).to_pylist()]

    def add_session(self, session: Session) -> None:
        """Append a completed session."""
        before = self.storage.read(SESSIONS) if self.storage.is_file(SESSIONS) else b""
        self.storage.write(SESSIONS, before + json.dumps(asdict(session)).encode() + b"\n")

    def sessions(self) -> list[Session]:
        """Completed sessions, oldest first. Counters that the version of a session did not have yet are 0."""
        if not self.storage.is_file(SESSIONS):
            return []
        sessions = [Session(**json.loads(line)) for line in self.storage.read(SESSIONS).splitlines()]
        none = {counter.name: 0 for counter in fields(ShardStats) if counter.name not in ("shard", "warnings")}
        return [replace(session, shards=[none | shard for shard in session.shards]) for session in sessions]

    def _is_readable(self, name: str) -> bool:
        # A store that does not answer is not a corrupt file: what `open` raises rises.
        with self.storage.open(name) as file:
            try:
                pa.parquet.read_metadata(file)
            except (pa.ArrowInvalid, OSError):
                return False
        return True


def plan_files(manifest: Manifest) -> list[str]:
    """Names of the plan's files, one for each extension round."""
    return [f"{PLAN}/plan.parquet", *(f"{PLAN}/extension-{samples}.parquet" for samples in manifest.rounds[1:])]
