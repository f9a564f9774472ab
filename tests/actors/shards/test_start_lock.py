"""Engines of a machine start one at a time, and one whose process always ends is not started for ever."""

import os
import tempfile
from pathlib import Path

import pytest

from actors.errors import EngineStartError
from actors.shards.start_lock import MAX_STARTS, engine_start_lock


@pytest.fixture(autouse=True)
def turns_of_this_test(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))


def end_while_starting(actor_id: str) -> None:
    """In a process of its own, which ends as by SIGKILL."""
    child = os.fork()
    if child == 0:
        with engine_start_lock(actor_id):
            os._exit(9)
    os.waitpid(child, 0)


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
