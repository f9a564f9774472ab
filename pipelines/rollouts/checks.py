"""What an export must not hold unless it is asked for by name. Each refusal says the way out, in one line."""

import numpy as np

from pipelines.errors import InputError
from pipelines.rollouts.config import Allowance, ExportConfig
from pipelines.rollouts.formats.registry import FORMATS
from pipelines.rollouts.rollout import RolloutGroup
from pipelines.rollouts.stored_samples import is_unfiltered
from pipelines.runs.manifest import Manifest


class ExportChecks:
    """Checks of a run, and of its groups as they come."""

    def __init__(self, config: ExportConfig, manifest: Manifest) -> None:
        self._config = config
        self._format = FORMATS[config.format]
        self._is_filtered = not is_unfiltered(manifest.config)
        self._weight_versions: set[str] = set()
        self._check_run(manifest)

    def check(self, group: RolloutGroup) -> None:
        """Raise InputError at a group that must not be exported as it is."""
        if self._format.has_logprobs:
            self._check_weights(group)
            self._check_numbers(group)
        if self._format.needs_kept_tokens and self._is_filtered:
            self._check_kept_tokens(group)

    def _check_run(self, manifest: Manifest) -> None:
        if manifest.config.stopping_rule is not None and self._format.has_rewards:
            self._refuse(
                "early-stopped",
                "problems of this run stopped early, so that the mean reward of a group says when it stopped: advantages would be biased. "
                "Sample without --stop, use format sft, sft-tokens, pairs or prompts, or",
            )

    def _check_weights(self, group: RolloutGroup) -> None:
        self._weight_versions |= {rollout.weight_version for rollout in group.rollouts}
        if len(self._weight_versions) > 1:
            versions = ", ".join(sorted(self._weight_versions))
            self._refuse(
                "mixed-weights",
                f"the samples are of several versions of the model's weights ({versions}), and log-probabilities of one are not those of "
                "another. Export the run of one version, or",
            )

    def _check_numbers(self, group: RolloutGroup) -> None:
        for rollout in group.rollouts:
            for name, logprobs in (
                ("behaviour", rollout.behaviour_logprobs),
                ("sampling-policy", rollout.sampling_logprobs),
                ("policy", rollout.policy_logprobs),
            ):
                if logprobs is not None and not np.isfinite(logprobs).all():
                    self._refuse(
                        "nan",
                        f"sample {rollout.sample_index} of {group.group_id} has {name} log-probabilities that are not finite; a run with "
                        "esamp.record behaviour does not look at the plain model. Sample with --esamp.record full, or",
                    )

    def _check_kept_tokens(self, group: RolloutGroup) -> None:
        for rollout in group.rollouts:
            kept = rollout.kept_tokens
            if not self._format.takes_kept_tokens or kept is None or kept.is_capped:
                self._refuse(
                    "filtered",
                    "a filter (top-p, top-k or min-p) was on, so that log-probabilities are over the kept tokens and a trainer's over the "
                    f"whole vocabulary, and {self._missing(rollout.kept_tokens is None)}. Sample with --sampling.top-p 1, top-k 0 and "
                    "min-p 0, or",
                )

    def _missing(self, is_absent: bool) -> str:
        if not self._format.takes_kept_tokens:
            return f"format {self._config.format} has no place for the kept tokens"
        return (
            "the kept tokens were not stored (--record-rollouts of jobs.passk stores them)"
            if is_absent
            else "some draw kept more tokens than are stored"
        )

    def _refuse(self, allowance: Allowance, why: str) -> None:
        if allowance not in self._config.allow:
            raise InputError(f"{why} give --allow {allowance} if that is what you want.")
