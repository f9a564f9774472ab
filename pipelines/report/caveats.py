"""What a reader of the numbers must know, said only where it applies."""

from collections.abc import Iterator

import numpy as np

from esamp.baselines.config import OverrideConfig
from esamp.config import ESampConfig
from pipelines.report.reading import Reading
from pipelines.report.run_set import Arm, Evidence
from pipelines.runs.summary import in_words as groups_in_words
from pipelines.statistics.exchangeability import Exchangeability

ORDER_LEVEL = 0.05
"""Launch order counts as mattering below this p-value."""


def caveats(evidence: Evidence, orders: list[Exchangeability], reading: Reading) -> list[str]:
    """All that apply."""
    return [
        *about_samples(evidence, orders),
        *about_completeness(evidence),
        *about_reading(reading),
    ]


def about_samples(evidence: Evidence, orders: list[Exchangeability]) -> Iterator[str]:
    """Dependence, launch order, replicates, group sizes."""
    exploring = [arm.name for arm in evidence.arms if depends_on_siblings(arm)]
    if exploring:
        yield (
            f"Samples of one prompt depend on each other under {', '.join(exploring)}. pass@k is that of a random k-subset of the group "
            "that was drawn; it does not say what smaller groups would have given."
        )
    for run in (run for arm in evidence.arms for run in arm.runs if run.manifest.extended_from):
        yield (
            f"{run.path} was extended ({' -> '.join(map(str, run.manifest.rounds))} samples): each extension is a group of its own, so its "
            f"pass@k is that of k out of {groups_in_words(run.manifest.group_sizes)}, not of one group of {run.group_size}."
        )
    for arm, order in zip(evidence.arms, orders, strict=True):
        if order.misleads(ORDER_LEVEL):
            yield (
                f"Launch order matters under {arm.name} (p = {order.p_value:.2g}): for k below the group size, read the first-k rows "
                "rather than pass@k if you mean to stop early."
            )
    single = [arm.name for arm in evidence.arms if len(arm.runs) == 1]
    if single:
        yield (
            f"One run each of {', '.join(single)}: intervals cover the luck of problems and samples, not what all problems of a run share. "
            "Runs with other seeds would show the error between runs."
        )
    if len({arm.group_size for arm in evidence.arms}) > 1:
        yield "Groups differ in size. Differences are given only where a sampler's groups are as large as the baseline's."
    budgets = {arm.config.sampling.max_tokens for arm in evidence.arms}
    if len(budgets) > 1:
        yield f"Token budgets differ (max_tokens {', '.join(map(str, sorted(budgets)))}): part of a difference may be theirs."


def depends_on_siblings(arm: Arm) -> bool:
    """True if a sample's tokens depend on what other samples of its prompt drew."""
    policy = arm.config.policy
    if isinstance(policy, ESampConfig):
        return policy.beta > 0 and policy.trainer != "none"
    return isinstance(policy, OverrideConfig)


def about_completeness(evidence: Evidence) -> Iterator[str]:
    """Problems and samples that are missing."""
    for arm in evidence.arms:
        for run in arm.runs:
            if run.unfinished:
                yield f"{run.path} has {run.unfinished} unfinished problems, which are left out."
            errors = int((run.status_PN == "error").sum())
            if errors:
                yield f"{run.path} has {errors} samples that failed; they count as not correct."
    if evidence.left_out:
        yield f"{evidence.left_out} problems that not every run has finished are left out of all numbers."


def about_reading(reading: Reading) -> Iterator[str]:
    """Samples that cannot be read here, and marks that are missing."""
    if reading.samples_left_out:
        yield (
            f"{reading.samples_shown:,} samples can be read below; {reading.samples_left_out:,} are left out to keep this file small."
        )
    if reading.novelty_range is not None and not reading.has_tokenizer:
        yield "The model's tokenizer is not on this machine: samples are shown as text, without marks on intervened tokens."
    elif reading.unmarked:
        yield f"{reading.unmarked} samples shown could not be split into their tokens and have no marks."


def in_words(order: Exchangeability) -> str:
    """What the test of launch order found."""
    if np.isnan(order.p_value):
        return "no problem has both correct and wrong samples, so nothing can be said"
    found = "launch order matters" if order.misleads(ORDER_LEVEL) else "no effect of launch order was found"
    return (
        f"{found} (p = {order.p_value:.2g}, {order.num_problems} problems; trend {order.trend:+.1f}, first sample {order.first:+.1f}, "
        f"neighbours {order.neighbours:+.1f} standard deviations)"
    )
