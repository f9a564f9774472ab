"""Scoring while a run generates: every sample goes to a verifier as soon as it is finished, whatever its siblings do.

    GenerateSamples --answer--> VerifierPool --> VerifierActor (one answer at a time) --> its verdict

jobs.verify, which scores what is stored, runs the same verifiers over Ray Data: see verify.py.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import ray
from ray.actor import ActorHandle

from actors.names import actor_name
from pipelines.stages.verify import VerifySamples
from pipelines.verifiers.settings import VerifierSettings

SCORED_COLUMNS = ["problem_id", "problem", "text", "error"]
"""What a verifier is sent of a sample."""


class VerifierActor:
    """Scores one answer at a time."""

    def __init__(self, settings: VerifierSettings, answers: str | Path) -> None:
        """`answers`: path or URL of the run's file of them."""
        self._verifier = VerifySamples(settings, answers, [])

    def ping(self) -> None:
        """Return once the actor has started."""

    def score(self, answer: dict[str, Any]) -> dict[str, Any]:
        """The columns of VERDICT_SCHEMA for an answer of SCORED_COLUMNS."""
        return self._verifier.verdict_columns(answer)


def start_verifiers(settings: VerifierSettings, answers: str | Path, number: int) -> list[ActorHandle]:
    """Verifiers that have started. Raises RayActorError with the reason if one cannot.

    Ray restarts one whose process or node ends and calls it again: a verdict depends on the answer alone.
    """
    actor = ray.remote(VerifierActor)
    verifiers = [
        actor.options(name=actor_name(f"verifier-{index}"), num_cpus=1, max_restarts=-1, max_task_retries=-1).remote(
            settings, answers
        )
        for index in range(number)
    ]
    ray.get([verifier.ping.remote() for verifier in verifiers])
    return verifiers


class VerifierPool:
    """Gives each answer to the verifier that has the fewest of this pool's before it."""

    def __init__(self, verifiers: Sequence[ActorHandle]) -> None:
        self._verifiers = list(verifiers)
        self._waiting = [0] * len(verifiers)

    async def verdict(self, row: pa.Table) -> dict[str, Any]:
        """The columns of VERDICT_SCHEMA for a sample, a table of one row."""
        [answer] = row.select(SCORED_COLUMNS).to_pylist()
        chosen = min(range(len(self._waiting)), key=self._waiting.__getitem__)
        self._waiting[chosen] += 1
        try:
            verdict: dict[str, Any] = await self._verifiers[chosen].score.remote(answer)
        finally:
            self._waiting[chosen] -= 1
        return verdict
