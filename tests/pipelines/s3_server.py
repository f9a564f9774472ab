"""A real S3 server of a test's own (moto's), on loopback."""

import importlib.util
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.processes import wait_until

BUCKET = "runs"


@contextmanager
def s3_server(folder: Path) -> Iterator[dict[str, str]]:
    """Environment variables for whoever is to find the server, which has an empty bucket `runs`. Skips the test without the packages."""
    for package in ("moto", "s3fs", "flask"):
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"{package} is not there (pip install s3fs 'moto[server]')")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    variables = {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "planted-nowhere",
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    log = folder / "s3-server.log"
    with log.open("w") as output:
        command = [sys.executable, "-m", "moto.server", "--host", "127.0.0.1", "--port", str(port)]
        server = subprocess.Popen(command, stdout=output, stderr=output)
    try:
        wait_until(lambda: server.poll() is not None or answers(port), timeout_s=60)
        assert server.poll() is None, log.read_text()
        make_bucket(variables)
        yield variables
    finally:
        server.kill()
        server.wait()


def answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def make_bucket(variables: dict[str, str]) -> None:
    from s3fs import S3FileSystem

    store = S3FileSystem(
        key=variables["AWS_ACCESS_KEY_ID"],
        secret=variables["AWS_SECRET_ACCESS_KEY"],
        endpoint_url=variables["AWS_ENDPOINT_URL"],
        skip_instance_cache=True,
    )
    store.mkdir(BUCKET)
