"""The manifests in deploy/kubernetes: written by jobs.kuberay, accepted by KubeRay's schemas and rules, and what they run exists."""

import copy
import os
import re
import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest
import tyro
import yaml
from jsonschema import ValidationError
from transformers import Qwen2Config

from actors.config import SamplingConfig
from esamp.config import ESampConfig
from esamp.joint.config import QuasiConfig
from esamp.server.vllm_options import vllm_arguments
from jobs import kuberay, passk, serve
from jobs.rollouts import RolloutsCommand
from pipelines.config.run import RunConfig
from pipelines.deploy.operator_rules import broken_rules
from pipelines.deploy.render import render
from pipelines.deploy.serve_config import DEPLOYMENT, serve_lines
from pipelines.errors import InputError
from pipelines.prepare.defaults import RunDefaults
from tests.pipelines.deploy.crd_schemas import check_schema

FOLDER = Path(__file__).resolve().parents[3] / "deploy" / "kubernetes"
KINDS = ("rayjob", "rollouts", "kueue", "raycronjob", "raycluster", "rayservice")
JOBS = ("rayjob", "rollouts", "kueue", "raycronjob")
QWEN_7B = Qwen2Config(hidden_size=3584, intermediate_size=18944, num_hidden_layers=28, vocab_size=152064)
"""Shape of Qwen2.5-7B-Instruct, whose config.json lies on the hub."""


@pytest.fixture(autouse=True)
def model_of_the_examples(monkeypatch: pytest.MonkeyPatch) -> None:
    """The examples name a model on the hub, which tests do not reach."""
    for module in ("pipelines.deploy.sizes", "pipelines.capacity.exchange"):
        monkeypatch.setattr(f"{module}.load_model_config", lambda config: QWEN_7B)
    monkeypatch.setattr(
        "pipelines.prepare.defaults.model_defaults",
        lambda config: RunDefaults(
            sampling=SamplingConfig(temperature=0.7, top_p=0.8, top_k=20, max_tokens=4096), sources={}
        ),
    )


def command_of(kind: str) -> list[str]:
    """The arguments of jobs.kuberay in the header of an example."""
    comment = re.sub(r"^# ?", "", (FOLDER / f"{kind}.yaml").read_text(), flags=re.MULTILINE).replace("\\\n", " ")
    (command,) = re.findall(r"python -m jobs\.kuberay (.*)", comment)
    return shlex.split(command)


def load(kind: str) -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load((FOLDER / f"{kind}.yaml").read_text())
    return content


def job_of(manifest: dict[str, Any]) -> dict[str, Any]:
    """The spec of the RayJob in a manifest."""
    spec: dict[str, Any] = manifest["spec"]
    return spec["jobTemplate"] if manifest["kind"] == "RayCronJob" else spec


def cluster_of(manifest: dict[str, Any]) -> dict[str, Any]:
    spec = manifest["spec"]
    clusters: dict[str, Any] = {"RayCluster": lambda: spec, "RayService": lambda: spec["rayClusterConfig"]}
    cluster: dict[str, Any] = clusters.get(manifest["kind"], lambda: job_of(manifest)["rayClusterSpec"])()
    return cluster


def pods_of(manifest: dict[str, Any]) -> list[dict[str, Any]]:
    """The specs of all pods in a manifest."""
    cluster = cluster_of(manifest)
    pods = [group["template"]["spec"] for group in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"])]
    is_job = manifest["kind"] in ("RayJob", "RayCronJob")
    return [*pods, *([job_of(manifest)["submitterPodTemplate"]["spec"]] if is_job else [])]


def run_of(manifest: dict[str, Any]) -> RunConfig:
    """What the job makes of the command in a manifest, as its shell hands it over. SystemExit on a flag it does not know."""
    name, _, flags = job_of(manifest)["entrypoint"].removeprefix("python -m jobs.").partition(" ")
    words = expanded(flags)
    return (
        tyro.cli(passk.PasskCommand, args=words).run if name == "passk" else tyro.cli(RolloutsCommand, args=words).run
    )


def expanded(flags: str) -> list[str]:
    """Words as the submitter's shell makes them, for a job of 2026-11-29 02:00 UTC."""
    script = f"printf '%s\\n' {flags}"
    shell = ["/bin/bash", "-ce", "--", script]
    done = subprocess.run(
        shell,
        env={**os.environ, "RAYJOB_NAME": f"nightly-{1795917600 // 60}"},
        check=True,
        capture_output=True,
        text=True,
    )
    return done.stdout.splitlines()


@pytest.mark.parametrize("kind", KINDS)
def test_an_example_is_what_its_own_header_writes(kind: str) -> None:
    args = command_of(kind)
    command = kuberay.parse(args)
    assert isinstance(command, kuberay.RenderCommand) and command.kind == kind
    rendered = render(command.kind, command.run, command.deploy, arguments=args, file=str(command.file))
    assert (FOLDER / f"{kind}.yaml").read_text() == rendered.text


@pytest.mark.parametrize("kind", KINDS)
def test_an_example_passes_kuberays_schema_and_its_operators_rules(kind: str) -> None:
    manifest = load(kind)
    check_schema(manifest)
    assert broken_rules(manifest) == []


def check_core_object(content: dict[str, Any]) -> None:
    """Raise ValidationError on what Kubernetes' own schemas do not name, or do not take."""
    kubernetes_validate = pytest.importorskip("kubernetes_validate", reason="pip install kubernetes-validate")
    kubernetes_validate.validate(content, "1.34", strict=True)


@pytest.mark.parametrize("kind", KINDS)
def test_the_pods_of_an_example_pass_the_schema_of_kubernetes_itself(kind: str) -> None:
    for spec in pods_of(load(kind)):
        check_core_object({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "x"}, "spec": spec})


def test_the_core_objects_pass_the_schemas_of_kubernetes() -> None:
    objects = [
        content
        for file in sorted(FOLDER.glob("*.yaml"))
        for content in yaml.safe_load_all(file.read_text())
        if not content["apiVersion"].startswith("ray.io/")
    ]
    assert [content["kind"] for content in objects] == ["PersistentVolumeClaim"]
    for content in objects:
        check_core_object(content)
        content["spec"]["storageClas"] = content["spec"].pop("storageClassName")
        with pytest.raises(ValidationError, match="'storageClas' was unexpected"):
            check_core_object(content)


@pytest.mark.parametrize(
    "path",
    [
        ("backoffLimit",),
        ("deletionStrategy", "deletionRules", 0, "condition"),
        ("rayClusterSpec", "authOptions", "mode"),
        ("rayClusterSpec", "workerGroupSpecs", 0, "maxReplicas"),
        ("rayClusterSpec", "workerGroupSpecs", 0, "template", "spec", "containers", 0, "resources", "limits"),
        ("rayClusterSpec", "headGroupSpec", "template", "spec", "containers", 0, "securityContext", "runAsUser"),
    ],
    ids=lambda path: str(path[-1]),
)
def test_a_misspelt_field_is_refused(path: tuple[str | int, ...]) -> None:
    manifest = load("rayjob")
    holder: Any = manifest["spec"]
    for step in path[:-1]:
        holder = holder[step]
    holder[f"{path[-1]}s"] = holder.pop(path[-1])
    with pytest.raises(ValidationError, match=f"'{path[-1]}s' was unexpected|'{path[-1]}' is a required"):
        check_schema(manifest)


@pytest.mark.parametrize(
    ("kind", "change", "rule"),
    [
        ("rayjob", {"shutdownAfterJobFinishes": True}, "deletionRules and shutdownAfterJobFinishes exclude"),
        ("rayjob", {"suspend": True}, "may be suspended needs shutdownAfterJobFinishes"),
        ("rayjob", {"activeDeadlineSeconds": 0}, "activeDeadlineSeconds must be > 0"),
        ("rayjob", {"ttlSecondsAfterFinished": 60}, "ttlSecondsAfterFinished needs shutdownAfterJobFinishes"),
        ("rayjob", {"submissionMode": "SidecarMode"}, "SidecarMode takes neither"),
        ("rayjob", {"submissionMode": "InteractiveMode"}, "InteractiveMode cannot be retried"),
        ("rayjob", {"deletionStrategy": {"onSuccess": {"policy": "DeleteSelf"}}}, "needs deletionRules, or both"),
        ("rayservice", {"excludeHeadPodFromServeSvc": True}, 'needs a port named "serve"'),
        ("raycluster", {"rayVersion": "2.40.0"}, "needs rayVersion 2.52.0"),
        ("raycluster", {"tlsOptions": {}}, "RayClusterMTLS"),
        ("raycluster", {"enableInTreeAutoscaling": False, "workerGroupSpecs": [{"groupName": "x", "template": {"spec": {}}}]}, "needs min"),
    ],
)  # fmt: skip
def test_what_the_operator_refuses_is_refused_before(kind: str, change: dict[str, Any], rule: str) -> None:
    manifest = load(kind)
    manifest["spec"] |= change
    if kind == "rayservice":
        manifest["spec"]["rayClusterConfig"]["headGroupSpec"]["template"]["spec"]["containers"][0]["ports"].pop()
    assert any(rule in broken for broken in broken_rules(manifest)), broken_rules(manifest)


def test_deleting_workers_excludes_autoscaling_and_comes_before_the_cluster() -> None:
    manifest = load("rayjob")
    manifest["spec"]["rayClusterSpec"]["enableInTreeAutoscaling"] = True
    manifest["spec"]["deletionStrategy"]["deletionRules"][1]["condition"]["ttlSeconds"] = 0
    manifest["spec"]["deletionStrategy"]["deletionRules"][0]["condition"]["ttlSeconds"] = 5
    broken = " ".join(broken_rules(manifest))
    assert "DeleteWorkers and autoscaling exclude" in broken and "DeleteCluster comes after 0 s" in broken


@pytest.mark.parametrize("kind", JOBS)
def test_the_command_of_an_example_is_one_that_its_job_takes(kind: str) -> None:
    manifest = load(kind)
    given = kuberay.parse(command_of(kind))
    assert isinstance(given, kuberay.RenderCommand)
    run = run_of(manifest)
    assert (run.model, run.samples, run.sampler) == (given.run.model, given.run.samples, given.run.sampler)
    assert run.sampling == given.run.sampling, "said in full, whatever the cluster's files say"


def test_a_nightly_run_has_the_date_of_its_schedule() -> None:
    assert str(run_of(load("raycronjob")).output).endswith("-2026-11-29")


@pytest.mark.parametrize("kind", JOBS)
def test_the_pods_have_the_gpus_and_cpus_of_the_run_exactly(kind: str) -> None:
    manifest = load(kind)
    run, (shards, cpu) = run_of(manifest), cluster_of(manifest)["workerGroupSpecs"]
    assert not cluster_of(manifest).get("enableInTreeAutoscaling")
    gpus = int(shards["template"]["spec"]["containers"][0]["resources"]["limits"]["nvidia.com/gpu"])
    assert shards["replicas"] * gpus == run.shards * run.engine.num_gpus
    assert shards["replicas"] * int(shards["rayStartParams"]["num-cpus"]) == run.shards * run.engine.num_cpus
    assert cpu["replicas"] * int(cpu["rayStartParams"]["num-cpus"]) == run.verifiers + 1
    assert cluster_of(manifest)["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"


@pytest.mark.parametrize("kind", KINDS)
def test_no_pod_runs_as_root_or_without_limits_and_every_one_has_the_claim(kind: str) -> None:
    manifest = load(kind)
    of_ray = 1 + len(cluster_of(manifest)["workerGroupSpecs"])
    pods, submitters = pods_of(manifest)[:of_ray], pods_of(manifest)[of_ray:]
    for pod in [*pods, *submitters]:
        for container in pod["containers"]:
            security = container["securityContext"]
            assert security["runAsNonRoot"] and security["runAsUser"] > 0 and not security["allowPrivilegeEscalation"]
            assert security["seccompProfile"] == {"type": "RuntimeDefault"} and security["capabilities"] == {
                "drop": ["ALL"]
            }
            assert {"cpu", "memory"} <= set(container["resources"]["limits"])
            assert all(
                "value" not in variable or "TOKEN" not in variable["name"] for variable in container.get("env", [])
            )
    for pod in pods:
        assert pod["volumes"] == [{"name": "esamp", "persistentVolumeClaim": {"claimName": "esamp"}}]
    if submitters:
        mount = pods[0]["containers"][0]["volumeMounts"][0]["mountPath"]
        assert Path(str(run_of(manifest).output)).is_relative_to(mount)


def serve_flags(manifest: dict[str, Any]) -> list[str]:
    """What jobs.serve is given in a RayService."""
    schema = pytest.importorskip("ray.serve.schema", reason="pip install 'ray[serve]'")
    config = schema.ServeDeploySchema.model_validate(yaml.safe_load(manifest["spec"]["serveConfigV2"]))
    [application] = config.applications
    assert application.import_path == "jobs.serve:app" and callable(serve.app)
    [deployment] = application.deployments
    assert deployment.name == DEPLOYMENT
    return shlex.split(application.args["flags"])


def test_a_service_serves_what_its_run_names_on_as_many_replicas_as_it_has_pods() -> None:
    manifest = load("rayservice")
    given = kuberay.parse(command_of("rayservice"))
    assert isinstance(given, kuberay.RenderCommand)
    command, rest = tyro.cli(serve.ServeCommand, args=serve_flags(manifest), return_unknown_args=True)
    assert (command.model, command.sampler, command.policy) == (given.run.model, given.run.sampler, given.run.policy)
    args = vllm_arguments(command.model, command.policy, rest)
    assert (args.max_num_seqs, args.tensor_parallel_size) == (given.run.engine.max_num_seqs, 1)
    [shards] = cluster_of(manifest)["workerGroupSpecs"]
    [deployment] = yaml.safe_load(manifest["spec"]["serveConfigV2"])["applications"][0]["deployments"]
    assert deployment["num_replicas"] == shards["replicas"] == given.run.shards
    assert deployment["ray_actor_options"]["num_gpus"] == 1


@pytest.mark.parametrize(
    ("flags", "served"),
    [
        (("--sampler", "esamp"), {"sampler": "esamp", "policy": ESampConfig(trainer="local")}),
        (("--sampler", "noise"), {"sampler": "esamp", "policy": ESampConfig(trainer="local", prediction="noise")}),
        (("--sampler", "quasi", "--seed", "3"), {"sampler": "quasi", "policy": QuasiConfig(seed=3)}),
        (("--sampler", "vanilla"), {"sampler": "vanilla"}),
    ],
)
def test_a_server_has_the_sampler_of_the_run(flags: tuple[str, ...], served: dict[str, Any]) -> None:
    words = [word for line in serve_lines(tyro.cli(passk.PasskCommand, args=flags).run) for word in shlex.split(line)]
    command, _ = tyro.cli(serve.ServeCommand, args=words, return_unknown_args=True)
    assert {name: getattr(command, name) for name in served} == served


@pytest.mark.parametrize(
    ("flags", "reason"),
    [
        (("--sampler", "top-p"), "is what each request to a server says"),
        (("--sampler", "esamp", "--esamp.trainer", "actor"), "a server has no trainer actors"),
    ],
)
def test_a_sampler_that_a_server_cannot_have_is_refused(flags: tuple[str, ...], reason: str) -> None:
    with pytest.raises(InputError, match=reason):
        serve_lines(tyro.cli(passk.PasskCommand, args=flags).run)


def test_a_cluster_grows_from_zero_on_nodes_that_may_be_reclaimed() -> None:
    cluster = cluster_of(load("raycluster"))
    gpu, cpu = cluster["workerGroupSpecs"]
    assert cluster["enableInTreeAutoscaling"] and cluster["autoscalerOptions"]["version"] == "v2"
    assert gpu["replicas"] == gpu["minReplicas"] == cpu["minReplicas"] == 0 < gpu["maxReplicas"]
    label, value = next(iter(gpu["template"]["spec"]["nodeSelector"].items()))
    assert {"key": label, "operator": "Equal", "value": value, "effect": "NoSchedule"} in gpu["template"]["spec"][
        "tolerations"
    ]


def test_a_suspended_job_deletes_its_cluster_and_names_its_queue() -> None:
    manifest = load("kueue")
    assert manifest["spec"]["suspend"] and manifest["spec"]["shutdownAfterJobFinishes"]
    assert manifest["metadata"]["labels"]["kueue.x-k8s.io/queue-name"]


def test_a_changed_copy_of_an_example_is_checked_by_the_command(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    manifest = copy.deepcopy(load("rayjob"))
    path = tmp_path / "rayjob.yaml"
    path.write_text(yaml.safe_dump(manifest))
    kuberay.main(["check", str(path)])
    assert capsys.readouterr().out == f"{path}: KubeRay 1.7 would take it\n"
    manifest["spec"]["suspend"] = True
    path.write_text(yaml.safe_dump(manifest))
    with pytest.raises(SystemExit) as end:
        kuberay.main(["check", str(path)])
    assert end.value.code == 2 and "needs shutdownAfterJobFinishes" in capsys.readouterr().err
