"""The report: read finished runs, work out every number, write one HTML file, PNG and CSV. Nothing is generated.

report.html        all of it; opens offline
figures/*.png      each figure, for print
tables/*.csv       measures, differences, problems
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, Template
from markupsafe import Markup

from pipelines.config.yaml_flags import flatten
from pipelines.report import numbers
from pipelines.report.caveats import caveats, in_words
from pipelines.report.config import ReportConfig
from pipelines.report.figures import draw_figures
from pipelines.report.measures.comparison import compare_arms, conclusion
from pipelines.report.measures.diversity import measure_diversity
from pipelines.report.measures.exploration import exploration_facts
from pipelines.report.measures.group_sizes import group_size_sweeps
from pipelines.report.measures.outcomes import Measure, launch_order, measure_arms, replications
from pipelines.report.reading import collect_reading
from pipelines.report.run_set import Evidence, gather_evidence
from pipelines.report.tables import differences_csv, measures_csv, problems_csv
from pipelines.runs.folder import RunFolder
from pipelines.runs.provenance import now
from pipelines.runs.storage import write_atomically

COSTS_WITHOUT_VERDICTS = ("tokens per sample", "tokens/s", "wall clock, s")
"""Measures of tasks in which nothing is right or wrong."""


def write_report(folders: Sequence[RunFolder], output: Path, config: ReportConfig) -> str:
    """Write the report of these runs into a folder; returns its conclusions, in words. Raises InputError as `gather_evidence` does."""
    evidence = gather_evidence(folders)
    measures = measure_arms(evidence) if evidence.is_verified else cost_measures(evidence)
    comparisons = compare_arms(evidence) if evidence.is_verified else []
    diversity = measure_diversity(evidence, config.diversity)
    orders = launch_order(evidence)
    reading = collect_reading(evidence, config.reading)
    figures = draw_figures(evidence, measures, diversity, comparisons)
    conclusions = [conclusion(comparison) for comparison in comparisons] or [alone(evidence)]
    html = template().render(
        evidence=evidence,
        conclusions=conclusions,
        caveats=caveats(evidence, orders, reading),
        measures=measures,
        comparisons=comparisons,
        diversity=diversity,
        diversity_config=config.diversity,
        orders=[in_words(order) for order in orders],
        replications=replications(evidence) if evidence.is_verified else [],
        sweeps=group_size_sweeps(evidence) if evidence.is_verified else [],
        exploration=exploration_facts(evidence),
        reading=reading,
        figures=[(figure, Markup(figure.svg)) for figure in figures],  # ours: no text of a run is in it but as outlines
        settings=settings_rows(evidence),
        made=now(),
    )
    for folder in (output, output / "figures", output / "tables"):
        folder.mkdir(parents=True, exist_ok=True)
    write_atomically(output / "report.html", html.encode())
    for figure in figures:
        write_atomically(output / "figures" / f"{figure.name}.png", figure.png)
    write_atomically(output / "tables" / "measures.csv", measures_csv(evidence, [*measures, *diversity]).encode())
    write_atomically(output / "tables" / "differences.csv", differences_csv(comparisons).encode())
    write_atomically(output / "tables" / "problems.csv", problems_csv(evidence).encode())
    return "\n".join(conclusions)


def cost_measures(evidence: Evidence) -> list[Measure]:
    """The measures that need no verdict."""
    return [measure for measure in measure_arms(evidence) if measure.name in COSTS_WITHOUT_VERDICTS]


def template() -> Template:
    """The page's template. Everything put into it is escaped: samples are whatever a model wrote."""
    environment = Environment(
        loader=PackageLoader("pipelines.report", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "number": numbers.number,
        "ends": numbers.ends,
        "plain": numbers.plain,
        "p_value": numbers.p_value,
        "points": numbers.signed_points,
    }
    return environment.get_template("page.html.j2")


def alone(evidence: Evidence) -> str:
    """What a report without a comparison says first."""
    arm = evidence.baseline
    if not evidence.is_verified:
        return (
            "Nothing is right or wrong in this task: pass@k is undefined. What the samplers do to the samples stands under Diversity, "
            "and what they cost under Distiller and cost."
        )
    values = arm.pass_at_P(arm.group_size)
    return (
        f"{arm.name} solves {values.mean():.1%} of {len(values)} problems with groups of {arm.group_size}. "
        "There is nothing to compare it with: give a run of another sampler on the same problems."
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class SettingRow:
    """One setting, version or fact of origin over the runs."""

    name: str
    cells: list[str]
    """One per run."""

    @property
    def differs(self) -> bool:
        """True if the runs are not alike in it."""
        return len(set(self.cells)) > 1


def settings_rows(evidence: Evidence) -> list[SettingRow]:
    """The whole configuration and origin of every run, those that differ first."""
    manifests = [run.manifest for arm in evidence.arms for run in arm.runs]
    flat = [
        {
            "run id": manifest.run_id,
            "started": manifest.started,
            "commit": manifest.git_commit,
            "command": " ".join(manifest.argv),
            "data fingerprint": manifest.data_fingerprint,
            "model fingerprint": manifest.model_fingerprint,
            **flatten(manifest.config.to_dict()),
            **{f"version of {package}": version for package, version in manifest.versions.items()},
        }
        for manifest in manifests
    ]
    names = dict.fromkeys(name for settings in flat for name in settings)
    rows = [SettingRow(name=name, cells=[cell(settings.get(name)) for settings in flat]) for name in names]
    return sorted(rows, key=lambda row: not row.differs)


def cell(value: Any) -> str:
    """A setting as text."""
    return value if isinstance(value, str) else json.dumps(value)
