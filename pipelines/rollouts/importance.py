"""How far the samples are from the policy that a trainer takes them for: importance ratios, and what they cost in sample size.

The ratio of a token is exp(sampling_logprob - behaviour_logprob), of a sequence the product over its tokens. Its mean is 1 in expectation
if both log-probabilities are right. The effective sample size is (sum of ratios)^2 / sum of their squares (Kong 1992): as many samples of
the policy itself are worth as much. Sums are kept as logarithms: the ratio of a long sequence has no place in a float.
"""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipelines.rollouts.rollout import Rollout


@dataclass(frozen=True, kw_only=True, slots=True)
class RatioSummary:
    """Ratios of tokens, or of sequences."""

    count: int
    mean: float
    standard_error: float
    """Of the mean, as if the ratios were independent."""
    effective_fraction: float
    """Effective sample size over `count`, in (0, 1]."""

    def __str__(self) -> str:
        return f"{self.mean:.3f} +- {self.standard_error:.3f}, effective sample size {self.effective_fraction:.1%} of {self.count}"


class Ratios:
    """Running sums of ratios."""

    def __init__(self) -> None:
        self._count = 0
        self._log_sum = self._log_sum_of_squares = -math.inf

    def add(self, log_ratios: npt.NDArray[np.float64]) -> None:
        """Take log ratios [N], finite."""
        self._count += len(log_ratios)
        self._log_sum = float(np.logaddexp.reduce(log_ratios, initial=self._log_sum))
        self._log_sum_of_squares = float(np.logaddexp.reduce(2 * log_ratios, initial=self._log_sum_of_squares))

    def summary(self) -> RatioSummary | None:
        """None if no ratio was added. A mean beyond the largest float is infinite."""
        if not self._count:
            return None
        log_mean = self._log_sum - math.log(self._count)
        effective_fraction = math.exp(2 * self._log_sum - self._log_sum_of_squares - math.log(self._count))
        # Var(r) = E[r]^2 (1 / effective fraction - 1).
        spread = math.sqrt(max(0.0, 1 / effective_fraction - 1) / self._count)
        mean = float(np.exp(log_mean))
        return RatioSummary(
            count=self._count, mean=mean, standard_error=mean * spread, effective_fraction=effective_fraction
        )


class ImportanceRatios:
    """Ratios of samples."""

    def __init__(self) -> None:
        self.tokens = Ratios()
        self.sequences = Ratios()
        self.unknown = 0
        """Samples whose sampling-policy log-probabilities are not known."""

    def add(self, rollout: Rollout) -> None:
        """Take a rollout; NaN log-probabilities count as unknown, and a sample without tokens not at all."""
        if not len(rollout.response_token_ids):
            return
        if rollout.sampling_logprobs is None:
            self.unknown += 1
            return
        log_ratio_T = rollout.sampling_logprobs.astype(np.float64) - rollout.behaviour_logprobs
        if not np.isfinite(log_ratio_T).all():
            self.unknown += 1
            return
        self.tokens.add(log_ratio_T)
        self.sequences.add(log_ratio_T.sum(keepdims=True))
