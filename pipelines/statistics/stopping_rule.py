"""When to stop generating samples of a problem: after so many correct ones, or so many without any.

Standard library only, so that `--help` is instant.
"""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class StoppingRule:
    """When to stop generating samples of a problem. Raises ValueError if the numbers do not fit each other."""

    successes: int
    """r: stop at this many correct samples, >= 1."""
    give_up_after: int
    """m: stop after this many samples if none is correct, >= successes."""
    limit: int
    """Stop after this many samples in any case, >= give_up_after."""

    def __post_init__(self) -> None:
        if not 1 <= self.successes <= self.give_up_after <= self.limit:
            raise ValueError(
                "a stopping rule needs 1 <= successes <= give_up_after <= limit; "
                f"got successes={self.successes}, give_up_after={self.give_up_after}, limit={self.limit}."
            )

    def allows(self, n: int, c: int) -> bool:
        """True if a problem with c correct of n samples has just stopped."""
        if c == 0:
            return n == self.give_up_after
        return self.successes <= n <= self.limit and (c == self.successes or (c < self.successes and n == self.limit))
