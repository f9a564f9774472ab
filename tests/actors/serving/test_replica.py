"""The server of a RayService as Ray Serve runs it: the Serve config of a rendered manifest, on the embedded model."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
import yaml

from jobs import kuberay
from pipelines.config.run import EMBEDDED_MODEL

pytest.importorskip("grpc_reflection", reason="Ray Serve needs its extra: pip install '.[serve]'")
pytestmark = [pytest.mark.slow, pytest.mark.ray, pytest.mark.engine, pytest.mark.timeout(1500)]
ENGINE = ["--run.engine.enforce-eager", "--run.engine.dtype", "float32", "--run.engine.kv-cache-gib", "0.1"]
START_S = 600
"""Of a busy machine."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, psutil.Process]]:
    """Address of the server, and the process below which everything runs."""
    folder = tmp_path_factory.mktemp("serve")
    kuberay.main(
        ["render", "--kind", "rayservice", "--run.sampler", "esamp", *ENGINE, "--file", str(folder / "service.yaml")]
    )
    config = yaml.safe_load(yaml.safe_load((folder / "service.yaml").read_text())["spec"]["serveConfigV2"])
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    config["http_options"] = {"host": "127.0.0.1", "port": port}
    (folder / "serve.yaml").write_text(yaml.safe_dump(config))
    command = ["from ray.serve.scripts import cli; cli()", "run", "--address", "local", str(folder / "serve.yaml")]
    inherited = {name: value for name, value in os.environ.items() if name != "VLLM_ENABLE_V1_MULTIPROCESSING"}
    log = folder / "serve.log"
    with log.open("w") as output:
        process = subprocess.Popen(
            [sys.executable, "-c", *command], stdout=output, stderr=output, env=inherited, start_new_session=True
        )
    try:
        address = f"http://127.0.0.1:{port}"
        wait_until_it_serves(address, log, process)
        yield address, psutil.Process(process.pid)
    finally:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(120)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)


def wait_until_it_serves(address: str, log: Path, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + START_S
    while True:
        assert process.poll() is None and time.monotonic() < deadline, log.read_text()[-5000:]
        try:
            if httpx.get(f"{address}/v1/models", timeout=5).status_code == 200:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.5)


def complete(address: str) -> list[dict[str, Any]]:
    request = {"model": str(EMBEDDED_MODEL), "prompt": "3 7 19 25=84:", "max_tokens": 12, "n": 8, "temperature": 1.0}
    reply = httpx.post(f"{address}/v1/completions", json=request, timeout=60).raise_for_status()
    choices: list[dict[str, Any]] = reply.json()["choices"]
    return choices


def test_siblings_of_one_request_explore_behind_rays_proxy(server: tuple[str, psutil.Process]) -> None:
    address, _ = server
    assert len({choice["text"] for choice in complete(address)}) > 1
    counters = httpx.get(f"{address}/esamp/counters").raise_for_status().json()
    assert counters["explored_rows"] > 0 and counters["optimiser_steps"] > 0


def test_a_replica_whose_engine_died_is_replaced(server: tuple[str, psutil.Process]) -> None:
    address, process = server
    [engine] = [child for child in process.children(recursive=True) if "EngineCore" in " ".join(child.cmdline())]
    engine.kill()
    deadline = time.monotonic() + START_S
    while True:
        assert time.monotonic() < deadline
        try:
            if len(complete(address)) == 8:
                break
        except httpx.HTTPError:
            time.sleep(1)
    assert not engine.is_running()
