"""python -m jobs.devtools.lockstep: a small study on the embedded model."""

from pathlib import Path

import pytest

from jobs.devtools.lockstep import main
from pipelines.devtools.lockstep.conditions import CONDITIONS
from pipelines.devtools.lockstep.study import read_condition


def test_conditions_are_sampled_once_and_compared_with_the_first(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    args = ["--problems", "3", "--samples", "8", "--output", str(tmp_path), "--conditions"]
    rounds = "rate 0.003, 8 rounds, 4 steps"
    main([*args, "vanilla", "esamp", rounds, "--mechanism"])
    rows = {line.split(" | ")[0].strip("| "): line for line in capsys.readouterr().out.splitlines() if "|" in line}
    vanilla = read_condition(tmp_path / "vanilla-0.npz")
    assert vanilla.correct_PN.shape == (3, 8) and vanilla.samples.tokens_PNT.shape[:2] == (3, 8)
    assert {"vanilla", "esamp", rounds} <= set(rows)
    assert "beta" in rows["esamp"], "the table of mechanisms is the last that was printed"
    written = {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    main([*args, "esamp", "vanilla"])
    [first] = [line for line in capsys.readouterr().out.splitlines() if line.startswith("| esamp")]
    assert ", p " not in first, "the baseline is the first condition, and has no p-value"
    assert {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()} == written


def test_unknown_conditions_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--conditions", "nothing"])
    assert "vanilla" in capsys.readouterr().err


def test_every_condition_changes_something() -> None:
    assert len({str(config) for config in CONDITIONS.values()}) == len(CONDITIONS)


def test_the_old_name_of_the_option_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["--arms", "vanilla"])
    assert stop.value.code == 2
    assert capsys.readouterr().err == "error: the option --arms is named --conditions now.\n"
