"""Keeps an activity to a share of the time: after each piece of work it backs off in proportion to what the work cost."""

MAX_BACKOFF_S = 5.0
"""Longest wait: one piece of work that cost far more than most, such as a garbage collection, must not stop the activity for long."""


class RateLimit:
    """Decides when the next piece of work is due. All times are seconds of one clock."""

    def __init__(self, share: float) -> None:
        """`share` in (0, 1]: largest part of the time that the work may take in the long run."""
        self._backoff_per_work = 1 / share - 1
        self.due_at = 0.0
        """When the next piece of work may begin."""

    def is_due(self, now: float) -> bool:
        """True once the work so far is within its share."""
        return now >= self.due_at

    def spend(self, now: float, cost: float) -> None:
        """Work that took `cost` has ended. Several pieces in a row add up."""
        self.due_at = min(max(self.due_at, now) + cost * self._backoff_per_work, now + MAX_BACKOFF_S)
