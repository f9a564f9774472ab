"""Joins folders of one run that was made in several places.

    RUN1/samples, RUN2/samples, ... -> samples that OUT lacks -> OUT/samples
    RUN1/live, RUN2/live, ... -------> of work units under way -> OUT/live: whoever goes on with OUT generates what these lack

Promise: sources are only read, and nothing is written unless they belong together: the same run (but for where it ran and how far it was
extended), and the same tokens wherever two hold the same sample. A kill leaves a folder that the same command completes; once done it
does nothing. run.json of OUT says what was joined, merged/ the sha256 of every file.
"""

import hashlib
import json
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import PurePosixPath

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet

from pipelines.errors import InputError
from pipelines.live.log import LIVE, Key, log_keys
from pipelines.live.position import places_of
from pipelines.live.saved_logs import SavedLogs
from pipelines.runs.folder import ANSWERS, RunFolder, plan_files
from pipelines.runs.manifest import Manifest, differing
from pipelines.runs.rescored_verdicts import VERDICTS
from pipelines.runs.sample_index import NOWHERE, FileRows, SampleIndex, find_samples


@dataclass(frozen=True, kw_only=True, slots=True)
class Source:
    """A folder to join."""

    folder: RunFolder
    manifest: Manifest
    index: SampleIndex
    """On the grid of the longest of the runs."""


@dataclass(frozen=True, kw_only=True, slots=True)
class MergedSource:
    """What was taken of a source."""

    path: str
    run_id: str
    answers: int
    """Samples with an answer that it holds."""
    taken: int
    """Of these, those that no source before it holds."""
    under_way: int
    """Samples that it holds in live/ only."""
    sha256: str
    """Of the names and sums of its files, which merged/<sha256>.json lists."""


def merge_runs(output: RunFolder, folders: Sequence[RunFolder]) -> list[MergedSource]:
    """Join runs into `output`, a new folder or one that was merged before. Raises InputError if they do not belong together."""
    check_places(output, folders)
    begun = [output] if output.has_run else []
    manifests = [folder.manifest() for folder in (*begun, *folders)]
    longest = int(np.argmax([len(manifest.rounds) for manifest in manifests]))
    whole, whole_folder = manifests[longest], [*begun, *folders][longest]
    check_same_run([*begun, *folders], manifests, whole, whole_folder)
    check_same_verdicts(folders, manifests[len(begun) :])
    problem_ids = whole_folder.problem_ids()
    sources = [
        Source(
            folder=folder,
            manifest=manifest,
            index=find_samples(folder.storage, folder.files(), problem_ids, whole.config.samples),
        )
        for folder, manifest in zip([*begun, *folders], manifests, strict=True)
    ]
    check_same_tokens(sources, problem_ids)
    begin_output(output, whole_folder, whole)
    sources = sources[len(begun) :]
    merged = [
        join_source(output, source, where_PN) for source, where_PN in zip(sources, taken_samples(sources), strict=True)
    ]
    SavedLogs(output).remove()
    record_merge(output, sources, merged)
    return merged


def check_places(output: RunFolder, folders: Sequence[RunFolder]) -> None:
    """Raise InputError if a folder is given twice, or is both source and output."""
    urls = [folder.storage.url() for folder in (output, *folders)]
    twice = next((url for url in urls if urls.count(url) > 1), None)
    if twice is not None:
        raise InputError(f"{twice} is given twice; name a new folder to write to, and each run once.")
    if not folders:
        raise InputError("jobs.merge needs the folder to write to and at least one run.")


def check_same_run(
    folders: Sequence[RunFolder], manifests: Sequence[Manifest], whole: Manifest, whole_folder: RunFolder
) -> None:
    """Raise InputError, with the difference, unless all are the same run, or the same before it was extended."""
    for folder, manifest in zip(folders, manifests, strict=True):
        differences = list(differing(manifest.grown_to(whole).identity, whole.identity))
        if differences:
            raise InputError(f"{folder.path} and {whole_folder.path} are not the same run: {'; '.join(differences)}.")


def check_same_verdicts(folders: Sequence[RunFolder], manifests: Sequence[Manifest]) -> None:
    """Raise InputError if verdicts of different verifiers would be mixed."""
    names = {manifest.verification: folder for folder, manifest in zip(folders, manifests, strict=True)}
    if len(names) > 1:
        told = "; ".join(f"{folder.path}: {name or 'as they were drawn'}" for name, folder in names.items())
        raise InputError(
            f"the runs' verdicts are of different verifiers ({told}); bring them together with jobs.verify first."
        )


def check_same_tokens(sources: Sequence[Source], problem_ids: pa.StringArray) -> None:
    """Raise InputError if two sources hold different answers under the same problem and index."""
    for number, source in enumerate(sources):
        for other in sources[:number]:
            both_PN = source.index.answered_PN & other.index.answered_PN
            if not both_PN.any():
                continue
            different = np.flatnonzero(token_sums(source, both_PN) != token_sums(other, both_PN))
            if len(different):
                problem, index = divmod(int(different[0]), both_PN.shape[1])
                raise InputError(
                    f"{source.folder.path} and {other.folder.path} hold different tokens for {len(different)} samples, the first of them "
                    f"sample {index} of problem {problem_ids[problem]}: both places generated the same partition. Merge one of them only."
                )


def token_sums(source: Source, where_PN: npt.NDArray[np.bool_]) -> npt.NDArray[np.uint64]:
    """[P * N] a sum of each sample's tokens; 0 where there is none or `where_PN` is False."""
    sums = np.zeros(where_PN.size, dtype=np.uint64)
    for file in source.index.rows_by_file(where_PN):
        rows = source.folder.read_rows(file.name, file.rows, ["token_ids"])["token_ids"]
        digests = (hashlib.sha256(tokens.values.to_numpy().tobytes()).digest()[:8] for tokens in rows)
        sums[file.places] = np.frombuffer(b"".join(digests), dtype=np.uint64)
    return sums


def taken_samples(sources: Sequence[Source]) -> list[npt.NDArray[np.bool_]]:
    """[P, N] for each source: what is taken of it. An answer comes from the first source that holds it; a failure if there is none."""
    answered_PN = np.logical_or.reduce([source.index.answered_PN for source in sources])
    done_PN = np.zeros_like(answered_PN)
    taken = []
    for source in sources:
        has_row_PN = source.index.file_PN != NOWHERE
        take_PN = ~done_PN & np.where(answered_PN, source.index.answered_PN, has_row_PN)
        done_PN |= take_PN
        taken.append(take_PN)
    return taken


def begin_output(output: RunFolder, source: RunFolder, whole: Manifest) -> None:
    """Make the folder of the merged run, or extend the one that is there: manifest, plan and answers, and no sample yet."""
    manifest = whole
    if output.has_run:
        manifest = output.manifest().grown_to(whole)
    else:
        config = replace(whole.config, output=output.path, partition=None)
        manifest = replace(whole, run_id=uuid.uuid4().hex[:12], config=config, verification=None)
        output.check(manifest)
    for folder in ("", "samples", "plan", "merged", LIVE):
        output.storage.make_folder(folder)
    output.write_manifest(manifest)
    for name in [ANSWERS, *plan_files(whole)]:
        if not output.storage.is_file(name):
            output.storage.write(name, source.storage.read(name))


def join_source(output: RunFolder, source: Source, take_PN: npt.NDArray[np.bool_]) -> MergedSource:
    """Copy what is taken of a source, file by file; a file that is there already is passed over."""
    sums = {name: hashlib.sha256(source.folder.storage.read(name)).hexdigest() for name in source.index.files}
    for file in source.index.rows_by_file(take_PN):
        copy_rows(output, source, file, sum_of_file=sums[file.name])
    if source.manifest.verification is not None:
        copy_verdicts(output, source, source.manifest.verification)
    under_way = copy_logs(output, source)
    sum_of_sums = hashlib.sha256(json.dumps(sums, sort_keys=True).encode()).hexdigest()
    listing = json.dumps({"path": str(source.folder.path), "parts": sums}, indent=1).encode()
    output.storage.write(f"merged/{sum_of_sums}.json", listing)
    return MergedSource(
        path=str(source.folder.path),
        run_id=source.manifest.run_id,
        answers=int(source.index.answered_PN.sum()),
        taken=int((take_PN & source.index.answered_PN).sum()),
        under_way=under_way,
        sha256=sum_of_sums,
    )


def copy_rows(output: RunFolder, source: Source, file: FileRows, *, sum_of_file: str) -> None:
    """Write some rows of a file as a file of the output, whose name follows from what is in it."""
    digest = hashlib.sha256(sum_of_file.encode() + file.rows.tobytes()).hexdigest()[:16]
    name = f"samples/{source.manifest.run_id}-{digest}.parquet"
    if not output.storage.is_file(name):
        with output.storage.atomic_file(name) as sink:
            pa.parquet.write_table(source.folder.read_rows(file.name, file.rows), sink)


def copy_logs(output: RunFolder, source: Source) -> int:
    """Copy the logs of samples that no output file of the source holds; returns their number. Not into output files: of a work unit that is
    under way the short samples are finished first, and pass@k of those would not be that of the run."""
    keys: set[Key] = set()
    for name, table in log_keys(source.folder.storage):
        keys |= set(zip(table["problem_id"].to_pylist(), table["sample_index"].to_pylist(), strict=True))
        copied = f"{LIVE}/{source.manifest.run_id}-{PurePosixPath(name).name}"
        if not output.storage.is_file(copied):
            output.storage.write(copied, source.folder.storage.read(name))
    return int((places_of(keys, source.folder) & ~source.folder.sample_index().answered_PN).sum())


def copy_verdicts(output: RunFolder, source: Source, verification: str) -> None:
    """Copy the verdicts of a verification that every source has."""
    folder = f"{VERDICTS}/{verification}"
    output.storage.make_folder(folder)
    for name in source.folder.files(folder):
        content = source.folder.storage.read(name)
        copied = f"{folder}/{source.manifest.run_id}-{hashlib.sha256(content).hexdigest()[:16]}.parquet"
        if not output.storage.is_file(copied):
            output.storage.write(copied, content)


def record_merge(output: RunFolder, sources: Sequence[Source], merged: Sequence[MergedSource]) -> None:
    """Say in the output's manifest what was joined, unless it says so already."""
    known = output.sessions()
    for session in (session for source in sources for session in source.folder.sessions()):
        if session not in known:
            output.add_session(session)
    manifest = output.manifest()
    told = [{"path": source.path, "run_id": source.run_id, "sha256": source.sha256} for source in merged]
    before = [event.details["sources"] for event in manifest.events if event.kind == "merged"]
    if told not in before[-1:]:
        verification = sources[0].manifest.verification
        output.write_manifest(replace(manifest, verification=verification).with_event("merged", sources=told))
