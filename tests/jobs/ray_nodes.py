"""Nodes of a Ray cluster as `ray start` makes them, in processes of their own."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent
ENVIRONMENT = {
    **os.environ,
    "PATH": f"{BIN}:{os.environ['PATH']}",
    "RAY_AUTH_MODE": "disabled",
    "RAY_USAGE_STATS_ENABLED": "0",
}
OBJECT_STORE = ("--object-store-memory", str(256 * 2**20), "--disable-usage-stats")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def answers(host: str, port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(2.0)
        return probe.connect_ex((host, port)) == 0


def end_group(process: subprocess.Popen[bytes]) -> None:
    """A node and all it has started; no other Ray of this machine."""
    with suppress(ProcessLookupError):  # a test may have killed it
        os.killpg(process.pid, signal.SIGTERM)
    try:
        process.wait(60)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)


@contextmanager
def node(
    log: Path, words: Sequence[str], *, environment: Mapping[str, str], prefix: Sequence[str] = ()
) -> Iterator[subprocess.Popen[bytes]]:
    """`ray start --block`, so that ending its process ends the whole node; `prefix`: a command that runs it."""
    with log.open("w") as output:
        process = subprocess.Popen(
            [*prefix, str(BIN / "ray"), "start", "--block", *words, *OBJECT_STORE],
            env=dict(environment),
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        yield process
    finally:
        end_group(process)


@contextmanager
def head_node(folder: Path, *, environment: Mapping[str, str] = ENVIRONMENT) -> Iterator[str]:
    """A head on this machine's loopback; the address of its dashboard."""
    port, log = free_port(), folder / "head.log"
    words = [
        *("--head", "--port", str(free_port()), "--dashboard-port", str(port), "--num-cpus", "4"),
        "--dashboard-agent-listen-port",  # by default one port, which another Ray on this machine may hold
        str(free_port()),
    ]
    with node(log, words, environment=environment) as process:
        deadline = time.monotonic() + 120
        while not answers("127.0.0.1", port):
            assert process.poll() is None and time.monotonic() < deadline, log.read_text()
            time.sleep(0.5)
        yield f"http://127.0.0.1:{port}"
