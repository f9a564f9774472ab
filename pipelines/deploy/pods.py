"""The pods of a Ray cluster for a run: head, shards, CPU work, and the pod that submits a job."""

from typing import Any

from pipelines.config.run import RunConfig
from pipelines.deploy.commented_yaml import Noted
from pipelines.deploy.config import SPOT_NODES, DeployConfig
from pipelines.deploy.sizes import PodSize

USER = 1000
"""User and group of the image (deploy/Dockerfile)."""
RAY_VERSION = "2.60.0"

Spec = dict[str, Any]


def container_security() -> Spec:
    """No root, no new privileges, no capabilities, the runtime's own system-call filter: Kubernetes' "restricted" profile."""
    return {
        "runAsNonRoot": True,
        "runAsUser": USER,
        "runAsGroup": USER,
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "seccompProfile": {"type": "RuntimeDefault"},
    }


def environment(deploy: DeployConfig, *, loads_models: bool) -> list[Any]:
    """Environment of a Ray container. Secrets are named, never written; the hub's token is where models are loaded only."""
    variables: list[Any] = [
        Noted(
            {"name": "HF_HOME", "value": f"{deploy.mount}/huggingface"},
            "Models are downloaded once, not by every pod.",
        ),
        {"name": "RAY_USAGE_STATS_ENABLED", "value": "0"},
        {"name": "VLLM_NO_USAGE_STATS", "value": "1"},
    ]
    if loads_models:
        hub_token = {"secretKeyRef": {"name": deploy.huggingface_secret, "key": "token", "optional": True}}
        variables.append({"name": "HF_TOKEN", "valueFrom": hub_token})
    if deploy.s3_secret is not None:
        variables += [
            {"name": name, "valueFrom": {"secretKeyRef": {"name": deploy.s3_secret, "key": key}}}
            for name, key in (("AWS_ACCESS_KEY_ID", "access-key-id"), ("AWS_SECRET_ACCESS_KEY", "secret-access-key"))
        ]
    if deploy.s3_endpoint is not None:
        variables.append({"name": "AWS_ENDPOINT_URL", "value": deploy.s3_endpoint})
    return variables


def ray_pod(
    container: str,
    size: PodSize,
    deploy: DeployConfig,
    *,
    variables: list[Any] | None = None,
    needs_api: bool = False,
    loads_models: bool = True,
) -> Spec:
    """A pod of Ray. `needs_api`: it talks to Kubernetes, as the autoscaler beside a head does."""
    resources = {"cpu": str(size.cores), "memory": f"{size.memory_gib}Gi"}
    if size.gpus:
        resources["nvidia.com/gpu"] = str(size.gpus)
    pod: Spec = {
        "restartPolicy": "Never",
        **({} if needs_api else {"automountServiceAccountToken": False}),
        "securityContext": {"fsGroup": USER, "fsGroupChangePolicy": "OnRootMismatch"},
        "containers": [
            {
                "name": container,
                "image": deploy.image,
                "securityContext": container_security(),
                "resources": {"requests": dict(resources), "limits": dict(resources)},
                "env": [*environment(deploy, loads_models=loads_models), *(variables or [])],
                "volumeMounts": [{"name": "esamp", "mountPath": deploy.mount}],
            }
        ],
        "volumes": [{"name": "esamp", "persistentVolumeClaim": {"claimName": deploy.claim}}],
    }
    return pod


def head_group(
    size: PodSize,
    deploy: DeployConfig,
    *,
    variables: list[Any] | None = None,
    autoscales: bool = False,
    serve_port: int | None = None,
) -> Spec:
    """The head: GCS, dashboard and the driver of each job."""
    pod = ray_pod("ray-head", size, deploy, variables=variables, needs_api=autoscales)
    pod["containers"][0]["ports"] = [
        {"name": "gcs-server", "containerPort": 6379},
        {"name": "dashboard", "containerPort": 8265},
        {"name": "client", "containerPort": 10001},
        {"name": "metrics", "containerPort": 8080},
        *([{"name": "serve", "containerPort": serve_port}] if serve_port else []),
    ]
    return {
        "rayStartParams": Noted(
            {"num-cpus": str(size.ray_cpus)},
            "No task is placed here: work must not end the head, nor see its credentials.",
        ),
        "template": {"spec": pod},
    }


def shard_group(
    run: RunConfig, size: PodSize, deploy: DeployConfig, *, least: int | None = None, most: int | None = None
) -> Spec:
    """The pods of LLM shards. `least` and `most` replicas: by default a fixed size."""
    pod = ray_pod("ray-worker", size, deploy)
    selector = dict(SPOT_NODES[deploy.spot]) if deploy.spot else {}
    if deploy.gpu_product is not None:
        selector["nvidia.com/gpu.product"] = deploy.gpu_product
    tolerations = [{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}] if size.gpus else []
    tolerations += [
        {"key": label, "operator": "Equal", "value": value, "effect": "NoSchedule"}
        for label, value in (SPOT_NODES[deploy.spot].items() if deploy.spot else ())
    ]
    pod |= ({"nodeSelector": selector} if selector else {}) | ({"tolerations": tolerations} if tolerations else {})
    replicas = size.replicas if least is None else least
    return {
        "groupName": "gpu" if size.gpus else "shards",
        "replicas": replicas,
        "minReplicas": replicas,
        "maxReplicas": size.replicas if most is None else most,
        "rayStartParams": Noted(
            {"num-cpus": str(size.ray_cpus)},
            f"The CPUs of this pod's shards ({run.engine.num_cpus:g} each) and no more, so that verifiers are placed elsewhere.",
        ),
        "template": {"spec": pod},
    }


def cpu_group(size: PodSize, deploy: DeployConfig, *, least: int | None = None, most: int | None = None) -> Spec:
    """The pods of verifiers and of reading and writing."""
    pod = ray_pod("ray-worker", size, deploy, loads_models=False)
    replicas = size.replicas if least is None else least
    return {
        "groupName": "cpu",
        "replicas": replicas,
        "minReplicas": replicas,
        "maxReplicas": size.replicas if most is None else most,
        "rayStartParams": {"num-cpus": str(size.ray_cpus)},
        "template": {"spec": pod},
    }


def submitter_pod(deploy: DeployConfig, *, variables: list[Any] | None = None) -> Spec:
    """The pod in which KubeRay runs `ray job submit`; its log is the run's output."""
    return {
        "spec": {
            "restartPolicy": "Never",
            "automountServiceAccountToken": False,
            "containers": [
                {
                    "name": "ray-job-submitter",
                    "image": deploy.image,
                    "securityContext": container_security(),
                    "resources": {
                        "requests": {"cpu": "500m", "memory": "512Mi"},
                        "limits": {"cpu": "1", "memory": "1Gi"},
                    },
                    **({"env": variables} if variables else {}),
                }
            ],
        }
    }
