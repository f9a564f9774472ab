"""Lines of a log as JSON, and the warnings of all actors in the run folder."""

import io
import json
import logging
import logging.config
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from rich.table import Table

from actors.types import ActorWarning
from pipelines.live.warning_lines import WarningLines
from pipelines.logs import collector as collector_module
from pipelines.logs import sender as sender_module
from pipelines.logs.collector import LogCollector
from pipelines.logs.console import JsonConsole, LogLine, run_console
from pipelines.logs.lines import PROCESS_LOG, JsonFormatter, error_line, use_log_format

KEYS = ["time", "level", "run", "source", "message"]


@pytest.fixture(autouse=True)
def own_process_log(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PROCESS_LOG, "format", "text")
    monkeypatch.setattr(PROCESS_LOG, "run", "abc")
    monkeypatch.setattr(logging.root, "handlers", list(logging.root.handlers))


def printed(*objects: Any) -> list[dict[str, Any]]:
    file = io.StringIO()
    console = JsonConsole(file)
    for item in objects:
        console.print(item, highlight=False, soft_wrap=True)
    return [json.loads(line) for line in file.getvalue().splitlines()]


def test_each_thing_that_is_printed_is_one_line_with_the_same_keys() -> None:
    table = Table("k", title="pass@k")
    table.add_row("1")
    lines = printed(
        "plain [not markup", table, "warning: too few", LogLine(text="a", message="b", fields={"kind": "c"})
    )
    assert [list(line)[:5] for line in lines] == [KEYS] * 4
    assert {(line["run"], line["source"]) for line in lines} == {("abc", "driver")}
    assert "pass@k" in lines[1]["message"] and "\n" in lines[1]["message"]
    assert [line["level"] for line in lines] == ["info", "info", "warning", "info"]
    assert (lines[2]["message"], lines[3]["message"], lines[3]["kind"]) == ("too few", "b", "c")


def test_a_warning_of_an_actor_names_it_and_a_rule_is_no_line() -> None:
    file = io.StringIO()
    console = JsonConsole(file)
    console.rule("first prompt")
    WarningLines(console).show([ActorWarning(source="shard-0", kind="trainer_failed", message="it is gone", count=2)])
    [line] = [json.loads(text) for text in file.getvalue().splitlines()]
    assert {name: line[name] for name in line if name != "time"} == {
        "level": "warning",
        "run": "abc",
        "source": "shard-0",
        "message": "it is gone",
        "kind": "trainer_failed",
        "count": 2,
    }


def test_a_log_record_keeps_its_traceback() -> None:
    try:
        raise ValueError("too long")
    except ValueError:
        record = logging.LogRecord("pipelines.x", logging.ERROR, "x.py", 1, "unit %s failed", ("p1",), sys.exc_info())
    line = json.loads(JsonFormatter(lambda: "verifier-0", run="ran").format(record))
    assert (line["level"], line["run"], line["source"], line["message"]) == (
        "error",
        "ran",
        "verifier-0",
        "unit p1 failed",
    )
    assert "ValueError: too long" in line["exception"] and line["logger"] == "pipelines.x"


def test_the_last_line_of_a_job_has_its_format() -> None:
    assert error_line("error: no GPU") == "error: no GPU"
    use_log_format("json")
    line = json.loads(error_line("error: no GPU"))
    assert (line["level"], line["message"], line["run"]) == ("error", "no GPU", "abc")
    assert isinstance(run_console(), JsonConsole)


def test_a_job_that_is_refused_ends_with_a_json_line(tmp_path: Path) -> None:
    words = ["--log-format", "json", "--samples", "0"]
    done = subprocess.run([sys.executable, "-m", "jobs.passk", *words], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 2
    error = json.loads(done.stderr.splitlines()[-1])
    assert error["level"] == "error" and error["message"].startswith("samples")


def collected(folder: Path) -> list[dict[str, Any]]:
    [file] = (folder / "logs").glob("*.jsonl")
    return [json.loads(line) for line in file.read_text().splitlines()]


def entry(message: str) -> dict[str, Any]:
    return {"message": message, "level": "warning", "source": "shard-0"}


def test_nothing_is_written_before_there_is_a_run_and_then_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(collector_module, "FLUSH_S", 0.01)
    collector = LogCollector("abc", "s1")
    collector.add(entry("early"))
    time.sleep(0.05)
    assert list(tmp_path.iterdir()) == []
    collector.begin(str(tmp_path))
    collector.add(entry("late"))
    deadline = time.monotonic() + 10
    while not (tmp_path / "logs" / "s1.jsonl").exists() or len(collected(tmp_path)) < 2:
        assert time.monotonic() < deadline, "it is on disk while the session goes on"
        time.sleep(0.01)
    collector.end()
    assert [(line["run"], line["message"]) for line in collected(tmp_path)] == [("abc", "early"), ("abc", "late")]


def test_an_actor_that_never_stops_warning_fills_neither_memory_nor_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(collector_module, "MOST_LINES", 3)
    collector = LogCollector("abc", "s1")
    collector.begin(str(tmp_path))
    for number in range(10):
        collector.add(entry(str(number)))
    collector.end()
    assert [line["message"] for line in collected(tmp_path)] == ["0", "1", "2", "7 more lines were left out"]


def test_whoever_configures_logging_does_not_wait_for_a_warning_under_way(monkeypatch: pytest.MonkeyPatch) -> None:
    """vLLM configures logging as an engine starts: with a handler that called Ray, shards stood still for ever."""
    asked, may_go_on = threading.Event(), threading.Event()

    def get_actor(name: str) -> Any:
        asked.set()
        may_go_on.wait(60)
        raise ValueError("no session is under way")

    monkeypatch.setattr(sender_module.ray, "is_initialized", lambda: True)
    monkeypatch.setattr(sender_module.ray, "get_runtime_context", lambda: SimpleNamespace(get_node_id=lambda: "n"))
    monkeypatch.setattr(sender_module.ray, "get_actor", get_actor)
    with sender_module.drivers_warnings():
        logging.getLogger("pipelines.x").warning("under way")
        assert asked.wait(10)
        settings = {"version": 1, "disable_existing_loggers": False}
        configures = threading.Thread(target=logging.config.dictConfig, args=(settings,), daemon=True)
        configures.start()
        configures.join(10)
        is_stuck = configures.is_alive()
        may_go_on.set()
    assert not is_stuck


class Noisy:
    """An actor that logs."""

    def log(self, message: str) -> None:
        logging.getLogger("actors.noisy").warning("%s", message)
        logging.getLogger("actors.noisy").info("not a warning")

    def die(self) -> None:
        os.kill(os.getpid(), signal.SIGKILL)


SESSION = """
import sys
from actors.names import actor_name
from pipelines.config.run import RunConfig
from pipelines.logs.collector import collected_warnings
from pipelines.stages.ray_session import ray_session
from tests.pipelines.logs.test_logs import Noisy
import logging, ray, time
with ray_session([RunConfig()], run_ids=["abc"]):
    for session in ("s1", "s2"):
        with collected_warnings("abc", session) as collector:
            collector.begin.remote(sys.argv[1])
            noisy = ray.remote(Noisy).options(name=actor_name("noisy-0"), num_cpus=0).remote()
            ray.get(noisy.log.remote("from " + session))
            logging.getLogger("pipelines.x").warning("from the driver")
            time.sleep(1)
            noisy.die.remote()
    ray.get(ray.remote(Noisy).options(num_cpus=0).remote().log.remote("after all sessions"))
"""


@pytest.mark.ray
def test_what_actors_and_driver_warn_of_is_in_the_run_folder(tmp_path: Path) -> None:
    """In a process of its own: workers send warnings where ray.init said so. The actor was killed before its session ended."""
    done = subprocess.run([sys.executable, "-c", SESSION, str(tmp_path)], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    for session in ("s1", "s2"):
        lines = [json.loads(line) for line in (tmp_path / "logs" / f"{session}.jsonl").read_text().splitlines()]
        assert sorted((line["source"], line["message"]) for line in lines) == [
            ("driver", "from the driver"),
            ("noisy-0", f"from {session}"),
        ]
        assert {line["run"] for line in lines} == {"abc"}
        assert all(line["node"] and line["pid"] for line in lines)
    assert "after all sessions" not in "".join(path.read_text() for path in (tmp_path / "logs").iterdir())
