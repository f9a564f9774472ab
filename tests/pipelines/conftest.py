"""One local Ray for the pipeline tests, and files to run on."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import ray


@pytest.fixture(scope="package")
def local_ray() -> Iterator[None]:
    ray.init(address="local", num_cpus=4, object_store_memory=256 * 2**20, include_dashboard=False, log_to_driver=False)
    yield
    ray.shutdown()


@pytest.fixture
def six_problems(tmp_path: Path) -> Path:
    """Problems "say 0" ... "say 5" whose answers are the numbers."""
    return write_jsonl(tmp_path / "six.jsonl", [{"id": f"p{i}", "problem": f"say {i}", "answer": i} for i in range(6)])


def write_jsonl(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path
