"""What coupling the siblings gains, and what the bound is worth, from the stored verdicts: the figures of docs/findings.md.

python docs/findings/coupling.py
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq

from pipelines.statistics.comparison.coupling_gain import coupling_gain_per_problem
from pipelines.statistics.comparison.sample_efficiency import sample_efficiency
from pipelines.statistics.group_estimator import GroupEstimator, over_subsets, over_windows
from pipelines.statistics.interval import mean_interval

FOLDER = Path(__file__).parent
Verdicts = npt.NDArray[np.bool_]
"""[problems, samples]"""


def verdicts(name: str, **of: object) -> Verdicts:
    """The rows of a file that have these values, by problem."""
    rows = [
        row for row in pq.read_table(FOLDER / name).to_pylist() if all(row[key] == value for key, value in of.items())
    ]
    return np.array([row["correct"] for row in sorted(rows, key=lambda row: str(row["problem"]))])


def gain(joint: Sequence[Verdicts], plain: Verdicts, k: int, estimate: GroupEstimator) -> npt.NDArray[np.float64]:
    """Of each problem, mean over the runs of a joint sampler."""
    sizes = np.full(len(plain), plain.shape[1])
    return np.mean([coupling_gain_per_problem(list(run), sizes, plain.sum(1), k, estimate) for run in joint], axis=0)


def show(name: str, gain_P: npt.NDArray[np.float64], k: int) -> None:
    """One line, in points."""
    found = mean_interval(gain_P, bounds=(-k, k))
    print(f"{name}, k = {k}: {100 * found.estimate:+.1f} [{100 * found.low:+.1f}, {100 * found.high:+.1f}]")


def main() -> None:
    """Countdown, its bound, then code and mathematics."""
    runs = {
        sampler: [verdicts("countdown.parquet", condition=f"{sampler}, T=0.8", seed=seed) for seed in (0, 1)]
        for sampler in ("vanilla", "quasi", "latent")
    }
    plain = np.concatenate(runs["vanilla"], axis=1)
    for sampler, estimate in (("quasi", over_windows), ("latent", over_subsets), ("latent", over_windows)):
        for k in (4, 8, 16, 32):
            show(f"Countdown, {sampler}, {estimate.__name__}", gain(runs[sampler], plain, k, estimate), k)
    p_P = np.concatenate([run for of in runs.values() for run in of], axis=1).mean(1)
    for k in (4, 8, 16, 32):
        bound_P, sizes = np.minimum(1, k * p_P), np.full(len(plain), plain.shape[1])
        worth = sample_efficiency(bound_P, k, baseline_samples_P=sizes, baseline_correct_P=plain.sum(1))
        print(
            f"bound, k = {k}: {100 * bound_P.mean():.1f}, worth {worth.independent:.1f} [{worth.low:.1f}, {worth.high:.1f}]"
        )
    for condition, estimate in (
        ("quasi, from the code fence on", over_windows),
        ("latent, 12 bits", over_subsets),
        ("latent, 12 bits", over_windows),
    ):
        of_both = []
        for benchmark in ("HumanEval", "MBPP"):
            plain = verdicts("code.parquet", benchmark=benchmark, condition="vanilla")
            joint = verdicts("code.parquet", benchmark=benchmark, condition=condition)
            of_both.append(gain([joint], plain, 2, estimate))
            show(f"{benchmark}, {condition}, {estimate.__name__}", of_both[-1], 2)
        show(f"both, {condition}, {estimate.__name__}", np.concatenate(of_both), 2)
    plain, joint = (verdicts("gsm8k.parquet", condition=condition) for condition in ("vanilla", "quasi"))
    for k in (2, 4, 8):
        show("GSM8K, quasi, over_windows", gain([joint], plain, k, over_windows), k)


if __name__ == "__main__":
    main()
