"""The manifests that jobs.kuberay writes: one registry entry each. Statements in their comments hold for KubeRay 1.7."""

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import PurePosixPath
from typing import Any

from pipelines.config.identity import config_hash
from pipelines.config.run import RunConfig
from pipelines.deploy.command_line import command_line, run_flags
from pipelines.deploy.commented_yaml import CommandLine, Noted
from pipelines.deploy.config import DeployConfig
from pipelines.deploy.pods import (
    RAY_VERSION,
    Spec,
    container_security,
    cpu_group,
    head_group,
    shard_group,
    submitter_pod,
)
from pipelines.deploy.retries import RETRY_ID
from pipelines.deploy.serve_config import SERVE_PORT, serve_config
from pipelines.deploy.sizes import ClusterSize
from pipelines.errors import InputError

SECONDS_PER_HOUR = 3600
IDLE_S = 900
"""Seconds without work after which the autoscaler removes a worker. It must exceed the time of an image pull and of an engine's start: the
first worker waits for the last."""
SCHEDULED_NAME = "RAYJOB_NAME"


@dataclass(frozen=True, slots=True)
class Kind:
    """One form of deployment."""

    help: str
    """One sentence for --help."""
    usage: str
    """The commands of the file's header; {file} and {name} are filled in."""
    build: Callable[[RunConfig, DeployConfig, ClusterSize], Spec]
    is_run: bool = True
    """False where the run lends its model, sampler and engine only: its problems are not looked at."""


def ray_cluster(run: RunConfig, deploy: DeployConfig, size: ClusterSize, *, variables: list[Any] | None = None) -> Spec:
    """A Ray cluster of fixed size: the head, one pod for each GPU's shards, one for verifiers."""
    return {
        "rayVersion": RAY_VERSION,
        "authOptions": Noted(
            {"mode": "token"},
            "Without a token, whoever reaches the head can run code. KubeRay makes one, keeps it in a Secret and gives it to its pods.",
        ),
        "headGroupSpec": head_group(size.head, deploy, variables=variables),
        "workerGroupSpecs": [shard_group(run, size.shards, deploy), cpu_group(size.cpu, deploy)],
    }


def job_spec(entrypoint: CommandLine, run: RunConfig, deploy: DeployConfig, size: ClusterSize, *, ends: Spec) -> Spec:
    """A RayJob's spec. `ends`: what is deleted when it has ended."""
    return {
        "entrypoint": entrypoint,
        "submissionMode": Noted(
            "K8sJobMode",
            "A Kubernetes Job runs `ray job submit`: its log is the run's output, and outlives the cluster.",
        ),
        "backoffLimit": Noted(
            deploy.retries,
            "Every attempt has a new Ray cluster and resumes the run from its folder. KubeRay retries whatever fails, but for "
            "activeDeadlineSeconds and a head that cannot be asked for the job's state. Bad input fails every attempt: the first leaves a "
            f"marker in the run folder, by which the others end before they check anything ({RETRY_ID} below).",
        ),
        "preRunningDeadlineSeconds": Noted(
            60 * deploy.ready_minutes,
            "Until the job is submitted, of each attempt: the cluster's pods, all of them, must be ready before that.",
        ),
        "activeDeadlineSeconds": Noted(
            round(SECONDS_PER_HOUR * deploy.attempt_hours),
            "Of each attempt, from its creation; an attempt that exceeds it is not followed by another.",
        ),
        **ends,
        "submitterPodTemplate": submitter_pod(deploy),
        "rayClusterSpec": ray_cluster(run, deploy, size, variables=[retry_variable(run, deploy)]),
    }


def deletion_rules(deploy: DeployConfig) -> Spec:
    """What has ended holds no GPU, and its head stays a while."""
    keep_s = 60 * deploy.keep_minutes
    rules: list[Any] = [
        {"policy": "DeleteWorkers", "condition": {"jobStatus": "SUCCEEDED", "ttlSeconds": 0}},
        {"policy": "DeleteCluster", "condition": {"jobStatus": "SUCCEEDED", "ttlSeconds": keep_s}},
        {"policy": "DeleteWorkers", "condition": {"jobDeploymentStatus": "Failed", "ttlSeconds": 0}},
        {"policy": "DeleteCluster", "condition": {"jobDeploymentStatus": "Failed", "ttlSeconds": keep_s}},
    ]
    return {
        "deletionStrategy": Noted(
            {"deletionRules": rules},
            f"GPUs are released as soon as the job has ended; the head stays for {deploy.keep_minutes} minutes, for its logs and "
            "dashboard. Failed covers jobs that failed and attempts that ran out of time, once no retry is left. A job stopped by "
            "`ray job stop` matches no rule: delete the RayJob to release its GPUs.",
        )
    }


def shutdown(deploy: DeployConfig) -> Spec:
    """The whole cluster goes as soon as the job has ended: suspending needs this form, which excludes deletionRules."""
    return {
        "shutdownAfterJobFinishes": Noted(
            True,
            "KubeRay suspends no RayJob without it, and takes no deletionRules beside it. The cluster goes when the job has ended.",
        ),
        "ttlSecondsAfterFinished": 0,
    }


def retry_variable(run: RunConfig, deploy: DeployConfig) -> Spec:
    """The name under which attempts of one RayJob know each other."""
    return {"name": RETRY_ID, "value": f"{deploy.name}-{config_hash(run)}"}


def rayjob(run: RunConfig, deploy: DeployConfig, size: ClusterSize) -> Spec:
    """A Pass@k run."""
    spec = job_spec(command_line("jobs.passk", run_flags(run)), run, deploy, size, ends=deletion_rules(deploy))
    return manifest("RayJob", deploy, spec)


def rollouts(run: RunConfig, deploy: DeployConfig, size: ClusterSize) -> Spec:
    """A run whose samples are exported for RL trainers."""
    output = f"{deploy.mount}/rollouts/{deploy.name}.parquet"
    flags = [["--output", output], *run_flags(run, prefix="run.")]
    spec = job_spec(command_line("jobs.rollouts", flags), run, deploy, size, ends=deletion_rules(deploy))
    return manifest("RayJob", deploy, spec)


def kueue(run: RunConfig, deploy: DeployConfig, size: ClusterSize) -> Spec:
    """A Pass@k run that waits in a queue."""
    spec = job_spec(command_line("jobs.passk", run_flags(run)), run, deploy, size, ends=shutdown(deploy))
    suspended = {
        "suspend": Noted(
            True,
            "Kueue unsuspends the job when its quota admits it, and suspends it again when a job of higher priority needs its GPUs. "
            "KubeRay then deletes the cluster without telling the run; the run goes on from its folder when it is admitted again.",
        )
    }
    labels = {"kueue.x-k8s.io/queue-name": deploy.queue, "kueue.x-k8s.io/priority-class": deploy.priority}
    return manifest("RayJob", deploy, {**suspended, **spec}, labels=labels)


def raycronjob(run: RunConfig, deploy: DeployConfig, size: ClusterSize) -> Spec:
    """A nightly evaluation, each into a folder with its date."""
    flags = run_flags(replace(run, output=None))
    dated = f'--output "{base_of(run, deploy)}-$(date -u -d @$((${{{SCHEDULED_NAME}##*-}} * 60)) +%F)"'
    spec = job_spec(command_line("jobs.passk", flags, raw=(dated,)), run, deploy, size, ends=deletion_rules(deploy))
    spec["entrypoint"] = Noted(
        spec["entrypoint"],
        f"The submitter's shell expands the date. It is the scheduled one, so that a retry after midnight resumes the same folder: "
        f"the name of the RayJob, in {SCHEDULED_NAME}, ends with its scheduled time in minutes since 1970.",
    )
    name_label = {"fieldRef": {"fieldPath": "metadata.labels['ray.io/originated-from-cr-name']"}}
    spec["submitterPodTemplate"] = submitter_pod(deploy, variables=[{"name": SCHEDULED_NAME, "valueFrom": name_label}])
    return manifest(
        "RayCronJob",
        deploy,
        {
            "schedule": deploy.schedule,
            "timeZone": deploy.time_zone,
            "jobTemplate": spec,
        },
    )


def raycluster(run: RunConfig, deploy: DeployConfig, size: ClusterSize) -> Spec:
    """A cluster for many jobs, which grows from nothing."""
    cluster = ray_cluster(run, deploy, size)
    cluster["headGroupSpec"] = head_group(size.head, deploy, autoscales=True)
    most = deploy.max_gpu_workers or size.shards.replicas
    cluster["workerGroupSpecs"] = [
        shard_group(run, size.shards, deploy, least=0, most=most),
        cpu_group(size.cpu, deploy, least=0, most=4 * size.cpu.replicas),
    ]
    scaling = {
        "enableInTreeAutoscaling": True,
        "autoscalerOptions": {
            "version": "v2",
            "idleTimeoutSeconds": Noted(
                IDLE_S,
                "Must exceed the time of an image pull and of an engine's start: the first worker waits for the last.",
            ),
            "securityContext": container_security(),
            "resources": {
                "requests": {"cpu": "500m", "memory": "1Gi"},
                "limits": {"cpu": "500m", "memory": "1Gi"},
            },
        },
    }
    cluster = {"rayVersion": cluster["rayVersion"], "authOptions": cluster["authOptions"], **scaling, **cluster}
    return manifest("RayCluster", deploy, cluster)


def rayservice(run: RunConfig, deploy: DeployConfig, size: ClusterSize) -> Spec:
    """An OpenAI server with the run's sampler, an engine on each pod of shards."""
    cluster = ray_cluster(run, deploy, size)
    # KubeRay makes the Service of the ports named "serve" of the head, though the head takes no requests.
    cluster["headGroupSpec"] = head_group(size.head, deploy, serve_port=SERVE_PORT)
    cluster["workerGroupSpecs"] = [shard_group(run, size.shards, deploy)]
    spec = {
        "excludeHeadPodFromServeSvc": True,
        "upgradeStrategy": Noted(
            {"type": "NewCluster"},
            "A change of the cluster starts another one beside this one, and requests move when it serves: it needs as many GPUs again. A "
            "change of serveConfigV2 alone is made on the cluster that is there.",
        ),
        "serveConfigV2": serve_config(run),
        "rayClusterConfig": cluster,
    }
    return manifest("RayService", deploy, spec)


def manifest(kind: str, deploy: DeployConfig, spec: Spec, *, labels: dict[str, str] | None = None) -> Spec:
    """The object around a spec."""
    metadata: Spec = {"name": deploy.name, "labels": {"app.kubernetes.io/name": "esamp", **(labels or {})}}
    return {"apiVersion": "ray.io/v1", "kind": kind, "metadata": metadata, "spec": spec}


def placed(run: RunConfig, deploy: DeployConfig) -> RunConfig:
    """The run with an output that outlives its cluster: below the claim's mount, unless it is a URL.

    Raises InputError on a path elsewhere, which would go with the pod that wrote it.
    """
    if isinstance(run.output, str):
        return run
    if run.output is None:
        return replace(run, output=f"{base_of(run, deploy)}-{run.seed}")
    if not PurePosixPath(run.output).is_relative_to(deploy.mount):
        raise InputError(
            f"output must lie below {deploy.mount}, the claim of every pod, or be a URL such as s3://bucket/runs/x; got {run.output}."
        )
    return run


def base_of(run: RunConfig, deploy: DeployConfig) -> str:
    """Folder of a run, without what is added to tell it from others."""
    if run.output is not None:
        return str(run.output)
    return f"{deploy.mount}/runs/{re.sub(r'[^-.A-Za-z0-9_]+', '-', run.dataset_name)}-{run.sampler}"


JOB_USAGE = """kubectl apply -f {file}
kubectl get rayjob {name} --watch
kubectl logs --follow job/{name}
kubectl delete rayjob {name}       before it is applied again; the run then resumes"""

KINDS: dict[str, Kind] = {
    "rayjob": Kind("One Pass@k run: a RayJob with a cluster of its own, of fixed size.", JOB_USAGE, rayjob),
    "rollouts": Kind("One run whose samples are exported for RL trainers, as a RayJob.", JOB_USAGE, rollouts),
    "kueue": Kind("One Pass@k run that waits in a queue of Kueue, and may be suspended.", JOB_USAGE, kueue),
    "raycronjob": Kind(
        "A Pass@k run every night, each into a folder with its date.",
        """RayCronJob is alpha in KubeRay 1.7 and off: start the operator with --feature-gates=RayCronJob=true (Helm: featureGates).
kubectl apply -f {file}
kubectl get raycronjob {name}
kubectl get rayjobs --selector ray.io/cronjob-name={name}""",
        raycronjob,
    ),
    "raycluster": Kind(
        "A cluster for many jobs whose worker groups grow from zero and shrink again.",
        """kubectl apply -f {file}
kubectl port-forward service/{name}-head-svc 8265                  leave it open
export RAY_AUTH_MODE=token RAY_AUTH_TOKEN=$(kubectl get secret {name} -o jsonpath='{{.data.auth_token}}' | base64 -d)
ray job submit --address http://localhost:8265 -- python -m jobs.passk --wait-for-resources 30m ...
GPUs are asked for when a job begins (--wait-for-resources) and go when they were idle for idleTimeoutSeconds.""",
        raycluster,
    ),
    "rayservice": Kind(
        "An OpenAI server with a sampler of the project, on Ray Serve.",
        """kubectl apply -f {file}
kubectl get rayservice {name} --watch                              until it is ready
kubectl port-forward service/{name}-serve-svc 8000                 leave it open
curl http://localhost:8000/v1/completions --json '{{"model": ..., "prompt": ..., "n": 16}}'""",
        rayservice,
        is_run=False,
    ),
}
"""By the word of --kind."""
