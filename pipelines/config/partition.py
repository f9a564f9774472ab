"""The part of a run that is drawn in one place, where several places share it; `jobs.merge` joins them.

Every place plans the whole run, so all agree on samples and seeds; a part only says which units are drawn here.

    --part 2/4                      problems 1, 5, 9, ... (from 0), all their samples
    --part 2/4 --part-by samples    every fourth unit of each problem's samples, from the second on
"""

import re
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from pipelines.errors import InputError

PartBy = Literal["problems", "samples"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Part:
    """Which of a run's units are drawn here."""

    number: int = 1
    """From 1."""
    parts: int = 1
    by: PartBy = "problems"

    def holds(self, problem_U: npt.NDArray[np.int64], unit_U: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
        """[U] True for units that are drawn here. `problem_U`: place of the unit's problem; `unit_U`: of the unit in its problem."""
        return (problem_U if self.by == "problems" else unit_U) % self.parts == self.number - 1

    def count(self, num_problems: int, units_per_problem: int) -> int:
        """Units that are drawn here."""
        if self.by == "problems":
            return len(range(self.number - 1, num_problems, self.parts)) * units_per_problem
        return num_problems * len(range(self.number - 1, units_per_problem, self.parts))


def parse_part(text: str | None, by: PartBy) -> Part:
    """ "2/4" as a part; None is the whole run. Raises InputError on anything else."""
    if text is None:
        return Part(by=by)
    match = re.fullmatch(r"([1-9][0-9]*)/([1-9][0-9]*)", text)
    if match is None or int(match[1]) > int(match[2]):
        raise InputError(f"part must be such as 2/4, the second of four parts; got {text!r}.")
    return Part(number=int(match[1]), parts=int(match[2]), by=by)
