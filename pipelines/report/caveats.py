"""Caveats of the numbers in a report, each shown only where it applies."""

from collections.abc import Iterator

import numpy as np

from pipelines.config.samplers import SAMPLERS
from pipelines.report.readable_samples import Reading
from pipelines.report.run_set import Condition, RunSet
from pipelines.runs.counters import actor_warnings, counters_of
from pipelines.runs.summary import in_words as groups_in_words
from pipelines.statistics.dependent_samples.exchangeability import Exchangeability

ORDER_LEVEL = 0.05
"""Launch order counts as mattering below this p-value."""


def caveats(run_set: RunSet, orders: list[Exchangeability], reading: Reading) -> list[str]:
    """All that apply."""
    return [
        *about_samples(run_set, orders),
        *about_completeness(run_set),
        *about_actors(run_set),
        *about_reading(reading),
    ]


def about_samples(run_set: RunSet, orders: list[Exchangeability]) -> Iterator[str]:
    """Dependence, launch order, replicates, group sizes."""
    exploring = [condition.name for condition in run_set.conditions if depends_on_siblings(condition)]
    if exploring:
        yield (
            f"Samples of one prompt depend on each other under {', '.join(exploring)}. pass@k is that of a random k-subset of the group "
            "that was generated; it does not estimate the result of smaller groups."
        )
    samplers = dict.fromkeys(condition.config.sampler for condition in run_set.conditions)
    yield from (f"{sampler}: {caveat}" for sampler in samplers for caveat in SAMPLERS[sampler].caveats)
    for run in (run for condition in run_set.conditions for run in condition.runs if run.manifest.extended_from):
        yield (
            f"{run.path} was extended ({' -> '.join(map(str, run.manifest.rounds))} samples): each extension is a group of its own, so its "
            f"pass@k is that of k out of {groups_in_words(run.manifest.group_sizes)}, not of one group of {run.group_size}."
        )
    for condition, order in zip(run_set.conditions, orders, strict=True):
        if order.misleads(ORDER_LEVEL):
            yield (
                f"Launch order matters under {condition.name} (p = {order.p_value:.2g}): for k below the group size, read the first-k rows "
                "rather than pass@k if you mean to stop early."
            )
    single = [condition.name for condition in run_set.conditions if len(condition.runs) == 1]
    if single:
        yield (
            f"One run each of {', '.join(single)}: intervals cover the variance of problems and samples, not the variance between runs. "
            "Runs with other seeds would show it."
        )
    if len({condition.group_size for condition in run_set.conditions}) > 1:
        yield "Groups differ in size. Differences are given only where a sampler's groups are as large as the baseline's."
    budgets = {condition.config.sampling.max_tokens for condition in run_set.conditions}
    if len(budgets) > 1:
        yield f"Token budgets differ (max_tokens {', '.join(map(str, sorted(budgets)))}): part of a difference may come from that."


def depends_on_siblings(condition: Condition) -> bool:
    """True if a sample's tokens depend on those of other samples of its prompt, in no order that an estimate could use."""
    return condition.couples_samples and not condition.config.siblings_form_sequence


def about_completeness(run_set: RunSet) -> Iterator[str]:
    """Problems and samples that are missing."""
    for condition in run_set.conditions:
        for run in condition.runs:
            if run.unfinished:
                yield f"{run.path} has {run.unfinished} unfinished problems, which are left out."
            errors = int((run.status_PN == "error").sum())
            if errors:
                yield f"{run.path} has {errors} samples that failed; they count as not correct."
    if run_set.left_out:
        yield f"{run_set.left_out} problems that not every run has finished are left out of all numbers."


def about_actors(run_set: RunSet) -> Iterator[str]:
    """What shards, trainers and the router warned of while the runs were made, once each with its count; and answers that were cut off."""
    for run in (run for condition in run_set.conditions for run in condition.runs):
        for name, counter in counters_of():
            if counter.warning and (count := counter.total(run.sessions)):
                yield f"{run.path}: {name.replace('_', ' ')}: {count}. {counter.help}"
        for warning in actor_warnings(run.sessions):
            yield f"{run.path}: {warning}"


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


def launch_order_text(order: Exchangeability) -> str:
    """What the test of launch order found."""
    if np.isnan(order.p_value):
        return "no problem has both correct and wrong samples, so nothing can be said"
    found = "launch order matters" if order.misleads(ORDER_LEVEL) else "no effect of launch order was found"
    return (
        f"{found} (p = {order.p_value:.2g}, {order.num_problems} problems; trend {order.trend:+.1f}, first sample {order.first:+.1f}, "
        f"neighbours {order.neighbours:+.1f} standard deviations)"
    )
