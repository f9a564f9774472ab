"""The lockstep study's tables: pass@k of every condition against the baseline, and what the Distiller did, as Markdown."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from esamp.devtools.lockstep.mechanism import auc_within_places, first_divergence, mean_of, sharpening, visits
from pipelines.devtools.lockstep.conditions import CONDITIONS
from pipelines.devtools.lockstep.study import ConditionSamples, read_condition
from pipelines.statistics.comparison.paired import compare_paired
from pipelines.statistics.pass_at_k import pass_at_k_per_problem

KS = (1, 4, 16)
"""Besides N."""


def pass_at_k_table(paths: dict[str, list[Path]]) -> str:
    """One row per condition: difference from the first in points with its 95% interval over problems, seeds averaged."""
    counts = {name: [read_condition(path).correct_PN for path in files] for name, files in paths.items()}
    baseline = next(iter(counts.values()))
    size = baseline[0].shape[1]
    ks = [*(k for k in KS if k < size), size]
    lines = [row("condition", *(f"pass@{k}" for k in ks)), row(*["---"] * (len(ks) + 1))]
    for name, seeds in counts.items():
        cells = [
            difference_cell(per_problem(seeds, k), per_problem(baseline, k), is_first=seeds is baseline) for k in ks
        ]
        lines.append(row(name, *cells))
    return "\n".join(lines)


def per_problem(seeds: list[npt.NDArray[np.bool_]], k: int) -> npt.NDArray[np.float64]:
    """pass@k [P], mean over seeds."""
    values = [pass_at_k_per_problem([correct.shape[1]] * len(correct), correct.sum(1), k) for correct in seeds]
    mean_P: npt.NDArray[np.float64] = np.mean(values, axis=0)
    return mean_P


def difference_cell(a_P: npt.NDArray[np.float64], b_P: npt.NDArray[np.float64], *, is_first: bool) -> str:
    """ "+1.2 [-0.3, 2.7], p .12"; of the baseline its value."""
    if is_first:
        return f"{100 * a_P.mean():.1f}%"
    result = compare_paired(a_P, b_P)
    d = result.difference
    return f"{100 * d.estimate:+.1f} [{100 * d.low:+.1f}, {100 * d.high:+.1f}], p {result.p_value:.2g}"


def mechanism_table(paths: dict[str, list[Path]]) -> str:
    """One row per condition, of its first seed: what the Distiller did to the distributions, and how many changed samples are correct."""
    first, *_ = paths.values()
    baseline = read_condition(first[0])
    names = (
        "condition", "error, tokens 1-4", "error, last 4", "slope", "explained", "entropy plain", "entropy fused", "AUC novelty",
        "AUC entropy", "pull", "changed samples", "correct before", "correct after",
    )  # fmt: skip
    lines = [row(*names), row(*["---"] * len(names))]
    for name, files in paths.items():
        condition = read_condition(files[0])
        steering = ["" for _ in range(9)] if CONDITIONS[name].esamp.beta == 0 else steering_cells(name, condition)
        lines.append(row(name, *steering, *changed_cells(condition, baseline)))
    return "\n".join(lines)


def steering_cells(name: str, condition: ConditionSamples) -> list[str]:
    """What the Distiller did to the distributions."""
    drawn, config = condition.samples, CONDITIONS[name]
    is_token = drawn.tokens_PNT >= 0
    novelty = drawn.error_PNT / drawn.norm_PNT
    is_late = is_token & (torch.arange(is_token.shape[-1]) >= is_token.sum(-1, keepdim=True) - 4)
    found, seen = sharpening(drawn), visits(drawn, config.rounds)
    counted, unvisited = seen.seen_PNT >= 0, seen.seen_PNT <= 0
    return [
        f"{mean_of(novelty[..., 1:5]):.2f}",
        f"{mean_of(novelty[is_late]):.2f}",
        f"{mean_of(found.slope_PNT.clamp(-5, 5)) / config.esamp.beta:.2f} beta",
        f"{mean_of(found.explained_PNT):.2f}",
        f"{mean_of(found.plain_entropy_PNT):.3f}",
        f"{mean_of(found.fused_entropy_PNT):.3f}",
        f"{auc_within_places(novelty.double().numpy(), unvisited, counted):.3f}",
        f"{auc_within_places(found.plain_entropy_PNT.double().numpy(), unvisited, counted):.3f}",
        f"{mean_of(seen.pull_PNT) / config.esamp.beta:+.4f}",
    ]


def changed_cells(condition: ConditionSamples, baseline: ConditionSamples) -> list[str]:
    """Samples that differ from the baseline's with the same random numbers: how many, and the share of correct ones before and after."""
    changed = first_divergence(condition.samples.tokens_PNT, baseline.samples.tokens_PNT) >= 0
    if not changed.any():
        return ["0%", "", ""]
    before, after = baseline.correct_PN[changed].mean(), condition.correct_PN[changed].mean()
    return [f"{changed.mean():.0%}", f"{before:.1%}", f"{after:.1%}"]


def row(*cells: str) -> str:
    """A line of a Markdown table."""
    return f"| {' | '.join(cells)} |"
