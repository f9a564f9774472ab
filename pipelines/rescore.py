"""Scores the answers of a run again, without an engine.

    samples/ -> answers that have no verdict of this verifier -> read_answers -> VerifySamples -> verdicts/<name>/*.parquet
                                                                                                        |
                                               run.json: from now on these verdicts count <-------------+

Promise: nothing that was generated is written again. Until the last answer has its verdict the old ones count; then run.json, which is
replaced atomically, says so and records the event. What a kill leaves goes on with the same command, and once done it does nothing.
"""

import hashlib
import importlib
import inspect
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import pyarrow as pa
import pyarrow.parquet
import ray
import ray.data
from ray.data import ActorPoolStrategy, Dataset, SaveMode
from ray.data.exceptions import SystemException
from ray.exceptions import RayError
from rich.console import Console
from rich.table import Table

from actors.names import actor_name
from pipelines.config.run import RunConfig
from pipelines.errors import InputError, RunError, root_cause
from pipelines.live.counts import Progress
from pipelines.live.position import RunPosition
from pipelines.live.progress import LiveProgress
from pipelines.runs.folder import TODO, RunFolder
from pipelines.runs.provenance import package_versions
from pipelines.runs.rescored_verdicts import STORED_VERDICT_SCHEMA, VERDICTS, unseen_answers
from pipelines.stages.ray_session import connected_ray, pipeline_cpus
from pipelines.stages.verify import VerifySamples
from pipelines.verifiers.registry import load_verifier
from pipelines.verifiers.scorer import check_verifier
from pipelines.verifiers.settings import VerifierSettings, verifier_settings

VERDICT_PACKAGES = ("python", "esamp-ray", "math-verify")
"""Whose versions verdicts depend on."""
READ_COLUMNS = ["problem_id", "sample_index", "problem", "text", "num_tokens", "error"]
ROWS_PER_TASK = 256
"""Answers that are read, and saved with their verdicts, at a time."""
TODO_SCHEMA = pa.schema({"part": pa.string(), "rows": pa.list_(pa.int32())})


@dataclass(frozen=True, kw_only=True, slots=True)
class VerdictChanges:
    """What another verifier made of a run's samples."""

    verification: str
    """Name of the folder in verdicts/."""
    scored: int
    """Answers that were scored now; the others had a verdict of this verifier already."""
    changes: dict[tuple[str, str], int]
    """Samples by old and new status, those that kept theirs included."""

    @property
    def changed(self) -> int:
        """Samples whose status is another."""
        return sum(count for (old, new), count in self.changes.items() if old != new)


def verify_run(folder: RunFolder, config: RunConfig, *, console: Console) -> VerdictChanges:
    """Score every stored answer with the verifier of `config`, the run's own with other settings; from then on these verdicts count.

    Raises InputError if there is no run or no sample, or nothing that could score it, and RunError if the pipeline fails.
    """
    settings = verifier_settings(config)
    if settings.name == "none":
        raise InputError("--verifier none gives no verdicts; name one that does (docs/verifiers.md).")
    before = folder.manifest()
    old = folder.read_samples(["status"])["status"]
    name = verification_name(settings)
    folder.move_corrupt_files(f"{VERDICTS}/{name}")
    unseen = write_unseen(folder, name)
    if unseen:
        if line := check_verifier(settings):
            console.print(line, markup=False, highlight=False, soft_wrap=True)
        with failures_in_one_line(), connected_ray(pipeline_cpus(config)):
            position = RunPosition(samples=unseen)
            score_unseen(folder, name, settings, position, verifiers=config.verifiers, console=console)
    folder.clear_todo()
    new = folder.read_samples(["status"], verification=name)["status"]
    changes = VerdictChanges(
        verification=name,
        scored=unseen,
        changes=status_changes(old, new),
    )
    if unseen or before.verification != name:
        after = replace(before, verification=name).with_event(
            "verified",
            verification=name,
            verifier=settings.name,
            timeout_s=settings.timeout_s,
            judge=settings.judge.model if settings.judge else None,
            scored=unseen,
            changed=changes.changed,
        )
        folder.write_manifest(after)
    return changes


@contextmanager
def failures_in_one_line() -> Iterator[None]:
    """The error boundary: what Ray, a verifier's actor or the disk raise becomes one line. What was scored stays."""
    kept = "What was scored is saved, the old verdicts still count, and the same command goes on from there."
    try:
        yield
    except KeyboardInterrupt:
        raise KeyboardInterrupt(f"stopped. {kept}") from None
    except (RayError, SystemException, OSError) as error:
        raise RunError(f"{root_cause(error)}. {kept}") from error


def status_changes(old: pa.ChunkedArray, new: pa.ChunkedArray) -> dict[tuple[str, str], int]:
    """How many samples went from which status to which."""
    pairs = pa.table({"old": old, "new": new}).group_by(["old", "new"]).aggregate([([], "count_all")])
    return {(pair["old"], pair["new"]): pair["count_all"] for pair in pairs.to_pylist()}


def verification_name(settings: VerifierSettings) -> str:
    """A verifier by what its verdicts depend on, such as math-1f3a09bc: its settings, its source file and versions. The same name again
    means the same verdicts, so an answer that has one is not scored again."""
    source = ""
    if ":" in settings.name:
        source = inspect.getsource(importlib.import_module(load_verifier(settings.name).__module__))
    versions = {name: version for name, version in package_versions().items() if name in VERDICT_PACKAGES}
    depends_on: list[Any] = [settings.name, settings.timeout_s, source, versions]
    if settings.judge is not None:
        depends_on += [settings.judge.url, settings.judge.model]
    digest = hashlib.sha256(json.dumps(depends_on, sort_keys=True).encode()).hexdigest()[:8]
    return f"{settings.name.replace(':', '.')}-{digest}"


def write_unseen(folder: RunFolder, name: str) -> int:
    """Write to todo/ where the answers lie that have no verdict yet; returns their number."""
    index = folder.sample_index()
    unseen_PN = unseen_answers(index, folder.verdicts(name))
    tasks = [
        {"part": file.name, "rows": file.rows[first : first + ROWS_PER_TASK]}
        for file in index.rows_by_file(unseen_PN)
        for first in range(0, len(file.rows), ROWS_PER_TASK)
    ]
    folder.clear_todo()
    folder.storage.make_folder(TODO)
    with folder.storage.atomic_file(f"{TODO}/answers.parquet") as file:
        pa.parquet.write_table(pa.Table.from_pylist(tasks, schema=TODO_SCHEMA), file)
    return int(unseen_PN.sum())


def score_unseen(
    folder: RunFolder, name: str, settings: VerifierSettings, position: RunPosition, *, verifiers: int, console: Console
) -> None:
    """The pipeline: what todo/ names is read, scored and saved."""
    storage = folder.storage
    storage.make_folder(f"{VERDICTS}/{name}")
    progress = ray.remote(Progress).options(name=actor_name("progress"), num_cpus=0).remote()
    todo: Dataset = ray.data.read_parquet(storage.place(TODO), filesystem=storage.ray_filesystem)
    verdicts = (
        todo.repartition(target_num_rows_per_block=1)
        .map_batches(read_answers, fn_args=(storage.url(),), batch_size=1, batch_format="pyarrow")
        .map_batches(
            VerifySamples,
            fn_constructor_args=(settings, folder.answers, [progress]),
            batch_size=None,
            batch_format="pyarrow",
            compute=ActorPoolStrategy(size=verifiers),
            num_cpus=1,
        )
        .select_columns(STORED_VERDICT_SCHEMA.names)
    )
    verdicts.set_name("rescore")
    with LiveProgress(console=console) as live, live.following(progress, position=position):
        verdicts.write_parquet(
            storage.place(f"{VERDICTS}/{name}"),
            filesystem=storage.ray_filesystem,
            mode=SaveMode.APPEND,
            try_create_dir=False,
        )


def read_answers(batch: pa.Table, folder: str) -> pa.Table:
    """The samples that rows of todo/ name."""
    source = RunFolder(folder)
    return pa.concat_tables(source.read_rows(task["part"], task["rows"], READ_COLUMNS) for task in batch.to_pylist())


def changes_table(changes: VerdictChanges) -> Table:
    """Samples by their old and their new status."""
    table = Table(title=f"{changes.changed} of {sum(changes.changes.values())} verdicts changed", title_justify="left")
    for name in ("old status", "new status"):
        table.add_column(name)
    table.add_column("samples", justify="right")
    for (old, new), count in sorted(changes.changes.items()):
        table.add_row(old, new, str(count), style=None if old == new else "bold")
    return table
