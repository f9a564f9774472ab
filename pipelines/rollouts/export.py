"""A run's samples as rollouts for trainers: read a group, compute its advantages, check, filter, write; then say how far the samples are
from the policy.

ESamp samples are off-policy: drawn from the fused distribution, not from the model's. A trainer corrects for it by the behaviour
log-probability of every token, which each format carries where its trainer has a place for it.
"""

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from pipelines.errors import InputError
from pipelines.rollouts.advantages import ADVANTAGES
from pipelines.rollouts.checks import ExportChecks
from pipelines.rollouts.config import ExportConfig
from pipelines.rollouts.filters import drops_group, filtered_rollouts
from pipelines.rollouts.formats.canonical import SCHEMA_VERSION
from pipelines.rollouts.formats.registry import FORMATS
from pipelines.rollouts.importance import ImportanceRatios, RatioSummary
from pipelines.rollouts.rollout import Rollout, RolloutGroup, VerdictClass
from pipelines.rollouts.stored_samples import StoredSamples
from pipelines.runs.early_stopping import stops_of
from pipelines.runs.folder import RunFolder


@dataclass(kw_only=True, slots=True)
class ExportSummary:
    """What was exported, and what was not."""

    format: str
    rows: int = 0
    """Rows or samples of the output."""
    groups: int = 0
    """Groups with a rollout in it."""
    mixed_groups: int = 0
    """Of these, groups with different rewards."""
    incomplete_groups: int = 0
    """Groups of which not every planned sample has a reward."""
    infrastructure_failures: int = 0
    """Samples that have no reward because generation, the verifier or its sandbox failed."""
    unverified: int = 0
    """Samples that nobody scored."""
    dropped: dict[str, int] = field(default_factory=dict)
    """What filters and the format left out, by why."""
    token_ratios: RatioSummary | None = None
    """Importance ratios of all samples; None where the sampling policy's log-probabilities are not known."""
    sequence_ratios: RatioSummary | None = None
    ratios_unknown: int = 0
    """Samples without them."""

    def lines(self) -> Iterator[str]:
        """For the terminal."""
        yield f"{self.rows} rows of {self.groups} groups ({self.mixed_groups} with different rewards, {self.incomplete_groups} incomplete)"
        if self.infrastructure_failures or self.unverified:
            failures = self.infrastructure_failures
            yield f"without a reward: {failures} samples whose verdict or generation failed, {self.unverified} unverified"
        for reason, count in sorted(self.dropped.items()):
            if count:
                yield f"left out: {count} {reason}"
        if self.token_ratios is not None and self.sequence_ratios is not None:
            yield f"importance ratio per token     {self.token_ratios}"
            yield f"importance ratio per sequence  {self.sequence_ratios}"
        if self.ratios_unknown:
            yield (
                f"importance ratios of {self.ratios_unknown} samples are not known: this run did not store the plain model's "
                "log-probabilities at its temperature and on its kept tokens (--record-rollouts of jobs.passk does); they are known at "
                "temperature 1 without filters"
            )


def export_rollouts(folder: RunFolder, output: Path, config: ExportConfig) -> ExportSummary:
    """Write a run's samples to `output` in a format, in full or not at all.

    Raises InputError if the folder holds no run, no sample or no sample with a reward, if fewer groups are mixed than asked for, and where
    the export would be wrong (pipelines/rollouts/checks.py).
    """
    samples = StoredSamples(folder)
    entry = FORMATS[config.format]
    context = samples.context(
        groups_per_step=config.groups_per_step, prompt_length=config.prompt_length, data_source=config.data_source
    )
    checks = ExportChecks(config, samples.manifest)
    summary = ExportSummary(format=config.format)
    ratios = ImportanceRatios()
    with entry.open_writer(output, context) as writer:
        for group in rewarded_groups(samples, config, summary, ratios):
            kept = filtered_rollouts(group, config.filter, ends_responses=entry.ends_responses, dropped=summary.dropped)
            if not (kept.rollouts or entry.takes_empty_groups):
                continue
            checks.check(kept)
            summary.groups += 1
            summary.mixed_groups += kept.is_mixed
            writer.write(kept)
        check_enough(summary, config)
        summary.token_ratios, summary.sequence_ratios = ratios.tokens.summary(), ratios.sequences.summary()
        summary.ratios_unknown = ratios.unknown
        writer.finish(metadata(samples, config, summary))
        summary.rows = writer.rows
        if not summary.rows:
            raise InputError(
                f"format {config.format} holds {entry.about}; there is none in {summary.groups} groups. Draw more samples."
            )
    return summary


def rewarded_groups(
    samples: StoredSamples, config: ExportConfig, summary: ExportSummary, ratios: ImportanceRatios
) -> Iterator[RolloutGroup]:
    """Groups with their advantages, without rollouts that have no reward (unless failures are kept) and without the groups that are not
    wanted. `ratios` are those of all samples: among those that were chosen by reward or length their mean is not 1."""
    entry, rule = FORMATS[config.format], samples.manifest.config.stopping_rule
    stops = {} if rule is None else stops_of(samples.folder.finished_samples(), rule)
    for group in samples.groups():
        if (
            group.group_id in stops
        ):  # samples behind the stop are no part of the run: see pipelines/runs/early_stopping.py
            group = replace(group, rollouts=group.rollouts[: stops[group.group_id].samples])
        for rollout in group.rollouts:
            ratios.add(rollout)
        summary.infrastructure_failures += count_of(group, VerdictClass.INFRASTRUCTURE)
        summary.unverified += count_of(group, VerdictClass.UNVERIFIED)
        summary.incomplete_groups += not group.is_complete
        group = replace(group, rollouts=tuple(with_advantages(group, config)))
        reason = drops_group(group, config.filter)
        if reason is None and entry.needs_complete_groups and not group.is_complete:
            reason = f"groups that are not complete, which format {config.format} cannot take"
        if reason is None:
            yield group
        else:
            summary.dropped[reason] = summary.dropped.get(reason, 0) + 1


def with_advantages(group: RolloutGroup, config: ExportConfig) -> Iterator[Rollout]:
    """Rollouts with the advantages of their rewards among each other; those without a reward only if failures are kept."""
    rewards = [rollout.reward for rollout in group.rollouts if rollout.reward is not None]
    advantages_of = ADVANTAGES[config.advantages]
    advantages = iter([None] * len(rewards) if advantages_of is None else advantages_of(rewards))
    for rollout in group.rollouts:
        if rollout.reward is not None:
            yield replace(rollout, advantage=next(advantages))
        elif config.keep_failures:
            yield rollout


def count_of(group: RolloutGroup, kind: VerdictClass) -> int:
    """Rollouts of a class."""
    return sum(rollout.verdict_class is kind for rollout in group.rollouts)


def check_enough(summary: ExportSummary, config: ExportConfig) -> None:
    """Raise InputError if there is nothing to export, or too little to learn from."""
    if not summary.groups and not any(summary.dropped.values()):
        raise InputError(
            "no sample of this run has a verdict, so there is no reward; look at the errors in its summary.json."
        )
    if not summary.groups:
        reasons = ", ".join(f"{count} {reason}" for reason, count in summary.dropped.items() if count)
        raise InputError(
            f"nothing is left to export: {reasons} were left out. Loosen the filters, or draw more samples."
        )
    if summary.mixed_groups < config.filter.min_mixed_groups:
        raise InputError(
            f"{summary.mixed_groups} groups have different rewards and filter.min_mixed_groups asks for {config.filter.min_mixed_groups}; "
            "draw more samples, or problems of middling difficulty."
        )


def metadata(samples: StoredSamples, config: ExportConfig, summary: ExportSummary) -> dict[str, Any]:
    """What stands in the file, or beside it: where the rollouts are from, how they were made, and how far from the policy they are."""
    manifest = samples.manifest
    return {
        "schema_version": SCHEMA_VERSION,
        "export": asdict(config),
        "summary": asdict(summary),
        "run": {
            "run_id": manifest.run_id,
            "model": manifest.config.model,
            "model_fingerprint": manifest.model_fingerprint,
            "data_fingerprint": manifest.data_fingerprint,
            "git_commit": manifest.git_commit,
            "versions": manifest.versions,
        },
    }
