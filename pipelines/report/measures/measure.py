"""A measure: one row of the report's tables, with a value and an interval for each condition."""

from dataclasses import dataclass
from typing import Literal

from pipelines.statistics.interval import Interval

Unit = Literal["share", "number"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Measure:
    """One row of a table of measures."""

    name: str
    question: str
    """The question it answers, in a few words."""
    unit: Unit
    values: list[Interval]
    """One per condition."""
    k: int | None = None
    """For measures of k samples."""
