"""cluster.yaml passes the checks of Ray, and what it runs exists. It is not started here: that takes a cloud."""

import copy
import re
import shlex
import tomllib
from pathlib import Path
from typing import Any

import pytest
import tyro
import yaml
from jsonschema import ValidationError
from ray.autoscaler._private.util import prepare_config, validate_config

from jobs.passk import PasskCommand
from pipelines.config.run import RunConfig

ROOT = Path(__file__).resolve().parents[2]
CLUSTER = ROOT / "cluster.yaml"

PASSK = "python -m jobs.passk"


def load(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load(path.read_text())
    return content


def passk_config(command: str) -> RunConfig:
    """What jobs.passk makes of a command line. SystemExit on a flag it does not know."""
    before, _, flags = command.partition(PASSK)
    assert not before.strip(), command
    # Not jobs.passk's own parse, which looks up the model's defaults on the hub.
    return tyro.cli(PasskCommand, args=shlex.split(flags)).run


# cluster.yaml, by Ray


def validate_cluster(cluster: dict[str, Any]) -> None:
    """What `ray up` does with the file before it starts anything."""
    validate_config(prepare_config(copy.deepcopy(cluster)))


def test_the_cluster_passes_rays_validation() -> None:
    validate_cluster(load(CLUSTER))


def test_a_misspelt_key_of_the_cluster_is_refused() -> None:
    cluster = load(CLUSTER)
    cluster["idle_timeout_minuts"] = cluster.pop("idle_timeout_minutes")
    with pytest.raises(ValidationError, match="'idle_timeout_minuts' was unexpected"):
        validate_cluster(cluster)


def test_a_misspelt_key_of_a_node_type_is_refused() -> None:
    cluster = load(CLUSTER)
    workers = cluster["available_node_types"]["gpu"]
    workers["min_worker"] = workers.pop("min_workers")
    with pytest.raises(ValidationError, match="'min_worker' was unexpected"):
        validate_cluster(cluster)


def test_more_workers_wanted_than_allowed_are_refused() -> None:
    cluster = load(CLUSTER)
    cluster["max_workers"] = 1
    with pytest.raises(ValueError, match="max_workers"):
        validate_cluster(cluster)


def test_the_cluster_is_sent_all_that_an_installation_needs() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    needed = {
        "pyproject.toml",
        project["project"]["readme"],
        *project["project"]["license-files"],
        *(pattern.removesuffix("*") for pattern in project["tool"]["setuptools"]["packages"]["find"]["include"]),
    }
    mounts = load(CLUSTER)["file_mounts"]
    sent = {local for remote, local in mounts.items() if remote == f"~/esamp-ray/{local}"}
    assert sent == needed
    assert all((ROOT / local).exists() for local in sent)


def test_the_cluster_asks_for_the_token_it_sends() -> None:
    cluster = load(CLUSTER)
    assert cluster["file_mounts"]["~/.ray/auth_token"] == "~/.ray/auth_token"
    assert any("RAY_AUTH_MODE=token" in command for command in cluster["setup_commands"])


def test_the_cluster_file_shows_a_command_that_jobs_passk_takes() -> None:
    comments = re.sub(r"\\\n#", " ", CLUSTER.read_text())
    (command,) = re.findall(rf"{PASSK} .*", comments)
    config = passk_config(command)
    workers = load(CLUSTER)["available_node_types"]["gpu"]
    assert config.shards * config.engine.num_gpus == workers["min_workers"], "one GPU per machine"
    assert config.output is not None
    assert config.output.is_relative_to("/home/ubuntu/runs")
