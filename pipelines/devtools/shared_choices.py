"""Success of siblings by the choices that they share, over runs of one sampler with different seeds."""

from collections.abc import Iterator, Sequence

import numpy as np
from rich.table import Table

from pipelines.errors import InputError
from pipelines.report.run_samples import RunSamples
from pipelines.report.run_set import read_run_set
from pipelines.runs.folder import RunFolder
from pipelines.statistics.dependent_samples.shared_choices import (
    Reply,
    SharedChoices,
    success_by_shared_choices,
)


def shared_choices(folders: Sequence[RunFolder]) -> list[SharedChoices]:
    """Pairs within each run of vanilla; p from all other runs. Raises InputError if none is of vanilla, there is no other, or a sample of
    one has another distribution."""
    run_set = read_run_set(folders)
    baseline, runs = run_set.baseline, [run for condition in run_set.conditions for run in condition.runs]
    if baseline.couples_samples or len(runs) < 2:
        raise InputError("give a run of vanilla and another run or more: p of a problem comes from the others.")
    for condition in run_set.conditions:
        if not condition.keeps_marginals or condition.config.sampling != baseline.config.sampling:
            raise InputError(
                f"a sample of {condition.name} is not distributed as one of {baseline.name}, and p comes from both; give runs of samplers "
                "with exact marginals (vanilla, quasi, latent) at the same sampling settings."
            )
    return success_by_shared_choices(
        pair for number in range(len(baseline.runs)) for pair in siblings_and_others(runs, number)
    )


def siblings_and_others(runs: Sequence[RunSamples], number: int) -> Iterator[tuple[list[Reply], list[bool]]]:
    """Of each problem: the replies of one run, and the verdicts of the others."""
    run = runs[number]
    token_ids_PN = run.column("token_ids", run.rows_PN)
    logprobs_PN = run.column("policy_logprobs", run.rows_PN)
    for p in range(len(run.problems)):
        replies = [
            Reply(bool(is_correct), np.array(token_ids), -np.array(logprobs))
            for is_correct, token_ids, logprobs in zip(
                run.correct_PN[p].tolist(), token_ids_PN[p].tolist(), logprobs_PN[p].tolist(), strict=True
            )
        ]
        yield replies, [bool(c) for i, other in enumerate(runs) if i != number for c in other.correct_PN[p]]


def shared_choices_table(found: Sequence[SharedChoices]) -> Table:
    """For a terminal."""
    table = Table("nats shared", "pairs", "share", "correlation of success")
    for at in found:
        if at.num_pairs:
            table.add_row(
                f"{at.low:g} to {at.high:g}", f"{at.num_pairs:,}", f"{at.share:.0%}", f"{at.correlation:+.2f}"
            )
    return table
