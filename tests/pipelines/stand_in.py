"""A shard without an engine, for tests of what happens around generation. It answers a prompt with the prompt's last word where the
sample's seed is even, and with "no idea" where it is odd. Prompts say what else shall happen:

    "impossible ..."    ValueError, as for a prompt the model cannot take
    "slow ..."          takes SLOW_SECONDS
    "breaks ..."        RuntimeError, as from a bug of ours
    "kills ..."         ends its process by SIGKILL
    "uneven ..."        sample 3 takes STAND_IN_SAMPLE_3_S seconds (an environment variable; 0 by default), or until its problem is
                        cancelled; the shard writes a line to the file STAND_IN_WITNESS when it comes to it
    "endless ..."       sample 3 takes until its problem is cancelled
    "stalls ..."        its process stands still before its last sample, until Ray has restarted it
"""

import asyncio
import math
import os
import signal
import time
import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from types import TracebackType

import ray
from ray.actor import ActorHandle

from actors.config import ShardConfig
from actors.types import Sample, ShardActivity, ShardStats, TrainerStats, WorkUnit
from esamp.config import ESampConfig

SLOW_SECONDS = 2.0


class StandInShard:
    """Same calls as actors.shards.llm_shard.LLMShard."""

    def __init__(self, config: ShardConfig, *, name: str) -> None:
        self.name = name
        self.explores = isinstance(config.policy, ESampConfig) and config.policy.beta > 0
        self.samples: list[Sample] = []
        self.cancelled: set[str] = set()
        self.busy_seconds = 0.0
        self.cancelled_samples = 0
        self.rounds_ended = 0
        self.under_way = 0
        self.incarnation = uuid.uuid4().hex
        self.is_restarted: bool = ray.get_runtime_context().was_current_actor_reconstructed

    async def join(self, trainers: list[ActorHandle]) -> str:
        return self.incarnation

    async def work(self) -> tuple[int, int]:
        """Process id, and units under way."""
        return os.getpid(), self.under_way

    async def generate(self, unit: WorkUnit) -> AsyncIterator[Sample]:
        started = time.monotonic()
        if unit.prompt.startswith("impossible"):
            raise ValueError(f"the prompt {unit.prompt!r} is too long.")
        if unit.prompt.startswith("breaks"):
            raise RuntimeError("the engine broke")
        if unit.prompt.startswith("kills"):
            os.kill(os.getpid(), signal.SIGKILL)
        self.under_way += 1
        await asyncio.sleep(SLOW_SECONDS if unit.prompt.startswith("slow") else 0.01)
        if unit.problem_id in self.cancelled:
            self.cancelled_samples += len(unit.sample_indices)
            self.under_way -= 1
            return
        for index, seed in zip(unit.sample_indices, unit.seeds, strict=True):
            if index == 3 and not await self.is_sample_3_wanted(unit):
                self.cancelled_samples += 1
                break
            if unit.prompt.startswith("stalls") and index == unit.sample_indices[-1] and not self.is_restarted:
                await asyncio.Event().wait()
            sample = self.sample(unit, index, seed)
            self.samples.append(sample)
            yield sample
        self.under_way -= 1
        self.busy_seconds += time.monotonic() - started

    async def is_sample_3_wanted(self, unit: WorkUnit) -> bool:
        """Returns when it is finished, or cancelled."""
        kind, started = unit.prompt.split()[0], time.monotonic()
        seconds = {"endless": math.inf, "uneven": float(os.environ.get("STAND_IN_SAMPLE_3_S", "0"))}.get(kind, 0.0)
        if seconds and "STAND_IN_WITNESS" in os.environ:
            with Path(os.environ["STAND_IN_WITNESS"]).open("a") as witness:
                witness.write(f"{unit.unit_id} {unit.sample_indices}\n")
        while time.monotonic() < started + seconds and unit.problem_id not in self.cancelled:
            await asyncio.sleep(0.05)
        return unit.problem_id not in self.cancelled

    def sample(self, unit: WorkUnit, index: int, seed: int) -> Sample:
        text = unit.prompt.split()[-1] if seed % 2 == 0 else "no idea"
        steers = [self.explores and position > 0 for position in range(4)]
        return Sample(
            problem_id=unit.problem_id,
            sample_index=index,
            seed=seed,
            prompt_token_ids=[1, 2],
            text=text,
            token_ids=[3, 4, 5, 6],
            finish_reason="stop",
            behaviour_logprobs=[-1.0, -2.0, -3.0, -4.0],
            policy_logprobs=[-1.0, -2.5, -3.5, -4.5],
            num_candidates=[9, 9, 9, 9],
            flipped=[False, *steers[1:]],
            intervened=steers,
            novelty=[0.5 if steer else math.nan for steer in steers],
            lag=[1 if steer else -1 for steer in steers],
            loss=[4.0 - position if steer else math.nan for position, steer in enumerate(steers)],
            distiller_version="abc:3:24" if self.explores else "",
            shard=self.name,
            generation_seconds=0.01,
            group_resumed=unit.is_resumed,
        )

    async def cancel(self, problem_id: str) -> None:
        self.cancelled.add(problem_id)

    async def end_round(self) -> None:
        self.rounds_ended += 1

    async def activity(self) -> ShardActivity:
        return ShardActivity(
            shard=self.name,
            running=4 * self.under_way,
            waiting=0,
            kv_cache_share=0.25,
            preemptions=0,
            finished=len(self.samples),
            truncated=0,
            tokens=4 * len(self.samples),
            tokens_under_way=0,
        )

    async def stats(self) -> ShardStats:
        intervened = sum(sum(sample.intervened) for sample in self.samples)
        return ShardStats(
            shard=self.name,
            samples=len(self.samples),
            decode_tokens=3 * len(self.samples),
            intervened_tokens=intervened,
            trained_rows=intervened,
            optimiser_steps=intervened,
            dropped_rows=0,
            vanilla_groups=0,
            nonfinite_rows=0,
            broken_slots=0,
            stale_rows=0,
            versions_received=0,
            trainer_failures=0,
            cancelled_samples=self.cancelled_samples,
            cancelled_tokens=3 * self.cancelled_samples,
            lost_rows=0,
            restored_groups=0,
            restarted_groups=0,
            generation_seconds=self.busy_seconds,
        )


class IdleShard(StandInShard):
    """An ESamp shard whose Distiller never takes part."""

    def __init__(self, config: ShardConfig, *, name: str) -> None:
        super().__init__(config, name=name)
        self.explores = False


class StandInFleet:
    """Same form as actors.shards.fleet.Fleet."""

    shard_class: type[StandInShard] = StandInShard

    def __init__(
        self, config: ShardConfig, *, num_shards: int, min_shards: int | None = None, num_trainers: int = 1
    ) -> None:
        actor_class = ray.remote(self.shard_class).options(num_cpus=0, max_concurrency=64, max_restarts=-1)
        self.trainers: list[ActorHandle] = []
        self.shards: list[ActorHandle] = [actor_class.remote(config, name=f"shard-{i}") for i in range(num_shards)]

    def __enter__(self) -> "StandInFleet":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        for shard in self.shards:
            ray.kill(shard)

    def grow(self, router: ActorHandle, *, other_cpus: float) -> None:
        """All of them are there from the start."""

    def stats(self) -> list[ShardStats]:
        stats: list[ShardStats] = ray.get([shard.stats.remote() for shard in self.shards])
        return stats

    def trainer_stats(self) -> TrainerStats | None:
        return None


class IdleFleet(StandInFleet):
    """A fleet of idle shards."""

    shard_class = IdleShard
