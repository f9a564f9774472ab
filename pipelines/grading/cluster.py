"""Scoring on a Ray cluster, for more workers than this machine has cores. Nothing else in grading needs Ray."""

import os
import time
from collections.abc import Iterator

import ray
from ray.util import ActorPool

from actors.names import actor_name
from pipelines.errors import InputError
from pipelines.grading.completions import Completion
from pipelines.grading.verdicts_file import GradedRow, graded
from pipelines.stages.ray_session import connected_ray
from pipelines.verifiers.scorer import start_scorer
from pipelines.verifiers.settings import VerifierSettings


class GradeWorker:
    """Scores one reply at a time, wherever Ray starts it. A Ray actor."""

    def __init__(self, settings: VerifierSettings) -> None:
        self._scorer = start_scorer(settings)

    def score(self, completion: Completion) -> GradedRow:
        """The verdict on one reply."""
        started = time.perf_counter()
        verdict = self._scorer.score(completion.problem, completion.text)
        return graded(completion, verdict, milliseconds=1000 * (time.perf_counter() - started))


def score_on_cluster(completions: list[Completion], settings: VerifierSettings, *, workers: int) -> Iterator[GradedRow]:
    """Verdicts as they come, from a worker per CPU of the cluster that RAY_ADDRESS names. Raises InputError if it has too few CPUs."""
    with connected_ray(workers):
        cpus = int(ray.cluster_resources().get("CPU", 0))
        if workers > cpus:
            raise InputError(f"the cluster has {cpus} CPUs; got --workers {workers}. Each worker needs one.")
        worker_class = ray.remote(GradeWorker)
        pool = ActorPool(
            [
                worker_class.options(name=actor_name(f"grader-{number}"), num_cpus=1).remote(settings)
                for number in range(workers)
            ]
        )
        yield from pool.map_unordered(lambda worker, completion: worker.score.remote(completion), completions)


def is_wanted(settings: VerifierSettings, workers: int) -> bool:
    """True if so many workers need a cluster: a judge's only wait, so a machine takes more of them than it has cores.

    Raises InputError where they need one and none is named.
    """
    cores = os.cpu_count() or 1
    if workers <= cores or settings.name == "judge":
        return False
    if "RAY_ADDRESS" not in os.environ and not ray.is_initialized():
        raise InputError(
            f"this machine has {cores} cores; got --workers {workers}. Ask for {cores}, or name a Ray cluster in RAY_ADDRESS."
        )
    return True
