"""Which groups and rollouts are exported. Groups first, then rollouts; what is left out is counted."""

from collections.abc import Iterable
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


def drops_rollout(rollout: Rollout, config: FilterConfig, *, ends_responses: bool) -> str | None:
    """Why a rollout is left out whatever its siblings are; None if it is kept. `ends_responses`: see Format."""
    num_tokens = len(rollout.response_token_ids)
    drops_truncated = config.truncated == "drop" or (config.truncated == "auto" and ends_responses)
    if rollout.is_truncated and drops_truncated:
        return "truncated responses"
    if num_tokens < config.min_tokens:
        return "responses that are too short"
    if config.max_tokens is not None and num_tokens > config.max_tokens:
        return "responses that are too long"
    return None


def filtered_rollouts(
    group: RolloutGroup, config: FilterConfig, *, ends_responses: bool, dropped: dict[str, int]
) -> RolloutGroup:
    """The group with the rollouts that are kept; `dropped` counts the others by why."""

    def count(reason: str, number: int) -> None:
        dropped[reason] = dropped.get(reason, 0) + number

    kept = []
    for rollout in group.rollouts:
        reason = drops_rollout(rollout, config, ends_responses=ends_responses)
        if reason is None:
            kept.append(rollout)
        else:
            count(reason, 1)
    if config.deduplicate:
        different = distinct(kept)
        count("duplicates", len(kept) - len(different))
        kept = different
    if config.best is not None:
        count("rollouts beyond the best", max(0, len(kept) - config.best))
        kept = best(kept, config.best)
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
