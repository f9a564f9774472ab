"""How many independent samples give the pass@k that a sampler reaches with k: the number that says what a sampler saves.

The baseline's curve m -> pass@m is estimated on the same problems (pass_at_k.py) and joined by straight lines between whole m. The
sampler's pass@k meets it at m; the sampler saves 1 - k/m of the samples. Both are resampled together, by problem, so that easy and
hard problems cancel out.

Legend: P problems, M sample counts 1..n of the baseline, R resamples.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipelines.statistics.pass_at_k import pass_at_k_per_problem


@dataclass(frozen=True, kw_only=True, slots=True)
class SampleEfficiency:
    """Independent samples that are worth k of a sampler's. Infinite where the baseline's n samples do not reach it: `at_least` says n."""

    k: int
    independent: float
    """m: independent samples with the same pass@k."""
    low: float
    high: float
    at_least: int
    """n of the baseline: beyond it nothing is known."""

    @property
    def saved(self) -> float:
        """Share of samples saved, 1 - k/m; negative if the sampler needs more, NaN if it solved nothing."""
        return 1 - self.k / self.independent if self.independent > 0 else float("nan")


def sample_efficiency(
    values_P: npt.ArrayLike,
    k: int,
    *,
    baseline_samples_P: npt.ArrayLike,
    baseline_correct_P: npt.ArrayLike,
    confidence: float = 0.95,
    num_resamples: int = 2000,
    seed: int = 0,
) -> SampleEfficiency:
    """Where the sampler's pass@k, one value per problem in `values_P`, meets the curve of independent samples of the same problems.

    Percentile interval over problems. Raises ValueError if the problems differ in number, or one has no sample of the baseline.
    """
    values = np.asarray(values_P, dtype=np.float64)
    sizes = np.asarray(baseline_samples_P)
    if len(values) != len(sizes):
        raise ValueError(f"both samplers must have the same problems; got {len(values)} and {len(sizes)}.")
    if len(sizes) == 0 or sizes.min() < 1:
        raise ValueError("every problem must have a sample of the baseline; leave out those that have none, in both.")
    num_samples = int(sizes.min())
    curve_PM = np.stack(
        [pass_at_k_per_problem(sizes, baseline_correct_P, m) for m in range(1, num_samples + 1)], axis=1
    )
    picks_RP = np.random.default_rng(seed).integers(0, len(values), (num_resamples, len(values)))
    resampled_R = np.array([meeting_point(values[picks].mean(), curve_PM[picks].mean(0)) for picks in picks_RP])
    tail = (1 - confidence) / 2
    # Not interpolated: between a finite and an infinite resample there is no number.
    low, high = np.quantile(resampled_R, [tail, 1 - tail], method="inverted_cdf")
    return SampleEfficiency(
        k=k,
        independent=meeting_point(values.mean(), curve_PM.mean(0)),
        low=float(low),
        high=float(high),
        at_least=num_samples,
    )


def meeting_point(value: float, curve_M: npt.NDArray[np.float64]) -> float:
    """The m at which pass@m is `value`, by straight lines; infinite beyond the curve's end. Below pass@1 the line starts at (0, 0).

    >>> meeting_point(0.5, np.array([0.4, 0.6]))
    1.5
    """
    if value > curve_M[-1]:
        return float("inf")
    heights = np.concatenate([[0.0], curve_M])
    # Where the curve is flat its first m counts: `interp` needs rising heights.
    rising = np.concatenate([[True], np.diff(heights) > 0])
    return float(np.interp(value, heights[rising], np.arange(len(heights))[rising]))
