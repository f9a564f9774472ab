"""Where problems stop early, decided from verdicts in launch order; pipelines/stages/early_stopping.py acts on it.

Promise: a problem stops at the first place in launch order at which the rule holds, with every verdict up to there known, whatever order
samples finish in. Otherwise quick answers would decide, and answers that are quick are not like the others. A sample behind that place is
discarded: estimators never see it. So where a problem stops follows from the stored samples and the stored rule alone.
"""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from pipelines.runs.finished_sample import FinishedSample
from pipelines.statistics.stopping_rule import StoppingRule


@dataclass(frozen=True, kw_only=True, slots=True)
class Stop:
    """Where a problem stopped."""

    samples: int
    """n: the samples 0 ... n-1 count, in launch order."""
    correct: int
    """c of them."""


@dataclass(slots=True)
class Prefix:
    """What is known of a problem without a gap."""

    length: int = 0
    correct: int = 0
    stop: Stop | None = None


class StoppingTracker:
    """Verdicts in, in any order; stops out, decided in launch order."""

    def __init__(self, rule: StoppingRule) -> None:
        self._rule = rule
        self._ahead: dict[str, dict[int, bool]] = defaultdict(dict)
        self._prefixes: dict[str, Prefix] = defaultdict(Prefix)

    def record(self, problem_id: str, sample_index: int, is_correct: bool) -> bool:
        """Take a verdict; True if the problem stops with it. A sample that is recorded again changes nothing."""
        prefix, ahead = self._prefixes[problem_id], self._ahead[problem_id]
        if prefix.stop is not None or sample_index < prefix.length:
            return False
        ahead.setdefault(sample_index, is_correct)
        while prefix.length in ahead:
            prefix.correct += ahead.pop(prefix.length)
            prefix.length += 1
            if self._rule.allows(prefix.length, prefix.correct):
                prefix.stop = Stop(samples=prefix.length, correct=prefix.correct)
                del self._ahead[problem_id]
                return True
        return False

    def stops(self) -> dict[str, Stop]:
        """Where each problem stopped, of those that did."""
        return {problem_id: prefix.stop for problem_id, prefix in self._prefixes.items() if prefix.stop is not None}

    def has_stopped(self, problem_id: str) -> bool:
        """True if nothing more of this problem is wanted."""
        return problem_id in self._prefixes and self._prefixes[problem_id].stop is not None


def stops_of(samples: Iterable[FinishedSample], rule: StoppingRule) -> dict[str, Stop]:
    """Where the problems of stored samples stopped. A sample that could not be generated counts as not correct, as it does in every run."""
    tracker = StoppingTracker(rule)
    for sample in samples:
        tracker.record(sample.problem_id, sample.sample_index, sample.is_correct)
    return tracker.stops()
