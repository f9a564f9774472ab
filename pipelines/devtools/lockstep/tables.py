"""The lockstep study's tables: pass@k of every condition against the first, and what the Distiller did, as Markdown."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from esamp.devtools.lockstep.mechanism import auc_within_places, first_divergence, mean_of, sharpening, visits
from esamp.fusion import entropy
from pipelines.devtools.lockstep.conditions import CONDITIONS
from pipelines.devtools.lockstep.study import ConditionSamples, read_condition
from pipelines.statistics.paired import compare_paired
from pipelines.statistics.pass_at_k import pass_at_k_per_problem

KS = (1, 4, 16)
"""Besides N."""


def pass_at_k_table(paths: dict[str, list[Path]]) -> str:
    """One row per condition: difference from the first condition in points with its 95% interval over problems, seeds averaged."""
    counts = {name: [read_condition(path).correct_PN for path in files] for name, files in paths.items()}
    baseline = next(iter(counts.values()))
    size = baseline[0].shape[1]
    ks = [*(k for k in KS if k < size), size]
    lines = [row("condition", *(f"pass@{k}" for k in ks)), row(*["---"] * (len(ks) + 1))]
    for name, conditions in counts.items():
        cells = [
            difference_cell(per_problem(conditions, k), per_problem(baseline, k), is_first=conditions is baseline)
            for k in ks
        ]
        lines.append(row(name, *cells))
    return "\n".join(lines)


def per_problem(conditions: list[npt.NDArray[np.bool_]], k: int) -> npt.NDArray[np.float64]:
    """pass@k [P], mean over seeds."""
    values = [
        pass_at_k_per_problem([condition.shape[1]] * len(condition), condition.sum(1), k) for condition in conditions
    ]
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
    """One row per condition, of its first seed: what the Distiller did to the distributions, and what became of the samples it changed."""
    first, *_ = paths.values()
    baseline = read_condition(first[0])
    names = (
        "condition", "error, tokens 1-4", "error, last 4", "slope", "explained", "entropy plain", "entropy fused", "moved",
        "shift / error", "visited", "AUC novelty", "AUC entropy", "pull", "changed samples", "entropy there",
        "correct before", "correct after",
        "distinct",
    )  # fmt: skip
    lines = [row(*names), row(*["---"] * len(names))]
    for name, files in paths.items():
        lines.append(row(name, *mechanism_cells(name, read_condition(files[0]), baseline)))
    return "\n".join(lines)


def mechanism_cells(name: str, condition: ConditionSamples, baseline: ConditionSamples) -> Iterable[str]:
    """The cells of a condition."""
    drawn, config = condition.samples, CONDITIONS[name]
    is_token = drawn.tokens_PNT >= 0
    distinct = np.mean([len({tuple(row) for row in rows}) / len(rows) for rows in drawn.tokens_PNT.tolist()])
    place_PN = first_divergence(drawn.tokens_PNT, baseline.samples.tokens_PNT)
    changed = place_PN >= 0
    problem, sample = changed.nonzero()
    logits_DV = baseline.samples.logits_PNTV[problem, sample, place_PN[problem, sample]].float()
    fate = [
        f"{changed.mean():.0%}",
        f"{mean_of(entropy(logits_DV)):.2f}" if changed.any() else "",
        *(
            f"{correct[changed].mean():.1%}" if changed.any() else ""
            for correct in (baseline.correct_PN, condition.correct_PN)
        ),
        f"{distinct:.3f}",
    ]
    if config.esamp.beta == 0:
        return [*[""] * 12, *fate]
    novelty = drawn.error_PNT / drawn.norm_PNT
    lengths_PN = is_token.sum(-1, keepdim=True)
    places = torch.arange(is_token.shape[-1])
    is_late = is_token & (places >= lengths_PN - 4)
    found = sharpening(drawn)
    seen = visits(drawn, config.rounds)
    counted, visited = seen.seen_PNT >= 0, seen.seen_PNT > 0
    return [
        f"{mean_of(novelty[..., 1:5]):.2f}",
        f"{mean_of(novelty[is_late]):.2f}",
        f"{mean_of(found.slope_PNT.clamp(-5, 5)) / config.esamp.beta:.2f} beta",
        f"{mean_of(found.explained_PNT):.2f}",
        f"{mean_of(found.plain_entropy_PNT):.3f}",
        f"{mean_of(found.fused_entropy_PNT):.3f}",
        f"{mean_of(found.distance_PNT):.3f}",
        f"{mean_of(found.centred_PNT / drawn.error_PNT) / config.esamp.beta:.3f}",
        f"{visited[counted].mean():.0%}" if counted.any() else "",
        f"{auc_within_places(novelty.double().numpy(), ~visited, counted):.3f}",
        f"{auc_within_places(found.plain_entropy_PNT.double().numpy(), ~visited, counted):.3f}",
        f"{mean_of(seen.pull_PNT) / config.esamp.beta:+.4f}",
        *fate,
    ]


def row(*cells: str) -> str:
    """A line of a Markdown table."""
    return f"| {' | '.join(cells)} |"
