"""A Ray cluster of several machines on one: each node in a network namespace with an address and a /tmp/ray of its own. Needs root and ip.

bridge 10.77.0.254 (this machine)
   +-- 10.77.0.1 head      +-- 10.77.0.2 worker      +-- 10.77.0.3 worker
"""

import contextlib
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from tests.jobs.ray_nodes import answers, node

BRIDGE, GATEWAY = "esamp-test", "10.77.0.254"
GCS_PORT, DASHBOARD_PORT = 6379, 8265
NODES_S = 120.0


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True, text=True)


def reason_not_to() -> str | None:
    """Why this machine cannot hold such a cluster; None if it can."""
    if os.geteuid() != 0 or shutil.which("ip") is None or shutil.which("unshare") is None:
        return "network namespaces need root, ip and unshare"
    try:
        ip("netns", "add", f"{BRIDGE}-probe")
    except subprocess.CalledProcessError as error:
        return f"no network namespaces here: {error.stderr.strip()}"
    ip("netns", "del", f"{BRIDGE}-probe")
    return None


@contextlib.contextmanager
def network(addresses: list[str]) -> Iterator[None]:
    """A bridge, and a namespace of each address, named as it."""
    try:
        ip("link", "add", BRIDGE, "type", "bridge")
        ip("addr", "add", f"{GATEWAY}/24", "dev", BRIDGE)
        ip("link", "set", BRIDGE, "up")
        for number, address in enumerate(addresses):
            here, there = f"esamp-node{number}", "eth0"
            ip("netns", "add", address)
            ip("link", "add", here, "type", "veth", "peer", "name", there, "netns", address)
            ip("link", "set", here, "master", BRIDGE, "up")
            for words in (["addr", "add", f"{address}/24", "dev", there], ["link", "set", there, "up"]):
                ip("-n", address, *words)
            ip("-n", address, "link", "set", "lo", "up")
            # As a machine has one: vLLM finds its own address by it.
            ip("-n", address, "route", "add", "default", "via", GATEWAY)
        yield
    finally:
        for address in addresses:
            with contextlib.suppress(subprocess.CalledProcessError):
                kill_node(address)  # what a node has left behind
                ip("netns", "del", address)
        with contextlib.suppress(subprocess.CalledProcessError):
            ip("link", "del", BRIDGE)


def start_words(address: str, head: str) -> list[str]:
    """As docs/clusters.md has them."""
    if address == head:
        return [
            *(
                "--head",
                "--port",
                str(GCS_PORT),
                "--dashboard-host",
                "0.0.0.0",
                "--dashboard-port",
                str(DASHBOARD_PORT),
            ),
            *("--num-cpus", "1"),
        ]
    return ["--address", f"{head}:{GCS_PORT}", "--num-cpus", "3"]


@contextlib.contextmanager
def cluster(folder: Path, addresses: list[str], environment: Mapping[str, str]) -> Iterator[str]:
    """A head, which is the first address, and workers; the head's dashboard."""
    head = addresses[0]
    with network(addresses), contextlib.ExitStack() as nodes:
        for address in addresses:
            own = folder / address
            (own / "ray").mkdir(parents=True)
            inside = f'mkdir -p /tmp/ray && mount --bind {own / "ray"} /tmp/ray && exec "$@"'
            prefix = ["ip", "netns", "exec", address, "unshare", "--mount", "sh", "-c", inside, "node"]
            words = [*start_words(address, head), "--node-ip-address", address]
            nodes.enter_context(node(own / "log", words, environment=environment, prefix=prefix))
            deadline = time.monotonic() + NODES_S
            while not answers(head, DASHBOARD_PORT):
                assert time.monotonic() < deadline, (own / "log").read_text()
                time.sleep(0.5)
        yield f"http://{head}:{DASHBOARD_PORT}"


def kill_node(address: str) -> int:
    """As if its machine lost its power; the number of processes."""
    listed = subprocess.run(["ip", "netns", "pids", address], check=True, capture_output=True, text=True)
    processes = [int(process) for process in listed.stdout.split()]
    for process in processes:
        with contextlib.suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)
    return len(processes)
