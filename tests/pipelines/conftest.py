"""One local Ray for the pipeline tests, and files to run on."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests import local_ray as fixture


@pytest.fixture(scope="package")
def local_ray() -> Iterator[None]:
    with fixture.local_ray(num_cpus=4):
        yield


@pytest.fixture
def six_problems(tmp_path: Path) -> Path:
    """Problems "say 0" ... "say 5" whose answers are the numbers."""
    return write_jsonl(tmp_path / "six.jsonl", [{"id": f"p{i}", "problem": f"say {i}", "answer": i} for i in range(6)])


def write_jsonl(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path
