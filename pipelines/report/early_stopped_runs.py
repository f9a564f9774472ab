"""Comparison of runs of which some stop problems early: pass@k by the estimator that fits each run, and paired differences, as text.

The report's page needs the same number of samples of every problem. Such runs do not have it, so they get a table and conclusions only.

Legend: R runs of a condition, P problems that every run has finished.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from rich.console import Console

from pipelines.errors import InputError
from pipelines.report.measures.comparison import ConditionComparison, conclusion, differences_at
from pipelines.report.run_set import by_condition, condition_names, condition_settings
from pipelines.runs.early_stopping import Stop, stops_of
from pipelines.runs.folder import RunFolder
from pipelines.runs.manifest import Manifest
from pipelines.runs.summary import RunSummary, summarise, summary_table
from pipelines.statistics.adaptive import adaptive_pass_at_k
from pipelines.statistics.pass_at_k import ks_up_to, pass_at_k

NO_PAGE = "no report.html: it needs all samples of every problem, and one of these runs stops problems early."


@dataclass(frozen=True, kw_only=True, slots=True)
class CountedRun:
    """A run as counts: how many samples of each problem count, and how many of them are correct."""

    path: str
    manifest: Manifest
    summary: RunSummary
    counts: dict[str, Stop]
    """Of every finished problem. In a run without a stopping rule all samples count."""

    def pass_at(self, problem_id: str, k: int) -> float:
        """pass@k of one problem."""
        rule, count = self.manifest.config.stopping_rule, self.counts[problem_id]
        if rule is None:
            return pass_at_k(count.samples, count.correct, k)
        return adaptive_pass_at_k(count.samples, count.correct, k, rule)


def has_adaptive(folders: Sequence[RunFolder]) -> bool:
    """True if one of the runs may stop problems early."""
    return any(folder.manifest().config.stopping_rule is not None for folder in folders)


def compare_adaptive(folders: Sequence[RunFolder]) -> tuple[list[RunSummary], list[str]]:
    """Summaries of the runs, and conclusions: every condition against the vanilla one, or else against the first.

    Raises InputError for runs of other problems or another model, and if they share no finished problem.
    """
    runs = [count_run(folder) for folder in folders]
    check_alike(runs)
    conditions = by_condition(runs, lambda run: condition_settings(run.manifest))
    baseline, *others = sorted(conditions, key=lambda condition: condition[0].manifest.config.sampler != "vanilla")
    shared = set.intersection(*(set(run.counts) for run in runs))
    problems = [problem_id for problem_id in runs[0].counts if problem_id in shared]
    if not problems:
        raise InputError("the runs share no finished problem; let them finish, then compare again.")
    names = names_of([baseline, *others])
    comparisons = [compare(condition, baseline, problems) for condition in others]
    return [run.summary for run in runs], [
        conclusion(replace(comparison, condition=name, baseline=names[0]))
        for comparison, name in zip(comparisons, names[1:], strict=True)
    ]


def names_of(conditions: list[list[CountedRun]]) -> list[str]:
    """A name for each condition: its sampler and rule; its settings too where that is not enough to tell them apart."""
    labels = [runs[0].summary.label for runs in conditions]
    if len(set(labels)) == len(labels):
        return labels
    return condition_names([runs[0].manifest for runs in conditions])


def print_adaptive(folders: Sequence[RunFolder], console: Console) -> None:
    """Print what `compare_adaptive` returns, and that there is no page."""
    summaries, conclusions = compare_adaptive(folders)
    manifests = [folder.manifest() for folder in folders]
    headings = [summary.label for summary in summaries]
    if len(set(headings)) < len(headings):
        # Arms of one sampler, by the settings in which they differ; replicates by their seeds.
        names = condition_names(manifests)
        headings = [
            f"{name}, seed {manifest.config.seed}" if names.count(name) > 1 else name
            for name, manifest in zip(names, manifests, strict=True)
        ]
    console.print(summary_table(summaries, headings))
    console.print("\n".join([*conclusions, NO_PAGE]), highlight=False, markup=False, soft_wrap=True)


def count_run(folder: RunFolder) -> CountedRun:
    """Read a run's counts, in the order of its dataset. A sample that failed counts as not correct."""
    manifest, samples = folder.manifest(), folder.read_finished()
    config = manifest.config
    if config.stopping_rule is not None:
        counts = stops_of(samples, config.stopping_rule)
    else:
        correct_of: dict[str, list[bool]] = {}
        for sample in samples:
            correct_of.setdefault(sample.problem_id, []).append(sample.is_correct)
        counts = {
            problem_id: Stop(samples=len(correct), correct=sum(correct))
            for problem_id, correct in correct_of.items()
            if len(correct) == config.samples
        }
    return CountedRun(
        path=str(folder.path),
        manifest=manifest,
        summary=summarise(folder, pass_at=config.pass_at),
        counts={
            problem_id: counts[problem_id] for problem_id in folder.problem_ids().to_pylist() if problem_id in counts
        },
    )


def check_alike(runs: Sequence[CountedRun]) -> None:
    """Raise InputError unless all runs are of the same problems and the same model."""
    first = runs[0]
    for run in runs[1:]:
        if run.manifest.data_fingerprint != first.manifest.data_fingerprint:
            raise InputError(f"{run.path} and {first.path} have different problems; compare runs of the same data.")
        if run.manifest.model_fingerprint != first.manifest.model_fingerprint:
            raise InputError(f"{run.path} and {first.path} have different models; compare runs of one model.")


def compare(condition: list[CountedRun], baseline: list[CountedRun], problems: list[str]) -> ConditionComparison:
    """One condition against another at every k that both define."""
    ks = ks_up_to(min(run[0].manifest.config.largest_k for run in (condition, baseline)))
    return ConditionComparison(
        condition=condition[0].summary.label,
        baseline=baseline[0].summary.label,
        group_size=condition[0].manifest.config.samples,
        at=differences_at(ks, lambda k: pass_at_P(condition, problems, k), lambda k: pass_at_P(baseline, problems, k)),
        solved=None,
    )


def pass_at_P(condition: list[CountedRun], problems: list[str], k: int) -> npt.NDArray[np.float64]:
    """pass@k of each problem, mean over runs."""
    values_P: npt.NDArray[np.float64] = np.mean([[run.pass_at(p, k) for p in problems] for run in condition], axis=0)
    return values_P
