"""What stopping early came to: how problems ended, what was drawn of what could have been, and pass@k that allows for the rule."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pipelines.runs.early_stopping import Stop
from pipelines.runs.finished_sample import FinishedSample
from pipelines.runs.folder import Session
from pipelines.statistics.adaptive import adaptive_curve
from pipelines.statistics.pass_at_k import PassAtK
from pipelines.statistics.stopping_rule import StoppingRule

RENAMED = {"hopeless": "give_up_after", "surplus_samples": "discarded_samples"}
"""Keys of summary.json that older versions wrote."""


@dataclass(frozen=True, kw_only=True, slots=True)
class StoppingSummary:
    """An adaptive run in numbers, of the problems that stopped."""

    successes: int
    """The rule: correct samples that stop a problem."""
    give_up_after: int
    """The rule: samples without a correct one that stop a problem."""
    solved: int
    """Problems stopped for so many correct samples."""
    given_up: int
    """Problems given up: no correct sample among the first `give_up_after`."""
    exhausted: int
    """Problems with too few correct samples after all that could be generated."""
    counted_samples: int
    """Samples up to the stops: what estimates are made from."""
    discarded_samples: int
    """Finished samples behind the stops."""
    cancelled_samples: int
    """Samples that were begun and aborted, over completed sessions."""
    cancelled_tokens: int
    """Tokens they had come to."""
    saved_tokens: int
    """Tokens that all samples would have taken on top of all that were drawn, if each problem's missing samples had its usual length."""
    saved_share: float
    """The same as a share of what all samples would have taken."""

    @classmethod
    def from_dict(cls, plain: dict[str, Any]) -> "StoppingSummary":
        """From summary.json of this version, or of one before two numbers were renamed."""
        return cls(**{RENAMED.get(name, name): value for name, value in plain.items()})


def stopping_summary(
    rule: StoppingRule, stops: dict[str, Stop], samples: Sequence[FinishedSample], sessions: list[Session]
) -> StoppingSummary:
    """Count what was drawn, and about how much was not. Raises ValueError if no problem stopped."""
    if not stops:
        raise ValueError("no problem has stopped, so there is nothing to sum up.")
    cancelled_tokens = sum(shard["cancelled_tokens"] for session in sessions for shard in session.shards)
    tokens_of: dict[str, list[int]] = defaultdict(list)
    for sample in samples:
        tokens_of[sample.problem_id].append(sample.num_tokens)
    full = sum(rule.limit * sum(tokens_of[problem]) / len(tokens_of[problem]) for problem in stops)
    spent = sum(sum(tokens_of[problem]) for problem in stops) + cancelled_tokens
    counted = sum(stop.samples for stop in stops.values())
    ended = [stop.correct for stop in stops.values()]
    return StoppingSummary(
        successes=rule.successes,
        give_up_after=rule.give_up_after,
        solved=sum(correct == rule.successes for correct in ended),
        given_up=ended.count(0),
        exhausted=sum(0 < correct < rule.successes for correct in ended),
        counted_samples=counted,
        discarded_samples=sum(len(tokens_of[problem]) for problem in stops) - counted,
        cancelled_samples=sum(shard["cancelled_samples"] for session in sessions for shard in session.shards),
        cancelled_tokens=cancelled_tokens,
        saved_tokens=round(full - spent),
        saved_share=(full - spent) / full if full else 0.0,
    )


def adaptive_pass_at(stops: Sequence[Stop], ks: Sequence[int], rule: StoppingRule) -> list[PassAtK]:
    """pass@k that allows for the rule: see pipelines/statistics/adaptive.py for what it assumes."""
    curve = adaptive_curve([stop.samples for stop in stops], [stop.correct for stop in stops], list(ks), rule)
    return [
        PassAtK(
            k=k,
            estimate=interval.estimate,
            low=interval.low,
            high=interval.high,
            num_problems=len(stops),
            group_size=None,
            method=interval.method,
        )
        for k, interval in zip(ks, curve, strict=True)
    ]
