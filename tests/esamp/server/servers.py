"""Real servers in processes of their own."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx

ROOT = Path(__file__).resolve().parents[3]
SMALL = ("--enforce-eager", "--max-num-seqs", "16", "--kv-cache-memory-bytes", str(64 << 20), "--dtype", "float32")
"""vLLM's options for a small machine."""
START_S = 550
"""Of a busy machine, and below pytest's timeout; idle, a server is ready within 40 s."""
STOP_S = 60


@contextmanager
def running(command: Sequence[str], environment: Mapping[str, str], log: Path) -> Iterator[str]:
    """Address of a server that `command` starts, once it is ready; the rest of the command line says where it listens."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    path = os.pathsep.join([str(ROOT), *filter(None, [environment.get("PYTHONPATH"), os.environ.get("PYTHONPATH")])])
    inherited = {name: value for name, value in os.environ.items() if name != "VLLM_ENABLE_V1_MULTIPROCESSING"}
    with log.open("w") as output:
        server = subprocess.Popen(
            [sys.executable, *command, *SMALL, "--host", "127.0.0.1", "--port", str(port)],
            env={**inherited, **environment, "PYTHONPATH": path},
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    try:
        wait_until_ready(server, f"http://127.0.0.1:{port}", log)
        yield f"http://127.0.0.1:{port}"
    finally:
        server.terminate()
        try:
            server.wait(STOP_S)
        finally:
            with suppress(ProcessLookupError):
                os.killpg(server.pid, signal.SIGKILL)  # with the engine's processes, which may go on without it


def wait_until_ready(server: subprocess.Popen, address: str, log: Path) -> None:
    deadline = time.monotonic() + START_S
    while True:
        assert server.poll() is None and time.monotonic() < deadline, log.read_text()[-3000:]
        try:
            if httpx.get(f"{address}/health").status_code == 200:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.2)
