"""Where a run is when a session begins: what earlier sessions left, and what this one has to generate.

Legend: P problems, N samples of each in launch order.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from pipelines.live.log import Key, LiveSamples
from pipelines.runs.finished_sample import FinishedSample
from pipelines.runs.folder import RunFolder
from pipelines.runs.manifest import Manifest
from pipelines.runs.plan import work_unit_groups
from pipelines.verifiers.verdict import VerdictStatus

MISSING_SCHEMA = pa.schema({"problem_id": pa.string(), "missing": pa.list_(pa.int32()), "solved": pa.bool_()})
COLUMNS = ["problem_id", "num_tokens", "status", "finish_reason", "error"]


@dataclass(frozen=True, kw_only=True, slots=True)
class RunPosition:
    """A run, or the partition of it that is generated here, at the begin of a session. Of samples only those that hold an answer."""

    problems: int = 0
    """All of them; 0 where problems are not counted, as when answers are scored again."""
    samples: int = 0
    """Planned samples; those that early stopping has made needless are left out."""
    max_tokens: int | None = None
    """Longest answer; None where nothing is generated."""
    finished: int = 0
    """Samples that are on disk."""
    solved: int = 0
    truncated: int = 0
    timeouts: int = 0
    tokens: int = 0
    squared_tokens: int = 0
    """Sum of the squares of the answers' lengths, for their spread."""
    missing: pa.Table = field(default_factory=MISSING_SCHEMA.empty_table)
    """A row of each problem that lacks samples: its id, their indices, and whether it has a correct one already."""


def run_position(folder: RunFolder, manifest: Manifest, *, saved: Sequence[FinishedSample] = ()) -> RunPosition:
    """Where the run is, over all its extension rounds. Reads four small columns of the samples, a file at a time.

    `saved`: samples that hold an answer and are not in the output files yet.
    """
    index, ids = folder.sample_index(), folder.problem_ids()
    keys = [(sample.problem_id, sample.sample_index) for sample in saved]
    has_answer_PN = index.answered_PN | places_of(keys, folder)
    here_PN = generated_here(folder, manifest)
    answered_PN = here_PN & has_answer_PN
    missing_PN = here_PN & ~has_answer_PN & ~folder.stopped(manifest)[:, None]
    solved_ids = {sample.problem_id for sample in saved if sample.is_correct}
    tokens = sum(sample.num_tokens for sample in saved)
    squared = sum(sample.num_tokens**2 for sample in saved)
    truncated = sum(sample.is_truncated for sample in saved)
    timeouts = sum(sample.is_timeout for sample in saved)
    for table in folder.sample_tables(COLUMNS) if index.num_rows else ():
        answers = table.filter(table["error"].is_null())
        lengths = answers["num_tokens"].to_numpy().astype(np.int64)
        tokens += int(lengths.sum())
        squared += int((lengths**2).sum())
        truncated += pc.sum(pc.equal(answers["finish_reason"], "length")).as_py() or 0
        timeouts += pc.sum(pc.equal(answers["status"], VerdictStatus.TIMEOUT.value)).as_py() or 0
        is_correct = pc.equal(answers["status"], VerdictStatus.CORRECT.value)
        solved_ids |= set(pc.unique(answers.filter(is_correct)["problem_id"]).to_pylist())
    lacking = np.flatnonzero(missing_PN.any(axis=1))
    return RunPosition(
        problems=int(here_PN.any(axis=1).sum()),
        samples=int(answered_PN.sum() + missing_PN.sum()),
        max_tokens=manifest.config.sampling.max_tokens,
        finished=int(answered_PN.sum()),
        solved=len(solved_ids),
        truncated=truncated,
        timeouts=timeouts,
        tokens=tokens,
        squared_tokens=squared,
        missing=pa.table(
            {
                "problem_id": ids.take(pa.array(lacking)),
                "missing": [np.flatnonzero(missing_PN[problem]) for problem in lacking],
                "solved": [ids[problem].as_py() in solved_ids for problem in lacking],
            },
            schema=MISSING_SCHEMA,
        ),
    )


def lacks_samples(folder: RunFolder, manifest: Manifest) -> bool:
    """True if a session has something to generate; False if all it needs lies in live/, and only verdicts or output files are missing."""
    if not folder.is_planned(manifest):
        return True
    done_PN = folder.sample_index().answered_PN | places_of(LiveSamples(folder.storage).keys(), folder)
    return bool((generated_here(folder, manifest) & ~done_PN & ~folder.stopped(manifest)[:, None]).any())


def generated_here(folder: RunFolder, manifest: Manifest) -> npt.NDArray[np.bool_]:
    """[P, N] True for samples of the partition that the manifest's config names."""
    num_problems, num_samples = shape = folder.sample_index().answered_PN.shape
    starts = [unit.start for units in work_unit_groups(manifest.config, manifest.rounds) for unit in units]
    unit_N = np.searchsorted(starts, np.arange(num_samples), side="right") - 1
    partition = manifest.config.run_partition
    return np.broadcast_to(partition.holds(np.arange(num_problems)[:, None], unit_N[None, :]), shape)


def places_of(keys: Collection[Key], folder: RunFolder) -> npt.NDArray[np.bool_]:
    """[P, N] True for the samples that `keys` names."""
    place_PN = np.zeros(folder.sample_index().answered_PN.shape, dtype=np.bool_)
    problem_R = pc.index_in(
        pa.array([problem_id for problem_id, _ in keys], pa.string()), value_set=folder.problem_ids()
    )
    place_PN[problem_R.to_numpy(zero_copy_only=False), [index for _, index in keys]] = True
    return place_PN
