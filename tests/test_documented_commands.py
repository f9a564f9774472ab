"""Each documented command is one that its job takes. The slow tier runs those that make a run, with a tiny model in place of theirs."""

import importlib
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tyro

from jobs import passk
from pipelines.config.run import RunConfig
from pipelines.runs.folder import RunFolder
from tests.documented_commands import PAGES, ROOT, DocumentedCommand, documented_commands

COMMANDS = [command for page in PAGES for command in documented_commands(page)]
RUNS = [
    command
    for command in COMMANDS
    if command.job in ("jobs.passk", "jobs.rollouts")
    and command.page in ("README.md", "cluster.yaml", "kueue.yaml", "raycronjob.yaml", "rayjob.yaml", "rollouts.yaml")
    and any(word.endswith("model") for word in command.words)
]
"""Those that make a run."""
READERS = ("jobs.watch", "jobs.report", "jobs.rollouts")
"""Jobs that read it."""


class Parsed(Exception):
    """The job's own parser has taken its words."""


@pytest.fixture
def parse_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """Jobs end as soon as they have parsed their words."""

    def ending(parse: Callable[..., Any]) -> Callable[..., Any]:
        def parse_and_end(*args: Any, **settings: Any) -> Any:
            parse(*args, **settings)
            raise Parsed

        return parse_and_end

    monkeypatch.setattr(tyro, "cli", ending(tyro.cli))
    monkeypatch.setattr(tyro.extras, "subcommand_cli_from_dict", ending(tyro.extras.subcommand_cli_from_dict))
    monkeypatch.setattr(
        passk, "stored_config", lambda folder, samples: RunConfig(sampler="esamp", samples=int(samples))
    )


def test_commands_are_found_on_every_kind_of_page() -> None:
    """A pattern that finds nothing would let every page pass."""
    pages = {command.page for command in COMMANDS}
    assert {"README.md", "runs.md", "cluster.yaml", "rayjob.yaml", "rollouts.yaml"} <= pages
    assert {command.page for command in RUNS} == {
        "README.md",
        "cluster.yaml",
        "kueue.yaml",
        "raycronjob.yaml",
        "rayjob.yaml",
        "rollouts.yaml",
    }


@pytest.mark.usefixtures("parse_only")
@pytest.mark.parametrize("command", COMMANDS, ids=str)
def test_a_documented_command_is_one_that_its_job_takes(command: DocumentedCommand) -> None:
    if "--help" in command.words:
        pytest.skip("--help is tried for every job by the test of the wheel")
    with pytest.raises(Parsed):
        importlib.import_module(command.job).main(list(command.words))


ROWS: dict[str, dict[str, Any]] = {
    "math500": {"problem": "3 5 7 -> 15", "answer": "15", "subject": "Algebra", "level": 1},
    "gsm8k": {"question": "3 5 7 -> 15", "answer": "#### 15"},
}
"""A row of each task's dataset."""
STAND_INS = {"model": "embedded", "engine.num-gpus": "0", "shards": "1", "samples": "4", "sampling.max-tokens": "16"}
"""What this machine has in place of what the documents ask for. The flags stay."""
SMALL = {"engine.kv-cache-gib": "0.1", "engine.dtype": "float32"}


def with_stand_ins(command: DocumentedCommand, folder: Path) -> list[str]:
    """The words of a command that this machine can run."""
    words, prefix = list(command.words), "--run." if command.job == "jobs.rollouts" else "--"
    for name, value in (STAND_INS | SMALL).items():
        flag = f"{prefix}{name}"
        if flag in words:
            words[words.index(flag) + 1] = value
        elif name in SMALL or name == "sampling.max-tokens":
            words += [flag, value]
    task = words[words.index(f"{prefix}task") + 1]
    dataset = folder / f"{task}.jsonl"
    dataset.write_text("".join(json.dumps(ROWS[task] | {"unique_id": f"p{i}"}) + "\n" for i in range(2)))
    # The tiny model reads 128 tokens, which the instructions of a task alone would take.
    words += [f"{prefix}dataset", str(dataset), f"{prefix}template", "{problem}"]
    for flag in ("--output", "--run.output"):
        if flag in words:
            place = words.index(flag) + 1
            words[place] = str(folder / "runs" / Path(words[place]).name.split("$")[0])
    return words


def run_job(job: str, words: list[str], folder: Path) -> None:
    """In a process of its own, which must succeed."""
    command = [sys.executable, "-m", job, *words]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=400)
    assert done.returncode == 0, f"{job} {words}\n{done.stdout}{done.stderr}"


@pytest.mark.slow
@pytest.mark.engine
@pytest.mark.ray
@pytest.mark.parametrize("command", RUNS, ids=str)
def test_a_documented_run_is_made_with_a_tiny_model(command: DocumentedCommand, tmp_path: Path) -> None:
    (tmp_path / "runs").mkdir()
    run_job(command.job, with_stand_ins(command, tmp_path), tmp_path)
    [manifest] = (tmp_path / "runs").glob("*/run.json")
    folder = RunFolder(manifest.parent)
    count = folder.count_work_units(folder.manifest())
    assert (count.planned, count.unfinished) == (2, 0)
    if command.job == "jobs.rollouts":
        assert len(list((tmp_path / "runs").glob("*.parquet"))) == 1


@pytest.mark.slow
@pytest.mark.engine
@pytest.mark.ray
def test_the_commands_of_the_readme_read_the_run_that_its_command_makes(tmp_path: Path) -> None:
    [run] = [command for command in RUNS if command.page == "README.md"]
    run_job(run.job, with_stand_ins(run, tmp_path), tmp_path)
    readers = [command for command in COMMANDS if command.page == "README.md" and command.job in READERS]
    assert {command.job for command in readers} == set(READERS)
    for reader in readers:
        words = ["runs/math500-quasi-0" if word.startswith("RUN") else word for word in reader.words]
        run_job(reader.job, words, tmp_path)
    assert (tmp_path / "rollouts.parquet").is_file()
