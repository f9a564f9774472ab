"""Old names of commands and options: one line with the new name, exit code 2."""

import runpy

import pytest

from jobs.command.renamed import refuse_options


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("jobs.plan", ["jobs.capacity", "jobs.devtools.simulate_exchange"]),
        ("jobs.bench", ["jobs.devtools.bench_engine", "jobs.devtools.bench_pipeline", "jobs.devtools.bench_verifiers"]),
    ],
)
def test_a_command_that_was_split_names_the_new_ones(
    old: str, new: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stop:
        runpy.run_module(old, run_name="__main__")
    assert stop.value.code == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and all(f"python -m {name}" in error for name in new)


@pytest.mark.parametrize("args", [["--old", "1"], ["--other", "--old=1"]])
def test_an_option_of_an_old_name_is_refused_with_the_new_one(
    args: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    refuse_options(["--new", "--older"], {"--old": "--new"})
    with pytest.raises(SystemExit) as stop:
        refuse_options(args, {"--old": "--new"})
    assert stop.value.code == 2
    assert capsys.readouterr().err == "error: the option --old is named --new now.\n"
