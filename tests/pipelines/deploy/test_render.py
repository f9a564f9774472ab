"""From a run to its manifest: sizes, refusals, comments, and the retries of bad input."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet
import pytest
import tyro
import yaml
from transformers import Qwen2Config

from jobs import kuberay, passk
from pipelines.config.run import RunConfig
from pipelines.deploy.command_line import run_flags, words
from pipelines.deploy.commented_yaml import CommandLine, Noted, plain, to_yaml
from pipelines.deploy.config import DeployConfig
from pipelines.deploy.kinds import placed
from pipelines.deploy.retries import MARKER, RETRY_ID, bad_input_ends_retries
from pipelines.deploy.sizes import cluster_size
from pipelines.errors import ClusterInputError, InputError

QWEN_32B = Qwen2Config(hidden_size=5120, intermediate_size=27648, num_hidden_layers=64, vocab_size=152064)


def run_with(*flags: str) -> RunConfig:
    return tyro.cli(passk.PasskCommand, args=["--sampler", "esamp", "--esamp.trainer", "local", *flags]).run


@pytest.fixture
def large_model(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("pipelines.deploy.sizes", "pipelines.capacity.exchange"):
        monkeypatch.setattr(f"{module}.load_model_config", lambda config: QWEN_32B)


@pytest.mark.parametrize(
    "flags",
    [
        (),
        ("--samples", "64", "--pass-at", "1", "8", "--engine.enforce-eager", "--no-chat"),
        (
            "--task",
            "math500",
            "--sampler",
            "vanilla",
            "--output",
            "s3://bucket/runs/x",
            "--template",
            "Say: {problem} 'now'",
        ),
        ("--stop.successes", "2", "--esamp.beta", "0.5", "--min-shards", "2", "--shards", "4"),
    ],
)
def test_the_flags_of_a_run_give_the_run(flags: tuple[str, ...]) -> None:
    run = run_with(*flags)
    assert tyro.cli(passk.PasskCommand, args=words(run_flags(run))).run == run


def test_yaml_with_comments_is_the_same_yaml() -> None:
    manifest: dict[str, Any] = {
        "a": Noted({"b": [1, Noted({"c": "x: y"}, "why c"), {"d": [], "e": {}}]}, "why a " * 40),
        "command": CommandLine(("python -m x", "--flag 'a b'")),
        "texts": ["", "yes", "0", "# no", None, True, "line: {}"],
    }
    text = to_yaml(manifest, header="one\n\ntwo")
    assert yaml.safe_load(text) == plain(manifest)
    assert text.startswith("# one\n#\n# two\n\n") and "# why c\n" in text
    assert max(map(len, text.splitlines())) < 120


def test_a_model_that_does_not_fit_its_gpus_is_refused(large_model: None) -> None:
    run, deploy = run_with("--engine.num-gpus", "1", "--shards", "4"), DeployConfig(gpu_memory_gib=48)
    with pytest.raises(InputError, match=r"needs about \d+ GiB of GPU memory .* larger --run.engine.num-gpus"):
        cluster_size(run, deploy)
    size = cluster_size(run_with("--engine.num-gpus", "2", "--shards", "4"), deploy)
    assert (size.shards.replicas, size.shards.gpus) == (4, 2)
    assert size.shards.memory_gib > 60, "the weights pass through the pod's memory"


def test_shards_that_share_a_gpu_share_a_pod() -> None:
    size = cluster_size(run_with("--engine.num-gpus", "0.5", "--shards", "5"), DeployConfig())
    assert (size.shards.replicas, size.shards.gpus, size.shards.ray_cpus) == (3, 1, 2)


def test_a_run_folder_that_would_go_with_its_pod_is_refused() -> None:
    with pytest.raises(InputError, match="must lie below /mnt/esamp"):
        placed(run_with("--output", "runs/x"), DeployConfig())
    assert placed(run_with("--output", "s3://bucket/x"), DeployConfig()).output == "s3://bucket/x"
    assert str(placed(run_with(), DeployConfig()).output) == "/mnt/esamp/runs/countdown-esamp-0"


@pytest.mark.parametrize(
    "change",
    [
        {"name": "Esamp"},
        {"name": "x" * 37},
        {"image": "esamp-ray"},
        {"image": "esamp-ray:latest"},
        {"mount": "mnt"},
        {"retries": -1},
    ],
)
def test_a_placement_that_kubernetes_would_refuse_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=f"deploy.{next(iter(change))}"):
        replace(DeployConfig(), **change)


def attempt(folder: Path, error: Exception | None, *, arguments: tuple[str, ...] = ("--samples", "4")) -> None:
    with bad_input_ends_retries(str(folder), list(arguments)):
        if error is not None:
            raise error


def test_bad_input_ends_the_next_attempts_of_its_job_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "run"
    monkeypatch.setenv(RETRY_ID, "esamp-1")
    with pytest.raises(InputError, match="no such dataset"):
        attempt(folder, InputError("no such dataset."))
    with pytest.raises(InputError, match=rf"was refused: no such dataset\. .*{MARKER}"):
        attempt(folder, None)
    attempt(folder, None, arguments=("--samples", "8"))
    assert not (folder / MARKER).exists(), "another command, and the marker is gone"


def test_a_lost_gpu_and_a_machine_of_ones_own_leave_no_marker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError):
        attempt(tmp_path / "mine", InputError("bad"))
    monkeypatch.setenv(RETRY_ID, "esamp-1")
    with pytest.raises(InputError):
        attempt(tmp_path / "run", ClusterInputError("the cluster has 0 GPUs."))
    assert list(tmp_path.iterdir()) == []


def test_a_marker_does_not_keep_a_run_from_its_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """jobs.passk itself: refused, refused by the marker, and prepared once the dataset is there."""
    monkeypatch.setenv(RETRY_ID, "esamp-1")
    dataset, folder = tmp_path / "problems.jsonl", tmp_path / "run"
    args = [
        "--dataset",
        str(dataset),
        "--samples",
        "2",
        "--output",
        str(folder),
        "--dry-run",
    ]
    for reason in (f"{dataset} does not exist", "an attempt before this one was refused"):
        with pytest.raises(SystemExit) as end:
            passk.main(args)
        assert end.value.code == 2 and reason in capsys.readouterr().err
    dataset.write_text('{"problem": "1+1?", "answer": "2"}\n')
    monkeypatch.setenv(RETRY_ID, "esamp-2")
    passk.main(args)
    assert not list(folder.iterdir())


@pytest.mark.slow
@pytest.mark.engine
@pytest.mark.ray
def test_the_command_of_a_nightly_job_runs_in_its_submitters_shell(tmp_path: Path) -> None:
    """Rendered for CPU shards of the embedded model, with this folder as the claim; the folder has the scheduled date."""
    args = ["render", "--kind", "raycronjob", "--deploy.mount", str(tmp_path), "--run.limit", "2", "--run.samples", "2"]
    args += ["--run.engine.enforce-eager", "--run.engine.kv-cache-gib", "0.1"]
    file = tmp_path / "nightly.yaml"
    kuberay.main([*args, "--file", str(file)])
    job = yaml.safe_load(file.read_text())["spec"]["jobTemplate"]
    environment = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "RAYJOB_NAME": f"esamp-{1795917600 // 60}",
        RETRY_ID: "esamp-1",
    }
    shell = ["/bin/bash", "-ce", "--", job["entrypoint"]]
    done = subprocess.run(shell, env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, done.stdout + done.stderr
    folder = tmp_path / "runs" / "countdown-quasi-0-2026-11-29"
    assert pyarrow.parquet.read_table(folder / "samples").num_rows == 4
    assert not (folder / MARKER).exists()
