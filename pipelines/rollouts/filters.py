"""Which groups and rollouts are exported. Groups first, then rollouts; what is left out is counted."""

from collections.abc import Callable, Iterable
from dataclasses import replace

from pipelines.rollouts.config import FilterConfig
from pipelines.rollouts.rollout import Rollout, RolloutGroup


def drops_group(group: RolloutGroup, config: FilterConfig) -> str | None:
    """Why a group is left out; None if it is kept."""
    correct = [rollout.is_correct for rollout in group.rollouts]
    if config.drop_all_correct and correct and all(correct):
        return "groups with all answers correct"
    if config.drop_all_wrong and correct and not any(correct):
        return "groups without a correct answer"
    return None


def filtered_rollouts(
    group: RolloutGroup, config: FilterConfig, *, ends_responses: bool, dropped: dict[str, int]
) -> RolloutGroup:
    """The group with the rollouts that are kept; `dropped` counts the others by why."""
    keeps_truncated = config.truncated == "keep" or (config.truncated == "auto" and not ends_responses)
    limit = config.max_tokens

    def is_long_enough(rollout: Rollout) -> bool:
        return len(rollout.response_token_ids) >= config.min_tokens

    def is_short_enough(rollout: Rollout) -> bool:
        return limit is None or len(rollout.response_token_ids) <= limit

    steps: list[tuple[str, Callable[[list[Rollout]], list[Rollout]]]] = [
        ("truncated responses", lambda kept: [r for r in kept if keeps_truncated or not r.is_truncated]),
        ("responses that are too short", lambda kept: list(filter(is_long_enough, kept))),
        ("responses that are too long", lambda kept: list(filter(is_short_enough, kept))),
        ("duplicates", lambda kept: distinct(kept) if config.deduplicate else kept),
        ("rollouts beyond the best", lambda kept: kept if config.best is None else best(kept, config.best)),
    ]
    kept = list(group.rollouts)
    for reason, step in steps:
        before = len(kept)
        kept = step(kept)
        dropped[reason] = dropped.get(reason, 0) + before - len(kept)
    return replace(group, rollouts=tuple(kept))


def distinct(rollouts: Iterable[Rollout]) -> list[Rollout]:
    """The first rollout of each sequence of response tokens."""
    by_tokens: dict[bytes, Rollout] = {}
    for rollout in rollouts:
        by_tokens.setdefault(rollout.response_token_ids.tobytes(), rollout)
    return list(by_tokens.values())


def best(rollouts: list[Rollout], count: int) -> list[Rollout]:
    """The `count` rollouts of the highest reward, in launch order; of equal rewards the first."""
    ranked = sorted(rollouts, key=lambda rollout: -(rollout.reward or 0.0))[:count]
    return sorted(ranked, key=lambda rollout: rollout.sample_index)
