"""Write the report of finished runs: one HTML file, its figures as PNG, its numbers as CSV. No engine is started.

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
from pipelines.report import number_format
from pipelines.report.caveats import caveats, launch_order_text
from pipelines.report.config import ReportConfig
from pipelines.report.csv_tables import differences_csv, measures_csv, problems_csv
from pipelines.report.figures.all_figures import draw_figures
from pipelines.report.measures.all_measures import measure_conditions
from pipelines.report.measures.comparison import compare_conditions, conclusion
from pipelines.report.measures.distiller import distiller_facts
from pipelines.report.measures.diversity import measure_diversity
from pipelines.report.measures.group_sizes import group_size_sweeps
from pipelines.report.measures.replicates import launch_order, replicate_spreads
from pipelines.report.readable_samples import collect_readable_samples
from pipelines.report.run_set import RunSet, read_run_set
from pipelines.runs.folder import RunFolder
from pipelines.runs.provenance import now
from pipelines.runs.storage import write_atomically


def write_report(folders: Sequence[RunFolder], output: Path, config: ReportConfig) -> str:
    """Write the report of these runs into a folder; returns its conclusions as text. Raises InputError as `read_run_set` does."""
    run_set = read_run_set(folders)
    measures = measure_conditions(run_set)
    comparisons = compare_conditions(run_set) if run_set.is_verified else []
    diversity = measure_diversity(run_set, config.diversity)
    orders = launch_order(run_set)
    reading = collect_readable_samples(run_set, config.reading)
    figures = draw_figures(run_set, measures, diversity, comparisons)
    conclusions = [conclusion(comparison) for comparison in comparisons] or [without_comparison(run_set)]
    html = template().render(
        run_set=run_set,
        conclusions=conclusions,
        caveats=caveats(run_set, orders, reading),
        measures=measures,
        comparisons=comparisons,
        diversity=diversity,
        diversity_config=config.diversity,
        orders=[launch_order_text(order) for order in orders],
        replicate_spreads=replicate_spreads(run_set) if run_set.is_verified else [],
        sweeps=group_size_sweeps(run_set) if run_set.is_verified else [],
        distiller=distiller_facts(run_set),
        reading=reading,
        figures=[(figure, Markup(figure.svg)) for figure in figures],  # safe: text of a run is in it as outlines only
        settings=settings_rows(run_set),
        made=now(),
    )
    for folder in (output, output / "figures", output / "tables"):
        folder.mkdir(parents=True, exist_ok=True)
    write_atomically(output / "report.html", html.encode())
    for figure in figures:
        write_atomically(output / "figures" / f"{figure.name}.png", figure.png)
    write_atomically(output / "tables" / "measures.csv", measures_csv(run_set, [*measures, *diversity]).encode())
    write_atomically(output / "tables" / "differences.csv", differences_csv(comparisons).encode())
    write_atomically(output / "tables" / "problems.csv", problems_csv(run_set).encode())
    return "\n".join(conclusions)


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
        "number": number_format.number,
        "ends": number_format.ends,
        "plain": number_format.plain,
        "p_value": number_format.p_value,
        "efficiency": number_format.efficiency,
        "points": number_format.signed_points,
    }
    return environment.get_template("page.html.j2")


def without_comparison(run_set: RunSet) -> str:
    """The conclusion of a report that has nothing to compare."""
    condition = run_set.baseline
    if not run_set.is_verified:
        return "This task has no verifier: pass@k is undefined. See Diversity for the samples, and Distiller and cost for what they cost."
    values = condition.pass_at_P(condition.group_size)
    return (
        f"{condition.name} solves {values.mean():.1%} of {len(values)} problems with groups of {condition.group_size}. "
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


def settings_rows(run_set: RunSet) -> list[SettingRow]:
    """The whole configuration and origin of every run, those that differ first."""
    manifests = [run.manifest for condition in run_set.conditions for run in condition.runs]
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
