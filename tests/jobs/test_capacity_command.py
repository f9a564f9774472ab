"""jobs.capacity: what it prints and writes."""

import json
import shlex
from pathlib import Path

import pytest

from jobs import capacity

DOCUMENT = (Path(__file__).resolve().parents[2] / "docs" / "scaling.md").read_text()
PRINTED = ".venv/bin/python -m jobs.capacity --markdown "
COMMANDS = [line.strip().removeprefix(PRINTED) for line in DOCUMENT.splitlines() if line.strip().startswith(PRINTED)]
"""Flags with which the document's tables were printed."""


def test_every_combination_that_exists_is_estimated_and_drawn(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    picture = tmp_path / "capacity.png"
    capacity.main(["--json", "--plot", str(picture)])
    report = json.loads(capsys.readouterr().out)
    assert len(report["rows"]) == 3 * 3 * (4 + 3), "models x shards x scopes, of which cluster has no local trainer"
    assert picture.stat().st_size > 10_000
    capacity.main(["--model-shape", "7b", "--shards", "64", "--scope", "prompt", "--trainer", "actor"])
    assert "too slow" in capsys.readouterr().out


def test_the_document_has_commands_to_check() -> None:
    assert len(COMMANDS) == 3


@pytest.mark.parametrize("flags", COMMANDS)
def test_the_document_has_what_the_command_prints(flags: str, capsys: pytest.CaptureFixture[str]) -> None:
    capacity.main(["--markdown", *shlex.split(flags)])
    printed = capsys.readouterr().out.splitlines()
    assert len(printed) > 2 and [line for line in printed if line not in DOCUMENT] == []


def test_a_run_is_assessed_from_its_yaml_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "run.yaml"
    path.write_text("sampler: esamp\nsamples: 8\nlimit: 4\nesamp: {trainer: local}\n")
    capacity.main(["--run", str(path)])
    printed = capsys.readouterr().out
    assert "4 problems, 32 samples" in printed and "keeps up" in printed


def test_bad_input_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        capacity.main(["--shards", "0"])
    assert stop.value.code == 2
    error = capsys.readouterr().err
    assert "shards must be >= 1; got 0." in error and error.count("\n") == 1
