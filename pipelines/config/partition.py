"""The partition of a run that is generated in one place, where several places share it; `jobs.merge` joins them.

Every place plans the whole run, so all agree on samples and seeds; a partition only says which work units are generated here.

    --partition 2/4                      problems 1, 5, 9, ... (from 0), all their samples
    --partition 2/4 --partition-by samples    every fourth unit of each problem's samples, from the second on
"""

import re
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from pipelines.errors import InputError

PartitionBy = Literal["problems", "samples"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Partition:
    """Which of a run's work units are generated here."""

    number: int = 1
    """From 1."""
    of: int = 1
    """Partitions of the run."""
    by: PartitionBy = "problems"

    def holds(self, problem_U: npt.NDArray[np.int64], unit_U: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
        """[U] True for work units that are generated here. `problem_U`: index of the unit's problem; `unit_U`: of the unit in it."""
        return (problem_U if self.by == "problems" else unit_U) % self.of == self.number - 1

    def count(self, num_problems: int, units_per_problem: int) -> int:
        """Work units that are generated here."""
        if self.by == "problems":
            return len(range(self.number - 1, num_problems, self.of)) * units_per_problem
        return num_problems * len(range(self.number - 1, units_per_problem, self.of))


def parse_partition(text: str | None, by: PartitionBy) -> Partition:
    """ "2/4" as a partition; None is the whole run. Raises InputError on anything else."""
    if text is None:
        return Partition(by=by)
    match = re.fullmatch(r"([1-9][0-9]*)/([1-9][0-9]*)", text)
    if match is None or int(match[1]) > int(match[2]):
        raise InputError(f"partition must be such as 2/4, the second of four partitions; got {text!r}.")
    return Partition(number=int(match[1]), of=int(match[2]), by=by)
