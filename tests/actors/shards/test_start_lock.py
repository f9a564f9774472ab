"""Engines of a machine start one at a time, and one whose process always ends is not started for ever."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from actors.errors import EngineStartError
from actors.shards.start_lock import MAX_STARTS, engine_start_lock


@pytest.fixture(autouse=True)
def turns_of_this_test(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))


END_WHILE_STARTING = """
import os, sys
from actors.shards.start_lock import engine_start_lock
with engine_start_lock(sys.argv[1]):
    os._exit(9)
"""


def end_while_starting(actor_id: str) -> None:
    """In a process of its own, which ends as by SIGKILL. Not a fork: the threads that Ray has in this process would not survive it."""
    command = [sys.executable, "-c", END_WHILE_STARTING, actor_id]
    child = subprocess.run(command, env={**os.environ, "TMPDIR": tempfile.gettempdir()}, check=False)
    assert child.returncode == 9


def test_a_process_that_ends_in_its_turn_gives_the_turn_back_and_is_stopped_after_some_starts() -> None:
    for _ in range(MAX_STARTS):
        end_while_starting("a")
    with (
        pytest.raises(EngineStartError, match=r"ended 3 times while it started.*--engine.kv-cache-gib"),
        engine_start_lock("a"),
    ):
        pass
    with engine_start_lock("b"):
        pass


def test_a_start_that_succeeds_is_not_held_against_the_next() -> None:
    for _ in range(MAX_STARTS):
        end_while_starting("a")
        with engine_start_lock("a"):
            pass
    with engine_start_lock("a"):
        pass
