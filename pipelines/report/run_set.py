"""Runs of the same problems, side by side: one condition per sampler, its runs the replicates with different seeds.

Legend: R runs of a condition, P problems that every run has finished, N samples of each.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from pipelines.config.run import RunConfig
from pipelines.config.yaml_flags import flatten
from pipelines.errors import InputError
from pipelines.problems.problem import Problem
from pipelines.report.run_samples import RunSamples, read_run
from pipelines.runs.folder import RunFolder
from pipelines.runs.manifest import Manifest
from pipelines.statistics.group_estimator import group_estimator
from pipelines.statistics.pass_at_k import ks_up_to

REPLICATE_SETTINGS = ("seed", "engine.", "data_fingerprint", "model_fingerprint")
"""Settings that may differ between the replicates of a condition."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Condition:
    """One sampler with its settings: one run, or several that differ in their seed."""

    name: str
    runs: list[RunSamples]
    """[R], all with the same problems in the same order."""

    @property
    def config(self) -> RunConfig:
        """Settings of the first run; the others differ in the seed."""
        return self.runs[0].manifest.config

    @property
    def group_size(self) -> int:
        """N."""
        return self.runs[0].group_size

    @property
    def couples_samples(self) -> bool:
        """True if the samples of a problem depend on each other."""
        return self.config.policy is not None and self.config.policy.couples_samples

    @property
    def keeps_marginals(self) -> bool:
        """True if each sample by itself is distributed as the plain model's at these settings."""
        return self.config.policy is None or self.config.policy.keeps_marginals

    @property
    def correct_RPN(self) -> npt.NDArray[np.bool_]:
        """Verdicts in launch order."""
        return np.stack([run.correct_PN for run in self.runs])

    def pass_at_RP(self, k: int) -> npt.NDArray[np.float64]:
        """pass@k of each problem in each run, by the estimator that fits the sampler."""
        estimate = group_estimator(siblings_form_sequence=self.config.siblings_form_sequence)
        return np.stack([estimate(list(run.correct_PN), k) for run in self.runs])

    def pass_at_P(self, k: int) -> npt.NDArray[np.float64]:
        """pass@k of each problem, mean over runs."""
        values_P: npt.NDArray[np.float64] = self.pass_at_RP(k).mean(axis=0)
        return values_P


@dataclass(frozen=True, kw_only=True, slots=True)
class RunSet:
    """Runs of the same problems, grouped into conditions; everything a report is made from."""

    problems: list[Problem]
    """[P]"""
    conditions: list[Condition]
    """The baseline first."""
    left_out: int
    """Problems that some run has finished and another has not."""

    @property
    def ks(self) -> tuple[int, ...]:
        """Every k that is reported: 1, 2, 4, ... and each condition's own N."""
        return tuple(sorted({k for condition in self.conditions for k in ks_up_to(condition.group_size)}))

    @property
    def is_verified(self) -> bool:
        """True if a verifier says which samples are correct; else pass@k is undefined, as for stories."""
        return self.baseline.config.verifier_name != "none"

    @property
    def baseline(self) -> Condition:
        """What the other conditions are compared with: the vanilla condition, or the first run that was given."""
        return self.conditions[0]


def read_run_set(folders: Sequence[RunFolder]) -> RunSet:
    """Read runs and line them up. Raises InputError if one cannot be read, comes twice, or is of other problems or another model."""
    if not folders:
        raise InputError("a report needs at least one run folder, such as runs/countdown-esamp-0.")
    runs = [read_run(folder) for folder in folders]
    check_runs(runs)
    shared = set.intersection(*(set(run.problem_ids) for run in runs))
    if not shared:
        raise InputError("the runs share no finished problem; report runs of the same dataset, or let them finish.")
    problem_ids = [problem_id for problem_id in runs[0].problem_ids if problem_id in shared]
    aligned = [run.only(problem_ids) for run in runs]
    groups = by_condition(aligned, lambda run: condition_settings(run.manifest))
    replicates = [sorted(runs, key=lambda run: run.manifest.config.seed) for runs in groups]
    conditions = sorted(name_conditions(replicates), key=lambda condition: condition.config.sampler != "vanilla")
    everything = set.union(*(set(run.problem_ids) for run in runs))
    return RunSet(problems=aligned[0].problems, conditions=conditions, left_out=len(everything) - len(problem_ids))


def check_runs(runs: list[RunSamples]) -> None:
    """Raise InputError for a run that comes twice, and for problems or models that differ under the same name."""
    seen: dict[str, str] = {}
    asked: dict[str, tuple[Problem, str]] = {}
    for run in runs:
        if run.manifest.run_id in seen:
            raise InputError(f"{run.path} and {seen[run.manifest.run_id]} are the same run; give each once.")
        seen[run.manifest.run_id] = run.path
        if run.manifest.model_fingerprint != runs[0].manifest.model_fingerprint:
            raise InputError(
                f"{run.path} is of model {run.manifest.config.model} ({run.manifest.model_fingerprint}) and {runs[0].path} of "
                f"{runs[0].manifest.config.model} ({runs[0].manifest.model_fingerprint}); report runs of one model."
            )
        for problem in run.problems:
            first, path = asked.setdefault(problem.problem_id, (problem, run.path))
            if first != problem:
                raise InputError(
                    f"problem {problem.problem_id} of {run.path} is another than that of {path}; report runs of the same data."
                )


Run = TypeVar("Run")


def by_condition(runs: Sequence[Run], settings_of: Callable[[Run], dict[str, Any]]) -> list[list[Run]]:
    """Lists of the runs that have equal settings, in the order in which each list's first run comes."""
    groups: dict[str, list[Run]] = {}
    for run in runs:
        groups.setdefault(str(sorted(settings_of(run).items())), []).append(run)
    return list(groups.values())


def condition_settings(manifest: Manifest) -> dict[str, Any]:
    """Settings that define a condition, flat: runs that agree in them are its replicates."""
    return {
        name: value
        for name, value in manifest.identity.items()
        if not name.startswith(REPLICATE_SETTINGS) and name != "limit"
    }


def name_conditions(groups: list[list[RunSamples]]) -> list[Condition]:
    """Conditions by their names."""
    names = condition_names([runs[0].manifest for runs in groups])
    return [Condition(name=name, runs=runs) for name, runs in zip(names, groups, strict=True)]


def condition_names(manifests: Sequence[Manifest]) -> list[str]:
    """A name for the condition of each run: its sampler, and the settings in which conditions of one sampler differ, as jobs.compare takes
    them. A setting of the sampler's own section, or of the exchange, is left out where it has its default."""
    short = [sampler_name(manifest.config) for manifest in manifests]
    names = []
    for manifest, sampler in zip(manifests, short, strict=True):
        own = condition_settings(manifest)
        twins = [condition_settings(other) for other, name in zip(manifests, short, strict=True) if name == sampler]
        default = RunConfig().to_dict()
        usual = flatten({name: default[name] for name in (manifest.config.sampler_section, "exchange") if name})
        differing = [
            f"{setting.rpartition('.')[2]}={value}"
            for setting, value in own.items()
            if any(twin.get(setting) != value for twin in twins) and (setting not in usual or usual[setting] != value)
        ]
        names.append(", ".join([sampler, *differing]))
    return names


def sampler_name(config: RunConfig) -> str:
    """The sampler, with its strength if it has one."""
    return f"{config.sampler} (beta {config.beta:g})" if config.beta else config.sampler
