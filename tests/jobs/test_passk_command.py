"""The command line of jobs.passk: bad input ends with one line and code 2, --dry-run starts nothing, --config is flags."""

import json
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest
import yaml

from jobs import compare, passk, rollouts
from pipelines.config.run import RunConfig
from pipelines.errors import InputError
from pipelines.runs.folder import RunFolder
from pipelines.runs.manifest import new_manifest
from pipelines.runs.plan import plan_run
from tests.pipelines.stored_rows import make_run, row


def write_rows(path: Path, rows: list[dict[str, object]]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


@pytest.mark.parametrize(
    ("flags", "parts"),
    [
        (["--samples", "4", "--pass-at", "8"], ["k=8 with samples=4", "Draw more --samples"]),
        (["--esamp.beta", "-1"], ["beta must be finite and >= 0; got -1.0"]),
        (["--esamp.beta", "nan"], ["beta must be finite and >= 0; got nan"]),
        (["--esamp.beta", "0.5"], ["esamp.beta: not a setting of sampler quasi", "choose --sampler esamp or"]),
        (["--model", "/no/such/folder"], ["model folder /no/such/folder does not exist"]),
        (["--dataset", "missing.jsonl"], ["dataset file missing.jsonl does not exist"]),
        (["--dataset", "EMPTY"], ["has no rows"]),
        (["--dataset", "DOUBLE"], ["ids must be unique; 'a' in column 'id' appears 2 times"]),
        (["--dataset", "UNNAMED"], ["no problem column", "it has text", "--problem-column"]),
        (["--verifier", "nonsense"], ["verifier must be auto"]),
        (["--verifier", "no_such_module:f"], ["module no_such_module cannot be imported"]),
        (["--config", "missing.yaml"], ["config file missing.yaml cannot be read"]),
        (["--no-such-flag", "3"], ["--no-such-flag"]),
        (
            ["--engine.extra", '{"quantisation": "fp8"}'],
            ["no engine argument quantisation; did you mean quantization?"],
        ),
        (["--samples", "many"], ["--samples", "'many'"]),
    ],
)
def test_bad_input_ends_with_code_2_and_leaves_nothing(
    flags: list[str], parts: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    datasets = {
        "EMPTY": write_rows(tmp_path / "empty.jsonl", []),
        "DOUBLE": write_rows(tmp_path / "double.jsonl", [{"id": "a", "problem": "x", "answer": "1"}] * 2),
        "UNNAMED": write_rows(tmp_path / "unnamed.jsonl", [{"text": "x", "answer": "1"}]),
    }
    output = tmp_path / "run"
    with pytest.raises(SystemExit) as stop:
        passk.main(["--output", str(output), *(datasets.get(flag, flag) for flag in flags)])
    assert stop.value.code == 2
    errors = " ".join(capsys.readouterr().err.replace("│", " ").split())
    assert all(part in errors for part in parts), errors
    assert not output.exists()


def test_code_without_a_sandbox_is_refused_before_anything_starts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipelines.sandbox.choice.BACKENDS", ())
    row: dict[str, object] = {"task_id": "t/0", "prompt": "def f():\n", "entry_point": "f", "test": "def check(f): f()"}
    dataset = write_rows(tmp_path / "code.jsonl", [row])
    flags = ["--task", "humaneval", "--dataset", dataset, "--output", str(tmp_path / "run")]
    with pytest.raises(SystemExit) as stop:
        passk.main(flags)
    assert stop.value.code == 2
    errors = capsys.readouterr().err
    assert len(errors.splitlines()) == 1
    assert "Install bubblewrap" in errors and "--allow-unsafe-execution" in errors
    passk.main([*flags, "--allow-unsafe-execution", "--dry-run"])
    assert "code runs WITHOUT a sandbox" in capsys.readouterr().out
    assert not (tmp_path / "run").exists()


def test_a_folder_of_another_run_is_refused_with_the_difference(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "run"
    other = RunConfig(sampler="esamp", limit=2, output=output, seed=5)
    RunFolder(output).open(
        new_manifest(other, data_fingerprint="d", model_fingerprint="f", num_problems=2, num_units=2),
        plan_run([], lambda problem: problem.text, other),
    )
    with pytest.raises(SystemExit) as stop:
        passk.main(["--limit", "2", "--output", str(output)])
    assert stop.value.code == 2
    errors = capsys.readouterr().err
    assert "seed: 5 -> 0" in errors
    assert "Give another --output" in errors
    assert len(errors.splitlines()) == 1


def test_a_dry_run_shows_config_prompt_and_estimate_and_writes_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    dataset = write_rows(tmp_path / "data.jsonl", [{"problem": "12 [bold]+ 30=", "answer": "42"}] * 3)
    passk.main(
        [
            "--dry-run",
            "--dataset",
            dataset,
            "--samples",
            "8",
            "--template",
            "Q: {problem}",
            "--output",
            str(tmp_path / "run"),
        ]
    )
    text = capsys.readouterr().out
    assert "Q: 12 [bold]+ 30=" in text
    assert "samples: 8" in text
    assert "temperature: 1.0" in text
    assert "3 problems x 8 samples = 24 samples" in text
    assert "at most about" in text
    assert not (tmp_path / "run").exists()


def test_flags_win_over_the_config_file(tmp_path: Path) -> None:
    file = tmp_path / "run.yaml"
    file.write_text("sampler: esamp\nsamples: 64\nchat: false\nengine:\n  max_num_seqs: 8\nesamp:\n  beta: 0.5\n")
    config = passk.parse(["--config", str(file), "--samples", "4"]).run
    assert (config.samples, config.chat, config.engine.max_num_seqs, config.esamp.beta) == (4, False, 8, 0.5)
    assert passk.parse([f"--config={file}"]).run.samples == 64


def test_an_extension_takes_the_settings_that_are_not_given_from_the_run(tmp_path: Path) -> None:
    held = RunConfig(sampler="esamp", samples=2, seed=5, shards=3, output=tmp_path / "run")
    make_run(tmp_path / "run", held, [[row(0, 0)]])
    short = passk.parse(["--output", str(tmp_path / "run"), "--extend", "8"])
    assert (short.extend, short.run) == (8, replace(held, samples=8))
    full = passk.parse(
        ["--samples", "2", "--seed", "5", "--output", str(tmp_path / "run"), "--extend=8", "--shards", "1"]
    )
    assert (full.extend, full.run) == (8, replace(held, shards=1))
    with pytest.raises(InputError, match="holds no run"):
        passk.parse(["--output", str(tmp_path / "other"), "--extend", "8"])


def test_help_describes_every_setting(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        passk.main(["--help"])
    assert stop.value.code == 0
    text = capsys.readouterr().out
    for flag in (
        "--model",
        "--dataset",
        "--samples",
        "--sampler",
        "--engine.num-gpus",
        "--sampling.temperature",
        "--esamp.beta",
    ):
        assert flag in text


def test_the_config_that_a_dry_run_prints_is_a_config_file(tmp_path: Path) -> None:
    config = RunConfig(
        sampler="esamp", limit=3, samples=5, pass_at=(1, 5), template="Solve\n{problem}:", output=tmp_path / "run"
    )
    file = tmp_path / "run.yaml"
    file.write_text(yaml.safe_dump(config.to_dict()))
    assert passk.parse(["--config", str(file)]).run == config


@pytest.mark.parametrize("job", [passk, rollouts, compare])
def test_an_old_option_ends_with_one_line_that_names_the_new_one(
    job: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    prefix = "--" if job is passk else "--run."
    with pytest.raises(SystemExit) as stop:
        job.main([f"{prefix}stop.hopeless", "4"])
    assert stop.value.code == 2
    assert (
        capsys.readouterr().err == f"error: {prefix}stop.hopeless is now {prefix}stop.give-up-after; use that name.\n"
    )
