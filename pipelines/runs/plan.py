"""The plan of a run: one row per work unit, fixed before anything is generated, kept as Parquet in the run folder. Reference answers are
not in it, since no sample is drawn by them: see reference_answers.py.

A work unit is one problem and a chunk of its samples (all of them, by default). Seeds are part of the plan, so a unit that is run again, on
whatever shard, draws from the same seeds.

    round 0    samples 0 to n-1 of every problem
    round 1    samples n to m-1, where the run was extended from n to m: other units, so other groups of siblings

Units are launched in the plan's order. A run that draws all samples takes problem after problem. An adaptive run takes as many problems
side by side as its shards have in flight, and their units in turns, so that the verdicts on one are known when the next is due:

    a#0 b#0 c#0   a#8 b#8 c#8   a#16 b#16 c#16   then d, e, f

Units are made one by one as they are asked for: a plan of a million units takes no more memory than its problems.
"""

import hashlib
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice, pairwise, product
from typing import BinaryIO

import pyarrow as pa
import pyarrow.parquet

from actors.types import WorkUnit
from pipelines.config.run import RunConfig
from pipelines.problems.problem import Problem

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

GROUP_UNITS = 4096
"""Work units in a row group of a stored plan: what is in memory while it is written or read."""
SMALL_FILE = 4
"""Work units in a file of a small run."""
MANY_FILES = 2000
"""Files from which on a run gets larger ones."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PlannedWorkUnit:
    """A work unit and the problem it belongs to."""

    work: WorkUnit
    problem: Problem


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """What a run shall generate."""

    problems: Sequence[Problem]
    format_prompt: Callable[[Problem], str]
    """The prompt around a problem."""
    rounds: list[list[range]]
    """Samples of a problem by extension round and by unit: see `work_unit_groups`."""
    concurrent_problems: int
    """Problems whose units are launched in turns."""
    seed: int

    @property
    def first_prompt(self) -> str:
        """The prompt of the first problem."""
        return self.format_prompt(self.problems[0])

    @property
    def num_units(self) -> int:
        """Units of all rounds."""
        return len(self.problems) * sum(map(len, self.rounds))

    def work_units(self, round_number: int = 0) -> Iterator[PlannedWorkUnit]:
        """Work units of an extension round, in launch order."""
        for start in range(0, len(self.problems), self.concurrent_problems):
            asked = [
                (problem, self.format_prompt(problem))
                for problem in self.problems[start : start + self.concurrent_problems]
            ]
            for samples, (problem, prompt) in product(self.rounds[round_number], asked):
                unit = make_work_unit(problem, prompt, samples.start, len(samples), self.seed)
                yield PlannedWorkUnit(problem=problem, work=unit)


def work_unit_groups(config: RunConfig, rounds: tuple[int, ...]) -> list[list[range]]:
    """The samples of a problem, by extension round and by work unit. `rounds`: samples per problem after each round."""
    return sample_groups(rounds, config.work_unit_size)


def sample_groups(rounds: tuple[int, ...], size: int) -> list[list[range]]:
    """The same with work units of `size` samples; a work unit never reaches over a round's end.

    >>> sample_groups((4, 10), 4)
    [[range(0, 4)], [range(4, 8), range(8, 10)]]
    """
    return [
        [range(start, min(start + size, end)) for start in range(first, end, size)]
        for first, end in pairwise((0, *rounds))
    ]


def plan_run(
    problems: Sequence[Problem],
    format_prompt: Callable[[Problem], str],
    config: RunConfig,
    *,
    extended_from: tuple[int, ...] = (),
) -> Plan:
    """The plan of a run; `extended_from` as in its manifest."""
    return Plan(
        problems=problems,
        format_prompt=format_prompt,
        rounds=work_unit_groups(config, (*extended_from, config.samples)),
        concurrent_problems=concurrent_problems(config),
        seed=config.seed,
    )


def work_units_in_flight(config: RunConfig) -> int:
    """Units one shard is given at a time: its batch twice over, so that it never runs dry; while exploring never more than there
    are Distiller slots, since a problem without a slot stays vanilla."""
    wanted = math.ceil(2 * config.engine.max_num_seqs / config.work_unit_size)
    is_limited = config.beta > 0 and not config.esamp.is_shared
    return max(1, min(wanted, config.esamp.max_groups) if is_limited else wanted)


def work_units_per_file(config: RunConfig, num_units: int) -> int:
    """Work units that are drawn in one call and saved together. By default few in a small run, which then loses little to a kill, and
    in a large one as many as keep it at some thousand files; never more than half of what is under way, so that a shard does not run dry.
    Few where problems stop early: the units of a call are launched together, so none of them waits for verdicts on the others."""
    if config.work_units_per_file is not None:
        return config.work_units_per_file
    if config.stopping_rule is not None:
        return SMALL_FILE
    return max(SMALL_FILE, min(num_units // MANY_FILES, work_units_in_flight(config) // 2))


def concurrent_problems(config: RunConfig) -> int:
    """Problems whose units are taken in turns: as many as are in flight, and as units are drawn in one call, since those are
    launched together."""
    if config.stopping_rule is None:
        return 1
    return max(work_units_per_file(config, 0), config.shards * work_units_in_flight(config))


def make_work_unit(problem: Problem, prompt: str, first: int, count: int, run_seed: int) -> WorkUnit:
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


def write_plan(file: BinaryIO, units: Iterator[PlannedWorkUnit]) -> None:
    """Write units as Parquet, a row group at a time."""
    with pa.parquet.ParquetWriter(file, PLAN_SCHEMA, compression="zstd") as writer:
        while group := list(islice(units, GROUP_UNITS)):
            writer.write_table(plan_table(group))


def plan_table(units: Iterable[PlannedWorkUnit]) -> pa.Table:
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
class StoredWorkUnit:
    """A work unit as the stored plan has it."""

    work: WorkUnit
    text: str
    """The problem, without the prompt around it."""


def stored_work_units(table: pa.Table) -> Iterator[StoredWorkUnit]:
    """The units of a stored plan, or of a batch of it."""
    for row in table.to_pylist():
        yield StoredWorkUnit(
            text=row["problem"],
            work=WorkUnit(
                unit_id=row["unit_id"],
                problem_id=row["problem_id"],
                prompt=row["prompt"],
                sample_indices=tuple(row["sample_indices"]),
                seeds=tuple(row["seeds"]),
            ),
        )
