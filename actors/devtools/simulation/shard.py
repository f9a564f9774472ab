"""A simulated engine: it makes a decode step of random hidden states whenever one is due, and takes part in the real exchange.

    generate(unit) -> inbox -> batch of `prompts` units      as LLMShard, for which it stands in a ShardActor
    engine thread: sleep until the next step is due; groups come and go (esamp.distiller.prompt_groups); refresh; measure the lag;
    learn(random rows)

Left out: the model, prediction, sampling, prompts. A sample is as long as an engine's, and its contents are blank.
"""

import asyncio
import logging
import math
import queue
import random
import threading
import time
from collections import deque
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from ray.actor import ActorHandle

from actors.devtools.simulation.config import SimulatedShardConfig
from actors.devtools.simulation.units import RunningUnit, blank_sample
from actors.errors import EngineFailed
from actors.exchange.remote_learner import ActorLearner, ExchangeCounters
from actors.types import Sample, ShardActivity, ShardStats, TrainerSpec, WorkUnit
from esamp.config import ESampConfig
from esamp.distiller.bank import DistillerBank
from esamp.distiller.hidden_rows import HiddenRows, SlotBatch
from esamp.distiller.interface import build_bank
from esamp.distiller.prompt_groups import ExploringRequest, GroupTable, PromptGroup
from esamp.scope import SHARED_GROUP

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class ShardObservation:
    """What a simulated shard has done since it started; its lags, since it was last observed."""

    steps: int
    rows: int
    """Of all decode steps."""
    vanilla_groups: int
    exchange: ExchangeCounters
    lag_steps: np.ndarray
    """[decode steps x groups] steps that the weights were behind, the present one included, as esamp.exploration.explorer counts it."""


class SimulatedShard:
    """Stands for an LLMShard: the same methods, as ShardActor calls them."""

    def __init__(self, config: SimulatedShardConfig, *, name: str) -> None:
        assert isinstance(config.policy, ESampConfig)
        self.config, self.name, self._esamp = config, name, config.policy
        self._learner: ActorLearner | None = None
        self._groups = GroupTable(self._esamp.num_slots, self._open_slot, self._close_slot)
        if self._esamp.is_shared:
            self._groups.add(ExploringRequest("", SHARED_GROUP, self._esamp.beta))
        self._inbox: queue.SimpleQueue[RunningUnit] = queue.SimpleQueue()
        self._waiting: deque[RunningUnit] = deque()
        self._batch: list[RunningUnit] = []
        self._plan: tuple[list[PromptGroup], SlotBatch] | None = None
        self._cancelled: set[str] = set()
        self._is_finishing = False
        self._wake = threading.Event()
        self._units_begun = self._steps = self._rows = self._samples = 0
        self._lags: list[int] = []
        self._failure: EngineFailed | None = None
        threading.Thread(target=self._run, name="engine", daemon=True).start()

    async def trainer_spec(self) -> TrainerSpec:
        """As LLMShard.trainer_spec."""
        gain: np.ndarray = np.ones(self.config.hidden_size, dtype=np.float32)
        return TrainerSpec(config=self._esamp, output_gain=gain, max_groups=self._esamp.num_slots)

    async def use_trainers(self, trainers: Sequence[ActorHandle]) -> None:
        """As LLMShard.use_trainers."""
        bank = build_bank(
            self._esamp,
            torch.ones(self.config.hidden_size),
            num_slots=self._esamp.num_slots,
            head_weight_VH=None,
        )
        assert isinstance(bank, DistillerBank)
        self._learner = ActorLearner(
            bank, trainers, shard=self.name, spread=self.config.spread, config=self.config.exchange
        )

    async def generate(self, unit: WorkUnit) -> AsyncIterator[Sample]:
        """The unit's samples, once `max_tokens` steps are made; none if its problem is cancelled."""
        if self._failure is not None:
            raise self._failure
        loop = asyncio.get_running_loop()
        running = RunningUnit(unit, loop.create_future(), loop, time.monotonic())
        self._inbox.put(running)
        self._wake.set()
        for sample in await running.future:
            yield sample

    async def cancel(self, problem_id: str) -> None:
        """End the problem's units at the next step."""
        self._cancelled.add(problem_id)
        self._wake.set()

    async def end_round(self) -> None:
        """A simulated session is one round."""

    async def finish(self) -> None:
        """End every unit at the next step, now and later."""
        self._is_finishing = True
        self._wake.set()

    async def stats(self) -> ShardStats:
        """As LLMShard.stats, as far as a shard without a model has something to count."""
        exchange = self._learner.counters if self._learner else None
        return ShardStats(
            shard=self.name,
            samples=self._samples,
            decode_tokens=self._rows,
            intervened_tokens=0,
            trained_rows=exchange.sent_rows if exchange else 0,
            optimiser_steps=0,
            dropped_rows=exchange.dropped_rows if exchange else 0,
            lost_rows=exchange.lost_rows if exchange else 0,
            vanilla_groups=self._groups.vanilla_groups,
            nonfinite_rows=0,
            broken_slots=0,
            stale_rows=0,
            versions_received=exchange.versions_received if exchange else 0,
            trainer_failures=exchange.trainer_failures if exchange else 0,
            cancelled_samples=0,
            cancelled_tokens=0,
            restored_groups=exchange.restored_groups if exchange else 0,
            restarted_groups=exchange.restarted_groups if exchange else 0,
            generation_seconds=self._steps / self.config.steps_per_s,
        )

    async def activity(self) -> ShardActivity:
        """As LLMShard.activity; a shard without a model has no KV cache."""
        running = sum(len(unit.unit.sample_indices) for unit in list(self._batch))
        return ShardActivity(
            shard=self.name,
            running=running,
            waiting=self._inbox.qsize() + len(self._waiting),
            kv_cache_share=0.0,
            preemptions=0,
            finished=self._samples,
            truncated=0,
            tokens=self._rows,
            tokens_under_way=0,
        )

    def observe(self) -> ShardObservation:
        """What was done; forgets the lags."""
        assert self._learner is not None
        lags, self._lags = self._lags, []
        return ShardObservation(
            steps=self._steps,
            rows=self._rows,
            vanilla_groups=self._groups.vanilla_groups,
            exchange=self._learner.counters,
            lag_steps=np.array(lags, dtype=np.int64),
        )

    def _run(self) -> None:
        try:
            due, period_s = 0.0, 1 / self.config.steps_per_s
            while True:
                self._follow()
                if not self._batch:
                    self._wake.wait()
                    self._wake.clear()
                    continue
                if not self._steps:
                    # All shards begin at once; engines in step would send their messages at the same time.
                    due = time.monotonic() + random.Random(self.name).random() * period_s
                time.sleep(max(0.0, due - time.monotonic()))
                # A step that came late delays those after it, as an engine's does.
                due = max(due + period_s, time.monotonic())
                self._step()
        except BaseException as error:
            # The error boundary: as in LLMShard, a bug fails every caller instead of leaving them waiting.
            logger.exception("simulated shard %s failed", self.name)
            self._failure = EngineFailed(f"the engine of {self.name} failed: {type(error).__name__}: {error}")
            while not self._inbox.empty():
                self._waiting.append(self._inbox.get())
            for running in [*self._batch, *self._waiting]:
                running.loop.call_soon_threadsafe(running.future.set_exception, self._failure)

    def _follow(self) -> None:
        """Let units leave and enter the batch."""
        while not self._inbox.empty():
            self._waiting.append(self._inbox.get())
        ended = [running for running in self._batch if running.steps == running.length or self._is_unwanted(running)]
        for running in ended:
            self._batch.remove(running)
            self._leave(running)
        for running in [running for running in self._waiting if self._is_unwanted(running)]:
            self._waiting.remove(running)
            running.loop.call_soon_threadsafe(running.future.set_result, [])
        while self._waiting and len(self._batch) < self.config.prompts:
            ended.append(running := self._waiting.popleft())
            self._enter(running)
        if ended:
            self._plan = None

    def _is_unwanted(self, running: RunningUnit) -> bool:
        return self._is_finishing or running.unit.problem_id in self._cancelled

    def _enter(self, running: RunningUnit) -> None:
        # The first units of a shard are shorter, each longer than the one before, so that not all groups begin and end together.
        self._units_begun += 1
        share = min(1.0, self._units_begun / self.config.prompts)
        running.length = math.ceil(share * self.config.sampling.max_tokens)
        self._batch.append(running)
        for request_id in running.request_ids():
            group = self._esamp.distiller_scope.group(running.unit.problem_id)
            self._groups.add(ExploringRequest(request_id, group, self._esamp.beta))

    def _leave(self, running: RunningUnit) -> None:
        for request_id in running.request_ids():
            self._groups.remove(request_id)
        is_done = running.steps == running.length
        samples = (
            [blank_sample(running, index, shard=self.name) for index in running.unit.sample_indices] if is_done else []
        )
        self._samples += len(samples)
        running.loop.call_soon_threadsafe(running.future.set_result, samples)

    def _step(self) -> None:
        """One decode step, in the order of esamp.exploration.explorer."""
        assert self._learner is not None
        self._learner.refresh()
        groups, batch = self._plan = self._plan or self._make_plan()
        for group in groups:
            group.steps_seen += 1
            assert group.slot is not None
            self._lags.append(group.steps_seen - self._learner.version(group.slot).learned)
        source, target = torch.randn(2, len(batch.slots), self.config.hidden_size)
        self._learner.learn(HiddenRows(source, batch, target))
        for running in self._batch:
            running.steps += 1
        self._steps += 1
        self._rows += len(batch.slots)

    def _make_plan(self) -> tuple[list[PromptGroup], SlotBatch]:
        """Groups of the batch, and the slot of each of its rows."""
        groups: dict[str, PromptGroup] = {}
        slots: list[int] = []
        for running in self._batch:
            for request_id in running.request_ids():
                request = self._groups.request(request_id)
                assert request is not None
                group = self._groups.group_with_slot(request)
                if group is None or group.slot is None:
                    raise RuntimeError(
                        f"group {request.group} found no slot: max_groups={self._esamp.max_groups} must be at least the batch's prompts."
                    )
                groups[group.name] = group
                slots.append(group.slot)
        return list(groups.values()), SlotBatch.of(tuple(slots), torch.device("cpu"))

    def _open_slot(self, slot: int, name: str) -> None:
        assert self._learner is not None
        self._learner.open(slot, name)

    def _close_slot(self, slot: int) -> None:
        assert self._learner is not None
        self._learner.close(slot)
