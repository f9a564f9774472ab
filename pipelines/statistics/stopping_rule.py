"""When a problem has been drawn from enough: solved so often, or hopeless. Standard library only, so that `--help` is instant."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class StoppingRule:
    """When to stop drawing samples of a problem. Raises ValueError if the numbers do not fit each other."""

    successes: int
    """r: stop at this many correct samples, >= 1."""
    hopeless: int
    """m: stop after this many samples if none is correct, >= successes."""
    limit: int
    """Stop after this many samples in any case, >= hopeless."""

    def __post_init__(self) -> None:
        if not 1 <= self.successes <= self.hopeless <= self.limit:
            raise ValueError(
                "a stopping rule needs 1 <= successes <= hopeless <= limit; "
                f"got successes={self.successes}, hopeless={self.hopeless}, limit={self.limit}."
            )

    def allows(self, n: int, c: int) -> bool:
        """True if a problem with c correct of n samples has just stopped."""
        if c == 0:
            return n == self.hopeless
        return self.successes <= n <= self.limit and (c == self.successes or (c < self.successes and n == self.limit))
