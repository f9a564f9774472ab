"""jobs.plan: what it prints and writes."""

import json
import shlex
from pathlib import Path

import pytest

from actors.capacity.trainer_costs import CALIBRATION
from jobs import plan
from pipelines.devtools.calibration_report import calibration_lines, calibration_table
from pipelines.devtools.markdown_table import markdown_table

DOCUMENT = (Path(__file__).resolve().parents[2] / "docs" / "scaling.md").read_text()
PRINTED = ".venv/bin/python -m jobs.plan --markdown "
COMMANDS = [line.strip().removeprefix(PRINTED) for line in DOCUMENT.splitlines() if line.strip().startswith(PRINTED)]
"""Flags with which the document's tables were printed; those of simulations and calibrations are for people with a quiet machine."""


def test_every_combination_that_exists_is_planned_and_drawn(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    picture = tmp_path / "plan.png"
    plan.main(["--json", "--plot", str(picture)])
    told = json.loads(capsys.readouterr().out)
    assert len(told["plans"]) == 3 * 3 * (4 + 3), "models x shards x scopes, of which cluster has no local trainer"
    assert picture.stat().st_size > 10_000
    plan.main(["--model-shape", "7b", "--shards", "64", "--scope", "prompt", "--trainer", "actor"])
    assert "too slow" in capsys.readouterr().out


@pytest.mark.parametrize("flags", [flags for flags in COMMANDS if "--simulate" not in flags])
def test_the_document_has_what_the_command_prints(flags: str, capsys: pytest.CaptureFixture[str]) -> None:
    plan.main(["--markdown", *shlex.split(flags)])
    printed = capsys.readouterr().out.splitlines()
    assert len(printed) > 2 and [line for line in printed if line not in DOCUMENT] == []


def test_the_document_has_the_points_of_the_calibration() -> None:
    measured = json.loads(CALIBRATION.read_text())
    assert markdown_table(calibration_table(measured)) in DOCUMENT
    assert [line for line in calibration_lines(measured) if line not in DOCUMENT] == []


def test_a_run_is_planned_from_its_yaml_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "run.yaml"
    path.write_text("samples: 8\nlimit: 4\nesamp: {trainer: local}\n")
    plan.main(["--run", str(path)])
    told = capsys.readouterr().out
    assert "4 problems, 32 samples" in told and "fits" in told


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--shards", "0"], "shards must be >= 1; got 0."),
        (["--calibration", "nowhere.json"], "calibration nowhere.json cannot be read"),
    ],
)
def test_bad_input_is_one_line(flags: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        plan.main(flags)
    assert stop.value.code == 2
    error = capsys.readouterr().err
    assert said in error and error.count("\n") == 1
