"""cluster.yaml and the KubeRay manifest: they pass the checks of Ray and of KubeRay, and what they run exists.

Neither is started here: that takes a cloud and a Kubernetes operator.
"""

import copy
import re
import shlex
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator, ValidationError
from ray.autoscaler._private.util import prepare_config, validate_config

from jobs.passk import parse
from pipelines.config.run import RunConfig

ROOT = Path(__file__).resolve().parents[2]
CLUSTER = ROOT / "cluster.yaml"
RAYJOB = ROOT / "jobs" / "kuberay_passk.yaml"
CRDS = ROOT.parent / "shared" / "kuberay-crds"
"""KubeRay v1.7.0's custom resource definitions; not part of the project."""

PASSK = "python -m jobs.passk"


def load(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load(path.read_text())
    return content


def passk_config(command: str) -> RunConfig:
    """What jobs.passk makes of a command line. SystemExit on a flag it does not know."""
    before, _, flags = command.partition(PASSK)
    assert not before.strip(), command
    return parse(shlex.split(flags)).run


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


# The RayJob, by KubeRay's custom resource definitions


@pytest.fixture(scope="module")
def rayjob_schema() -> dict[str, Any]:
    """Schema of ray.io/v1 RayJob, with unknown fields refused."""
    path = CRDS / "ray.io_rayjobs.yaml"
    if not path.is_file():
        pytest.skip(f"KubeRay's custom resource definitions are not there: {path}")
    definition = yaml.load(path.read_text(), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    (version,) = (version for version in definition["spec"]["versions"] if version["name"] == "v1")
    schema: dict[str, Any] = strict(version["schema"]["openAPIV3Schema"])
    return schema


def strict(schema: Any) -> Any:
    """A copy that refuses fields it does not name: such schemas accept, and Kubernetes drops, what is misspelt."""
    if isinstance(schema, list):
        return [strict(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    stricter = {key: strict(value) for key, value in schema.items()}
    # Where `properties` is itself the name of a field, it stands beside no "type": "object".
    names_its_fields = schema.get("type") == "object" and "properties" in schema
    if names_its_fields and not schema.get("x-kubernetes-preserve-unknown-fields"):
        stricter.setdefault("additionalProperties", False)
    return stricter


def check(rayjob: dict[str, Any], schema: dict[str, Any]) -> None:
    Draft202012Validator(schema).validate(rayjob)


def test_the_rayjob_passes_kuberays_schema(rayjob_schema: dict[str, Any]) -> None:
    rayjob = load(RAYJOB)
    assert (rayjob["apiVersion"], rayjob["kind"]) == ("ray.io/v1", "RayJob")
    check(rayjob, rayjob_schema)


@pytest.mark.parametrize(
    "path",
    [
        ("spec", "backoffLimit"),
        ("spec", "rayClusterSpec", "enableInTreeAutoscaling"),
        ("spec", "rayClusterSpec", "authOptions", "mode"),
        (
            "spec",
            "rayClusterSpec",
            "headGroupSpec",
            "template",
            "spec",
            "volumes",
            0,
            "persistentVolumeClaim",
            "claimName",
        ),
        ("spec", "rayClusterSpec", "workerGroupSpecs", 0, "maxReplicas"),
        ("spec", "rayClusterSpec", "workerGroupSpecs", 0, "template", "spec", "containers", 0, "resources", "limits"),
        ("spec", "rayClusterSpec", "workerGroupSpecs", 0, "template", "spec", "containers", 0, "env", 0, "value"),
    ],
    ids=lambda path: str(path[-1]),
)
def test_a_misspelt_field_of_the_rayjob_is_refused(path: tuple[str | int, ...], rayjob_schema: dict[str, Any]) -> None:
    rayjob = copy.deepcopy(load(RAYJOB))
    holder: Any = rayjob
    for step in path[:-1]:
        holder = holder[step]
    holder[f"{path[-1]}s"] = holder.pop(path[-1])
    with pytest.raises(ValidationError, match=f"'{path[-1]}s' was unexpected|'{path[-1]}' is a required"):
        check(rayjob, rayjob_schema)


def test_a_value_of_the_wrong_type_is_refused(rayjob_schema: dict[str, Any]) -> None:
    rayjob = load(RAYJOB)
    rayjob["spec"]["rayClusterSpec"]["rayVersion"] = 2.60
    with pytest.raises(ValidationError, match="string"):
        check(rayjob, rayjob_schema)


def test_the_rayjob_runs_a_command_that_jobs_passk_takes() -> None:
    config = passk_config(load(RAYJOB)["spec"]["entrypoint"])
    assert (config.samples, config.sampler) == (64, "esamp")
    with pytest.raises(SystemExit):
        passk_config(f"{PASSK} --sample 64")


def test_the_rayjob_has_the_gpus_of_its_shards_before_it_starts() -> None:
    spec = load(RAYJOB)["spec"]
    config = passk_config(spec["entrypoint"])
    (workers,) = spec["rayClusterSpec"]["workerGroupSpecs"]
    limits = workers["template"]["spec"]["containers"][0]["resources"]["limits"]
    assert config.shards * config.engine.num_gpus == workers["replicas"] * int(limits["nvidia.com/gpu"])


def test_every_pod_of_the_rayjob_writes_the_run_to_the_same_claim() -> None:
    spec = load(RAYJOB)["spec"]
    output = passk_config(spec["entrypoint"]).output
    cluster = spec["rayClusterSpec"]
    for group in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"]):
        pod = group["template"]["spec"]
        (mount,) = pod["containers"][0]["volumeMounts"]
        (volume,) = pod["volumes"]
        assert volume["name"] == mount["name"]
        assert volume["persistentVolumeClaim"] == {"claimName": "esamp-runs"}
        assert output is not None
        assert output.is_relative_to(mount["mountPath"])
