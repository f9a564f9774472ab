"""The main job as a user runs it: embedded model, real engines, real Ray, real Parquet."""

import json
import math
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow.parquet
import pytest
from rich.console import Console

from actors.config import EngineConfig, SamplingConfig
from esamp.config import ESampConfig
from jobs import passk
from pipelines.config.run import EMBEDDED_MODEL, RunConfig
from pipelines.errors import InputError
from pipelines.passk import run_passk, run_side_by_side
from pipelines.problems.countdown import CountdownProblem, evaluation_problems, verify_answer
from pipelines.rollouts.config import ExportConfig
from pipelines.rollouts.export import export_rollouts
from pipelines.runs.folder import RunFolder
from pipelines.runs.summary import summary_table
from pipelines.sandbox.choice import choose_backend
from tests.interruptible import hear_ctrl_c

pytestmark = [pytest.mark.ray, pytest.mark.engine]
PROBLEMS, SAMPLES = 10, 8
ENGINE = EngineConfig(enforce_eager=True, dtype="float32", kv_cache_gib=0.1)
ENGINE_FLAGS = ["--engine.enforce-eager", "--engine.dtype", "float32", "--engine.kv-cache-gib", "0.1"]


def run_config(output: Path, **settings: Any) -> RunConfig:
    return RunConfig(
        limit=PROBLEMS,
        samples=SAMPLES,
        output=output,
        engine=ENGINE,
        sampling=SamplingConfig(max_tokens=48),
        **settings,
    )


def rows(run_folder: Path) -> list[dict[str, Any]]:
    table = pyarrow.parquet.read_table(run_folder / "samples")
    return sorted(table.to_pylist(), key=lambda row: (row["problem_id"], row["sample_index"]))


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, RunConfig]:
    """Three finished runs on the same problems."""
    folder = tmp_path_factory.mktemp("runs")
    configs = {
        "vanilla": run_config(folder / "vanilla", sampler="vanilla"),
        "actor": run_config(folder / "actor", sampler="esamp", esamp=ESampConfig(trainer="actor")),
        "local": run_config(folder / "local", sampler="esamp", esamp=ESampConfig(trainer="local")),
    }
    with (folder / "console.txt").open("w") as file:
        console = Console(file=file, width=120)
        console.print(summary_table(run_side_by_side(list(configs.values()), console=console)))
    return configs


@pytest.mark.parametrize("name", ["vanilla", "actor", "local"])
def test_every_sample_is_there_once_with_an_honest_verdict(runs: dict[str, RunConfig], name: str) -> None:
    problems = {p.problem_id: p for p in evaluation_problems(PROBLEMS)}
    stored = rows(runs[name].run_folder)
    assert Counter((row["problem_id"], row["sample_index"]) for row in stored) == Counter(
        (problem, index) for problem in problems for index in range(SAMPLES)
    )
    for row in stored:
        assert row["status"] == verify_answer(problems[row["problem_id"]], row["text"]).status
        assert CountdownProblem.from_prompt(row["prompt"]) == problems[row["problem_id"]]
        assert row["error"] is None and row["num_tokens"] == len(row["token_ids"]) == len(row["behaviour_logprobs"])
    assert len({row["seed"] for row in stored}) == len(stored)


def test_vanilla_draws_from_the_model_and_esamp_does_not(runs: dict[str, RunConfig]) -> None:
    for row in rows(runs["vanilla"].run_folder):
        assert row["behaviour_logprobs"] == pytest.approx(row["policy_logprobs"], abs=1e-4)
        assert row["intervened_tokens"] == 0 and row["distiller_version"] == ""
    for name in ("actor", "local"):
        stored = rows(runs[name].run_folder)
        differences = [
            abs(b - p) for row in stored for b, p in zip(row["behaviour_logprobs"], row["policy_logprobs"], strict=True)
        ]
        assert sum(difference > 0.01 for difference in differences) > len(differences) / 10
        for row in stored:
            assert row["intervened_tokens"] == row["num_tokens"] - 1
            if row["intervened_tokens"]:
                assert row["lag_mean"] == 1 if name == "local" else row["lag_mean"] >= 1
            # The first steps of a group come before its first training is known.
            known = sum(not math.isnan(loss) for loss in row["loss"])
            assert known <= row["intervened_tokens"] and (name == "actor" or known >= row["intervened_tokens"] - 1)


def test_the_summary_is_counted_from_the_samples(runs: dict[str, RunConfig]) -> None:
    for config in runs.values():
        summary = json.loads((config.run_folder / "summary.json").read_text())
        stored = rows(config.run_folder)
        correct = [row["status"] == "correct" for row in stored]
        assert summary["pass_at"][0]["estimate"] == pytest.approx(sum(correct) / len(correct))
        solved = {row["problem_id"] for row, is_correct in zip(stored, correct, strict=True) if is_correct}
        assert [point["k"] for point in summary["pass_at"]] == [1, 2, 4, 8]
        assert summary["solved"] == len(solved)
        assert summary["pass_at"][-1]["estimate"] == pytest.approx(len(solved) / PROBLEMS)
        assert summary["tokens"] == sum(row["num_tokens"] for row in stored) and summary["tokens_per_s"] > 0
        assert summary["intervened_share"] == (0.0 if config.sampler == "vanilla" else 1.0)


def test_a_finished_run_is_not_drawn_again(runs: dict[str, RunConfig]) -> None:
    before = sorted((runs["local"].run_folder / "samples").iterdir())
    started = time.monotonic()
    run_passk(runs["local"], console=Console(quiet=True))
    assert time.monotonic() - started < 20, "an engine was started"
    assert sorted((runs["local"].run_folder / "samples").iterdir()) == before


def test_samples_become_rollouts(runs: dict[str, RunConfig], tmp_path: Path) -> None:
    folder = RunFolder(runs["actor"].run_folder)
    assert export_rollouts(folder, tmp_path / "rollouts.parquet", ExportConfig()).rows == PROBLEMS * SAMPLES
    by_group: dict[str, list[dict[str, Any]]] = {}
    for row in pyarrow.parquet.read_table(tmp_path / "rollouts.parquet").to_pylist():
        assert len(row["response_token_ids"]) == len(row["behaviour_logprobs"]) == len(row["policy_logprobs"])
        by_group.setdefault(row["group_id"], []).append(row)
    for group in by_group.values():
        assert sum(row["advantage"] for row in group) == pytest.approx(0, abs=1e-4)
        assert all(
            (row["advantage"] > 0) == (row["reward"] == 1 and any(r["reward"] == 0 for r in group)) for row in group
        )


@pytest.mark.slow
def test_a_code_task_from_the_command_line_to_its_verdicts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the Countdown model goes on with is a comment of these programs."""
    try:
        choose_backend(allow_unsafe_execution=False)
    except InputError as error:
        pytest.skip(str(error))
    monkeypatch.setenv("COLUMNS", "400")
    comment = "# 3 7 19 25=84:"
    problems = [
        {"task_id": "right", "prompt": f"def f():\n    return 42\n\n{comment}", "entry_point": "f"},
        {"task_id": "undefined", "prompt": comment, "entry_point": "f"},
        {"task_id": "wrong", "prompt": f"def f():\n    return 43\n\n{comment}", "entry_point": "f"},
        {"task_id": "beyond the limit", "prompt": comment, "entry_point": "f"},
    ]
    rows_of_file = [{**problem, "test": "def check(f):\n    assert f() == 42\n"} for problem in problems]
    dataset = tmp_path / "local.jsonl"
    dataset.write_text("".join(json.dumps(row) + "\n" for row in rows_of_file))
    task = ["--task", "humaneval", "--dataset", str(dataset), "--limit", "3", "--samples", "2"]
    draw = ["--sampler", "vanilla", "--sampling.max-tokens", "16", *ENGINE_FLAGS]
    passk.main([*task, *draw, "--output", str(tmp_path / "run")])
    told = capsys.readouterr().out
    assert told.count("code runs in a sandbox of level") == 1
    assert "attacks were stopped" in told
    statuses = {"right": "correct", "undefined": "wrong", "wrong": "wrong"}
    stored = rows(tmp_path / "run")
    assert [(row["problem_id"], row["status"]) for row in stored] == [
        (name, status) for name, status in statuses.items() for _ in range(2)
    ]
    assert {row["detail"] for row in stored if row["problem_id"] == "undefined"} == {
        "NameError: the program defines no 'f'"
    }
    assert json.loads((tmp_path / "run" / "summary.json").read_text())["solved"] == 1


@pytest.mark.slow
def test_ctrl_c_keeps_what_is_finished_and_the_same_command_goes_on(tmp_path: Path) -> None:
    command = [
        *(sys.executable, "-m", "jobs.passk", "--limit", "60", "--samples", "16", "--sampler", "esamp"),
        *("--esamp.trainer", "local", "--work-units-per-file", "2", "--output", str(tmp_path / "run"), *ENGINE_FLAGS),
    ]
    root = Path(passk.__file__).parents[1]
    process = subprocess.Popen(
        command,
        cwd=root,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=hear_ctrl_c,
    )
    deadline = time.monotonic() + 240
    while not list((tmp_path / "run" / "samples").glob("*.parquet")):
        assert process.poll() is None and time.monotonic() < deadline, process.communicate()
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGINT)
    _, told = process.communicate(timeout=120)
    assert process.returncode == 130, told
    assert "of 60 work units are saved" in told and "the same command goes on from there" in told
    kept = rows(tmp_path / "run")
    assert 0 < len(kept) < 60 * 16
    subprocess.run(command, cwd=root, check=True, timeout=500, capture_output=True)
    stored = rows(tmp_path / "run")
    assert Counter((row["problem_id"], row["sample_index"]) for row in stored) == Counter(
        (p.problem_id, index) for p in evaluation_problems(60) for index in range(16)
    )
    texts = {(row["problem_id"], row["sample_index"]): row["text"] for row in stored}
    assert all(texts[row["problem_id"], row["sample_index"]] == row["text"] for row in kept), (
        "kept samples were drawn again"
    )


@pytest.mark.slow
def test_a_model_without_auxiliary_hidden_states_is_refused(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    from transformers import GPT2Config, GPT2LMHeadModel

    model = tmp_path / "gpt2"
    GPT2LMHeadModel(GPT2Config(vocab_size=20, n_positions=64, n_embd=64, n_layer=2, n_head=2)).save_pretrained(model)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(EMBEDDED_MODEL / name, model)
    with pytest.raises(SystemExit) as stop:
        passk.main(
            ["--model", str(model), "--limit", "2", "--samples", "2", "--output", str(tmp_path / "run"), *ENGINE_FLAGS]
        )
    assert stop.value.code == 2
    told = capfd.readouterr().err.strip().splitlines()[-1]
    assert "GPT2LMHeadModel has no auxiliary hidden states" in told and "sampler=vanilla" in told
    assert not (tmp_path / "run").exists()
