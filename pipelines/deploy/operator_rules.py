"""What the KubeRay operator 1.7 refuses although its custom resource definitions accept it.

A RayJob that breaks one of these rules is accepted by `kubectl apply` and then stands there with the status ValidationFailed; a RayCluster
gets an event. Each rule here is one of ray-operator/controllers/ray/utils/validation.go at v1.7.0, in this project's words.
"""

import re
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any

Spec = dict[str, Any]

DNS_LABEL = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?")
LONGEST_NAME = {"RayCluster": 53, "RayJob": 47, "RayService": 47, "RayCronJob": 36}
"""A RayJob's cluster gets a suffix, and a RayCronJob's job one more."""
DELETION_ORDER = ("DeleteWorkers", "DeleteCluster", "DeleteSelf")
"""A later one takes what an earlier one left: its time may not be shorter."""
TOKEN_SINCE = (2, 52)
"""First Ray with token authentication."""
RESOURCE_PARAMETERS = ("num-cpus", "num-gpus", "memory", "resources")


def broken_rules(manifest: Spec) -> list[str]:
    """What the operator would refuse, a sentence each; empty if nothing."""
    return [*name_rules(manifest), *SPEC_RULES[manifest["kind"]](manifest["spec"])]


def name_rules(manifest: Spec) -> Iterator[str]:
    """Names become labels and parts of other names."""
    name, kind = manifest["metadata"]["name"], manifest["kind"]
    if len(name) > LONGEST_NAME[kind]:
        yield f"the name of a {kind} has at most {LONGEST_NAME[kind]} characters; got {len(name)}."
    if not DNS_LABEL.fullmatch(name):
        yield f"a name is lower-case letters, digits and '-', and begins with a letter; got {name!r}."


def cron_job_rules(spec: Spec) -> Iterator[str]:
    """A RayCronJob's schedule, and the job in it."""
    if "TZ" in spec["schedule"]:
        yield "a schedule names no time zone; set timeZone."
    if len(spec["schedule"].split()) != 5 and not spec["schedule"].startswith("@"):
        yield f"a schedule has five fields; got {spec['schedule']!r}."
    if spec.get("timeZone") == "":
        yield "timeZone must not be empty; leave it out for the operator's own."
    yield from job_rules(spec["jobTemplate"])


def job_rules(spec: Spec) -> Iterator[str]:
    """A RayJob's retries, deadlines, suspension and deletion."""
    shuts_down = spec.get("shutdownAfterJobFinishes", False)
    if spec.get("suspend") and not shuts_down:
        yield "a RayJob that may be suspended needs shutdownAfterJobFinishes."
    if spec.get("ttlSecondsAfterFinished", 0) < 0:
        yield "ttlSecondsAfterFinished must be >= 0."
    if spec.get("ttlSecondsAfterFinished", 0) > 0 and not shuts_down:
        yield "ttlSecondsAfterFinished needs shutdownAfterJobFinishes."
    if "rayClusterSpec" not in spec and not spec.get("clusterSelector"):
        yield "a RayJob needs rayClusterSpec or clusterSelector."
    if spec.get("clusterSelector") and (spec.get("suspend") or spec.get("backoffLimit", 0) > 0):
        yield "a RayJob on a cluster of its own choice (clusterSelector) can neither be suspended nor retried."
    if spec.get("submissionMode") == "InteractiveMode" and spec.get("backoffLimit", 0) > 0:
        yield "InteractiveMode cannot be retried."
    if spec.get("submissionMode") == "SidecarMode" and ("submitterPodTemplate" in spec or "submitterConfig" in spec):
        yield "SidecarMode takes neither submitterPodTemplate nor submitterConfig."
    for name in ("activeDeadlineSeconds", "preRunningDeadlineSeconds"):
        if spec.get(name, 1) <= 0:
            yield f"{name} must be > 0."
    if spec.get("backoffLimit", 0) < 0:
        yield "backoffLimit must be >= 0."
    if "deletionStrategy" in spec:
        yield from deletion_rules(spec, shuts_down=shuts_down)
    if "rayClusterSpec" in spec:
        yield from cluster_rules(spec["rayClusterSpec"])


def deletion_rules(spec: Spec, *, shuts_down: bool) -> Iterator[str]:
    """A RayJob's deletionStrategy."""
    strategy = spec["deletionStrategy"]
    rules = strategy.get("deletionRules", [])
    is_legacy = "onSuccess" in strategy or "onFailure" in strategy
    if rules and shuts_down:
        yield "deletionRules and shutdownAfterJobFinishes exclude each other."
    if rules and is_legacy:
        yield "deletionRules and onSuccess/onFailure exclude each other."
    if not rules and not ("onSuccess" in strategy and "onFailure" in strategy):
        yield "a deletionStrategy needs deletionRules, or both onSuccess and onFailure."
    times: dict[tuple[str, str], dict[str, int]] = {}
    for rule in rules:
        condition, policy = rule["condition"], rule["policy"]
        named = [name for name in ("jobStatus", "jobDeploymentStatus") if name in condition]
        if len(named) != 1:
            yield "a deletion rule's condition is one of jobStatus and jobDeploymentStatus."
            continue
        if policy in ("DeleteWorkers", "DeleteCluster") and spec.get("clusterSelector"):
            yield f"{policy} is not for a cluster that the job did not make."
        if policy == "DeleteWorkers" and spec.get("rayClusterSpec", {}).get("enableInTreeAutoscaling"):
            yield "DeleteWorkers and autoscaling exclude each other."
        of_state = times.setdefault((named[0], condition[named[0]]), {})
        if policy in of_state:
            yield f"there are two rules {policy} for {condition[named[0]]}."
        of_state[policy] = condition.get("ttlSeconds", 0)
    for (_, state), by_policy in times.items():
        order = [(policy, by_policy[policy]) for policy in DELETION_ORDER if policy in by_policy]
        for (earlier, before_s), (later, after_s) in pairwise(order):
            if after_s < before_s:
                yield f"for {state}, {later} comes after {after_s} s, before {earlier} after {before_s} s."


def cluster_rules(spec: Spec) -> Iterator[str]:
    """A Ray cluster, in a RayCluster, RayJob or RayService."""
    scales = bool(spec.get("enableInTreeAutoscaling"))
    scales_v2 = spec.get("autoscalerOptions", {}).get("version") == "v2"
    head, workers = spec["headGroupSpec"], spec.get("workerGroupSpecs", [])
    for name, group in [("head", head), *((group["groupName"], group) for group in workers)]:
        pod = group["template"]["spec"]
        if not pod.get("containers"):
            yield f"group {name} has no container."
        if group.get("resources") and set(group.get("rayStartParams", {})) & set(RESOURCE_PARAMETERS):
            yield f"group {name} sets resources and rayStartParams that mean the same."
        if "labels" in group.get("rayStartParams", {}):
            yield f"group {name} sets labels in rayStartParams; set them in the group."
        if scales and scales_v2 and pod.get("restartPolicy", "Never") != "Never":
            yield f"group {name} needs restartPolicy Never with autoscaler v2."
    for group in workers:
        name, least, most = group["groupName"], group.get("minReplicas"), group.get("maxReplicas")
        if not scales and (least is None or most is None):
            yield f"group {name} needs minReplicas and maxReplicas, since nothing scales it."
        if (least or 0) < 0 or (most or 0) < 0 or (None not in (least, most) and least > most):
            yield f"group {name} needs 0 <= minReplicas <= maxReplicas; got {least} and {most}."
        if group.get("suspend") and scales:
            yield f"group {name} cannot be suspended with autoscaling."
        if "idleTimeoutSeconds" in group and not scales_v2:
            yield f"group {name} sets idleTimeoutSeconds, which needs autoscaler v2."
        if group.get("priority") and not scales_v2:
            yield f"group {name} sets a priority, which needs autoscaler v2."
    if spec.get("autoscalerOptions", {}).get("idleTimeoutSeconds", 0) < 0:
        yield "idleTimeoutSeconds must be >= 0."
    yield from gate_rules(spec)
    if spec.get("authOptions", {}).get("mode") == "token":
        version = spec.get("rayVersion", "")
        if not re.match(r"\d+\.\d+", version) or tuple(map(int, version.split(".")[:2])) < TOKEN_SINCE:
            yield f"authOptions.mode token needs rayVersion 2.52.0 or newer; got {version!r}."


def gate_rules(spec: Spec) -> Iterator[str]:
    """Fields that are refused unless the operator was started with their feature gate: all are off by default."""
    for field, gate in (
        ("networkPolicy", "RayClusterNetworkPolicy"),
        ("tlsOptions", "RayClusterMTLS"),
        ("historyServerOptions", "RayClusterHistoryServer"),
    ):
        if field in spec:
            yield f"{field} needs the feature gate {gate}, which is off by default."


def service_rules(spec: Spec) -> Iterator[str]:
    """A RayService."""
    cluster = spec["rayClusterConfig"]
    if cluster.get("authOptions", {}).get("enableK8sTokenAuth"):
        yield "enableK8sTokenAuth is not for a RayService."
    if cluster["headGroupSpec"].get("headService", {}).get("metadata", {}).get("name"):
        yield "the head's service of a RayService has no name of its own."
    ports = [
        port for pod in cluster["headGroupSpec"]["template"]["spec"]["containers"] for port in pod.get("ports", [])
    ]
    if not any(re.match(r"serve(-|$)", port.get("name", "")) for port in ports) and "serveService" not in spec:
        yield 'the head of a RayService needs a port named "serve", or there is no Service to reach it by.'
    yield from cluster_rules(cluster)


SPEC_RULES: dict[str, Callable[[Spec], Iterator[str]]] = {
    "RayCluster": cluster_rules,
    "RayJob": job_rules,
    "RayCronJob": cron_job_rules,
    "RayService": service_rules,
}
