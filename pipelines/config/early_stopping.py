"""Adaptive k: what a user may set about stopping early."""

from dataclasses import dataclass

from pipelines.errors import InputError
from pipelines.statistics.stopping_rule import StoppingRule

WAVES = 8
"""Units of work that the samples of an adaptive run's problem are split into, unless the run says otherwise."""


@dataclass(frozen=True, kw_only=True, slots=True)
class StoppingConfig:
    """When to stop drawing samples of a problem. Raises InputError on values that contradict each other."""

    successes: int | None = None
    """Stop a problem at this many correct samples, >= 1; by default never, and all samples are drawn."""
    hopeless: int | None = None
    """Give a problem up after this many samples if none is correct, >= successes; by default never. pass@k is defined up to here."""

    def __post_init__(self) -> None:
        if self.hopeless is not None and self.successes is None:
            raise InputError("stop.hopeless is one half of a rule; give --stop.successes (such as 1) as well.")
        if self.successes is not None and self.successes < 1:
            raise InputError(f"stop.successes must be >= 1; got {self.successes}. Leave it out to draw all samples.")

    def rule(self, samples: int) -> StoppingRule | None:
        """The rule for so many samples at most; None to draw them all. Raises InputError if the numbers do not fit each other."""
        if self.successes is None:
            return None
        hopeless = samples if self.hopeless is None else self.hopeless
        if not self.successes <= hopeless <= samples:
            raise InputError(
                "stopping early needs stop.successes <= stop.hopeless <= samples; "
                f"got {self.successes}, {hopeless} and {samples}."
            )
        return StoppingRule(successes=self.successes, give_up_after=hopeless, limit=samples)
