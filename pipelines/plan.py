"""The plan of a run: one row per unit of work, fixed before anything is drawn, kept as Parquet in the run folder. Reference answers are
not in it, since no sample is drawn by them: see answers.py.

A unit is one problem and a chunk of its samples (all of them, by default). Seeds are part of the plan, so a unit that is run again, on
whatever shard, draws from the same seeds.

Units are launched in the plan's order. A run that draws all samples takes problem after problem. An adaptive run takes as many problems
side by side as its shards have in flight, and their units in turns, so that the verdicts on one are known when the next is due:

    a#0 b#0 c#0   a#8 b#8 c#8   a#16 b#16 c#16   then d, e, f
"""

import hashlib
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import product

import pyarrow as pa

from actors.types import WorkUnit
from pipelines.config import RunConfig
from pipelines.problems import Problem

PLAN_SCHEMA = pa.schema(
    {
        "unit_id": pa.string(),
        "problem_id": pa.string(),
        "problem": pa.string(),
        "prompt": pa.string(),
        "sample_indices": pa.list_(pa.int32()),
        "seeds": pa.list_(pa.int64()),
    }
)


@dataclass(frozen=True, kw_only=True, slots=True)
class PlannedUnit:
    """A unit of work and the problem it belongs to."""

    work: WorkUnit
    problem: Problem


def plan_units(problems: Iterable[Problem], prompts: Iterable[str], config: RunConfig) -> list[PlannedUnit]:
    """Units of a run, in launch order; `prompts` are the problems' formatted prompts."""
    size, samples = config.unit_size, config.samples
    asked = list(zip(problems, prompts, strict=True))
    abreast = problems_abreast(config)
    return [
        PlannedUnit(problem=problem, work=make_unit(problem, prompt, first, min(size, samples - first), config.seed))
        for start in range(0, len(asked), abreast)
        for first, (problem, prompt) in product(range(0, samples, size), asked[start : start + abreast])
    ]


def problems_abreast(config: RunConfig) -> int:
    """Problems whose units are taken in turns: as many as are in flight, and as units are drawn in one call, since their verdicts come
    when the last of them has ended."""
    return 1 if config.stopping_rule is None else max(config.units_per_part, config.shards * units_in_flight(config))


def units_in_flight(config: RunConfig) -> int:
    """Units one shard is given at a time: its batch twice over, so that it never runs dry; while exploring never more than there
    are Distiller slots, since a problem without a slot stays vanilla."""
    wanted = math.ceil(2 * config.engine.max_num_seqs / config.unit_size)
    return max(1, min(wanted, config.esamp.max_groups) if config.beta > 0 else wanted)


def make_unit(problem: Problem, prompt: str, first: int, count: int, run_seed: int) -> WorkUnit:
    """Samples first, first+1, ... of a problem."""
    indices = tuple(range(first, first + count))
    return WorkUnit(
        unit_id=f"{problem.problem_id}#{first}",
        problem_id=problem.problem_id,
        prompt=prompt,
        sample_indices=indices,
        seeds=tuple(sample_seed(run_seed, problem.problem_id, index) for index in indices),
    )


def sample_seed(run_seed: int, problem_id: str, sample_index: int) -> int:
    """Seed in [0, 2^31) of one sample: the same on every machine, whatever the order and number of problems."""
    digest = hashlib.sha256(f"{run_seed}/{problem_id}/{sample_index}".encode()).digest()
    return int.from_bytes(digest[:4], "big") >> 1


def plan_table(units: Iterable[PlannedUnit]) -> pa.Table:
    """The plan as it is stored."""
    rows = [
        {
            "unit_id": unit.work.unit_id,
            "problem_id": unit.problem.problem_id,
            "problem": unit.problem.text,
            "prompt": unit.work.prompt,
            "sample_indices": unit.work.sample_indices,
            "seeds": unit.work.seeds,
        }
        for unit in units
    ]
    return pa.Table.from_pylist(rows, schema=PLAN_SCHEMA)


@dataclass(frozen=True, kw_only=True, slots=True)
class StoredUnit:
    """A unit of work as the stored plan has it."""

    work: WorkUnit
    text: str
    """The problem, without the prompt around it."""


def stored_units(table: pa.Table) -> Iterator[StoredUnit]:
    """The units of a stored plan, or of a batch of it."""
    for row in table.to_pylist():
        yield StoredUnit(
            text=row["problem"],
            work=WorkUnit(
                unit_id=row["unit_id"],
                problem_id=row["problem_id"],
                prompt=row["prompt"],
                sample_indices=tuple(row["sample_indices"]),
                seeds=tuple(row["seeds"]),
            ),
        )
