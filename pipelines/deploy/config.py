"""What an operator decides about a run on Kubernetes, beside the run itself. The command line of jobs.kuberay is generated from it."""

import re
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Literal

from pipelines.errors import InputError

SPOT_NODES = {
    "eks": {"eks.amazonaws.com/capacityType": "SPOT"},
    "gke": {"cloud.google.com/gke-spot": "true"},
    "aks": {"kubernetes.azure.com/scalesetpriority": "spot"},
    "karpenter": {"karpenter.sh/capacity-type": "spot"},
}
"""The label of nodes that may be reclaimed, by who provides them. GKE and AKS also taint such nodes with that label."""

MAX_NAME = 36
"""KubeRay adds a random suffix to the name of a RayJob, and RayCronJob one more: 47 and 36 characters are its limits."""


@dataclass(frozen=True, kw_only=True, slots=True)
class DeployConfig:
    """Where and how a run is placed on a cluster. Raises InputError on a value outside its range."""

    name: str = "esamp"
    """Name of the Kubernetes object: at most 36 characters, lower case, digits and "-"."""
    image: str = "registry.example.com/esamp-ray:0.1.0-gpu"
    """Image built by deploy/Dockerfile, with a tag or digest of its own: KubeRay starts pods of one run at different times."""
    claim: str = "esamp"
    """PersistentVolumeClaim, ReadWriteMany, with the model cache and, unless --run.output is a URL, the run folders."""
    mount: str = "/mnt/esamp"
    """Where the claim is mounted, in every pod."""
    huggingface_secret: str = "huggingface"
    """Secret with a key `token`, for gated models; it may be absent."""
    s3_secret: str | None = None
    """Secret with keys `access-key-id` and `secret-access-key`, for runs on S3; without it pods use their node's or service account's
    role."""
    s3_endpoint: str | None = None
    """Address of an S3 server other than Amazon's."""
    gpu_product: str | None = None
    """Value of the node label nvidia.com/gpu.product that NVIDIA's GPU feature discovery sets; None takes any GPU."""
    gpu_memory_gib: float = 80.0
    """Memory of one GPU, GiB, > 0: a model that does not fit is refused."""
    spot: Literal["eks", "gke", "aks", "karpenter"] | None = None
    """Take GPU nodes that their provider may reclaim."""
    retries: int = 3
    """Attempts after the first one that fails, >= 0; each has a new Ray cluster and resumes the run."""
    attempt_hours: float = 24.0
    """Longest time of one attempt, waiting for nodes included, > 0. An attempt that exceeds it is the last."""
    ready_minutes: int = 60
    """Longest wait of one attempt for its nodes, >= 1."""
    keep_minutes: int = 60
    """How long the head of a finished job stays, for its logs and dashboard, >= 0; its GPUs go at once."""
    queue: str = "esamp"
    """Kueue's LocalQueue, with --kind kueue."""
    priority: str = "esamp-batch"
    """Kueue's WorkloadPriorityClass, with --kind kueue."""
    schedule: str = "0 2 * * *"
    """Cron schedule, with --kind raycronjob."""
    time_zone: str = "Etc/UTC"
    """Of the schedule."""
    max_gpu_workers: int | None = None
    """Most GPU pods, with --kind raycluster; None allows those of the run's shards."""

    def __post_init__(self) -> None:
        if len(self.name) > MAX_NAME or not re.fullmatch(r"[a-z]([-a-z0-9]*[a-z0-9])?", self.name):
            raise InputError(
                f"deploy.name must be at most {MAX_NAME} lower-case letters, digits and '-', beginning with a letter; got {self.name!r}."
            )
        tag = self.image.rpartition("/")[2].partition(":")[2]
        if tag in ("", "latest") and "@sha256:" not in self.image:
            raise InputError(
                f"deploy.image needs a tag of its own, not latest: the pods of a run must agree; got {self.image}."
            )
        if not PurePosixPath(self.mount).is_absolute():
            raise InputError(f"deploy.mount must be an absolute path; got {self.mount!r}.")
        for name, value, least in (
            ("retries", self.retries, 0),
            ("ready_minutes", self.ready_minutes, 1),
            ("keep_minutes", self.keep_minutes, 0),
        ):
            if value < least:
                raise InputError(f"deploy.{name} must be >= {least}; got {value}.")
        if not self.gpu_memory_gib > 0 or not self.attempt_hours > 0:
            raise InputError(
                f"deploy.gpu_memory_gib and deploy.attempt_hours must be > 0; got {self.gpu_memory_gib} and {self.attempt_hours}."
            )
