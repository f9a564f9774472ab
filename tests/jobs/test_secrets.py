"""What a machine's environment holds of secrets is in nothing that a run leaves."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet
import pytest

pytestmark = [pytest.mark.slow, pytest.mark.ray, pytest.mark.engine]
SECRETS = {
    "HF_TOKEN": "hf_plantedhubtoken0123456789abcdefghij",
    "AWS_SECRET_ACCESS_KEY": "planted/aws/secret/0123456789abcdefghijklm",
    "AWS_SESSION_TOKEN": "plantedawssession0123456789",
    "RAY_AUTH_TOKEN": "plantedraytoken0123456789abcdef0123456789abcdef0123456789abcdef01",
    "OPENAI_API_KEY": "sk-plantedjudgekey0123456789",
    "WANDB_API_KEY": "plantedwandb0123456789abcdef0123456789ab",
}


def found_in(content: bytes) -> set[str]:
    return {name for name, secret in SECRETS.items() if secret.encode() in content}


def contents(folder: Path) -> dict[Path, bytes]:
    """Every file below a folder; Parquet also as what it holds, since its pages are compressed."""
    files = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file() and not path.is_symlink()}
    for path in files:
        if path.suffix == ".parquet":
            table = pyarrow.parquet.read_table(path)
            files[path] += repr(table.to_pylist()).encode() + repr(table.schema.metadata).encode()
    return files


@pytest.fixture
def logs() -> Iterator[Path]:
    """Where Ray keeps its files. A short path: its sockets lie there, whose names have 107 bytes at most."""
    with tempfile.TemporaryDirectory(prefix="ray", dir="/tmp") as folder:
        yield Path(folder)


def test_planted_secrets_are_in_no_run_folder_report_or_log(tmp_path: Path, logs: Path) -> None:
    folder = tmp_path / "run"
    command = [sys.executable, "-m", "jobs.passk", "--limit", "4", "--samples", "4", "--output", str(folder)]
    command += [
        "--engine.enforce-eager",
        "--engine.kv-cache-gib",
        "0.1",
        "--sampler",
        "esamp",
        "--esamp.trainer",
        "actor",
    ]
    done = subprocess.run(
        command,
        env={**os.environ, **SECRETS, "RAY_AUTH_MODE": "token", "RAY_TMPDIR": str(logs)},
        capture_output=True,
        timeout=500,
    )
    assert done.returncode == 0, done.stderr.decode()
    assert found_in(done.stdout + done.stderr) == set()
    written = contents(folder)
    assert {"run.json", "summary.json", "report.html"} <= {path.name for path in written}
    assert any(path.suffix == ".parquet" for path in written)
    written |= contents(logs)
    assert any(path.suffix == ".log" for path in written), "Ray's own logs are looked at too"
    assert {path: names for path, content in written.items() if (names := found_in(content))} == {}


def test_the_search_finds_what_is_there(tmp_path: Path) -> None:
    table = pyarrow.table({"text": ["say " + SECRETS["HF_TOKEN"]] * 50})
    pyarrow.parquet.write_table(table, tmp_path / "x.parquet", compression="zstd")
    assert [found_in(content) for content in contents(tmp_path).values()] == [{"HF_TOKEN"}]
