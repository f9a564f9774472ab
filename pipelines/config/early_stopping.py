"""Early stopping: what a user may set about stopping early."""

from dataclasses import dataclass

from pipelines.errors import InputError
from pipelines.statistics.stopping_rule import StoppingRule

WORK_UNITS_PER_PROBLEM = 8
"""Work units that the samples of an adaptive run's problem are split into, unless the run says otherwise."""


@dataclass(frozen=True, kw_only=True, slots=True)
class StoppingConfig:
    """When to stop generating samples of a problem. Raises InputError on values that contradict each other."""

    successes: int | None = None
    """Stop a problem at this many correct samples, >= 1; by default never, and all samples are drawn."""
    give_up_after: int | None = None
    """Give a problem up after this many samples if none is correct, >= successes; by default never. pass@k is defined up to here."""

    def __post_init__(self) -> None:
        if self.give_up_after is not None and self.successes is None:
            raise InputError("stop.give_up_after is one half of a rule; give --stop.successes (such as 1) as well.")
        if self.successes is not None and self.successes < 1:
            raise InputError(f"stop.successes must be >= 1; got {self.successes}. Leave it out to draw all samples.")

    def rule(self, samples: int) -> StoppingRule | None:
        """The rule for so many samples at most; None to draw them all. Raises InputError if the numbers do not fit each other."""
        if self.successes is None:
            return None
        give_up_after = samples if self.give_up_after is None else self.give_up_after
        if not self.successes <= give_up_after <= samples:
            raise InputError(
                "stopping early needs stop.successes <= stop.give_up_after <= samples; "
                f"got {self.successes}, {give_up_after} and {samples}."
            )
        return StoppingRule(successes=self.successes, give_up_after=give_up_after, limit=samples)
