"""A shard's side of the exchange with its DistillerTrainer. Nothing here ever makes the decode loop wait.

    decode thread                              exchange thread
    learn(rows)   -> queue of length max_in_flight -> ray.put -> trainer.train(ref)
    refresh()     <- weights that have arrived     <- trainer.publish, at most one call under way
    close(slot)   -> the same queue, in order      -> trainer.close

Under pressure the oldest waiting step makes room for the newest, and is counted. If the trainer is gone the engine goes on with the
weights it has, whose lag grows until beta has faded to 0 (esamp.fusion.stale_beta); a trainer that comes back is used again.
"""

import itertools
import logging
import math
import threading
import uuid
from collections import deque
from dataclasses import dataclass

import numpy as np
import ray
import torch
from ray.actor import ActorHandle
from ray.exceptions import RayError

from actors.types import GroupWeights, RowBatch
from esamp.distiller import DistillerBank, Forward
from esamp.hidden_rows import HiddenRows
from esamp.learner import WeightsVersion

logger = logging.getLogger(__name__)

MAX_IN_FLIGHT = 4
"""Decode steps on their way to the trainer; spec section 2.10 knows lags of 1 to 4 to be harmless, and each is one bounded object."""
REPLY_WAIT_SECONDS = 0.005
"""How long the exchange thread waits for the trainer before it looks for new rows again: less than most decode steps. It waits in
Ray's C++ code, so that the decode thread has the interpreter to itself."""
QUIET_WAIT_SECONDS = 0.1
"""The same while nothing is under way; new rows end it at once."""
CLUSTER_GROUP = "cluster"
"""Name of the one group that all shards share with scope="cluster"."""
RETRY_SECONDS = 1.0
"""Pause after the trainer failed, before it is tried again."""


@dataclass(slots=True)
class ExchangeCounters:
    """What one shard exchanged since it started."""

    sent_rows: int = 0
    dropped_rows: int = 0
    versions_received: int = 0
    trainer_failures: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class WaitingStep:
    """A decode step that the trainer has not been sent yet; fields as in RowBatch."""

    rows: HiddenRows
    groups: list[str]
    group_of_row: list[int]
    steps: list[int]

    def to_batch(self, shard: str) -> RowBatch:
        """The message, on the host."""
        return RowBatch(
            shard=shard,
            source=self.rows.source_RH.float().cpu().numpy(),
            target=self.rows.target_RH.float().cpu().numpy(),
            groups=self.groups,
            group_of_row=self.group_of_row,
            steps=self.steps,
        )


@dataclass(frozen=True, slots=True)
class EndedGroup:
    """A group that the trainer may forget, once it has had the group's last rows."""

    name: str


@dataclass(frozen=True, slots=True)
class ArrivedWeights:
    """A published version, fetched: `weights` [P] is read-only memory of the object store."""

    version: GroupWeights
    weights: np.ndarray


class ActorLearner:
    """A Learner (esamp.learner) whose bank is trained by a DistillerTrainer actor."""

    def __init__(self, bank: DistillerBank, trainer: ActorHandle, *, shard: str) -> None:
        self.bank = bank
        self.counters = ExchangeCounters()
        self._trainer = trainer
        # An engine that was restarted must not meet the groups of its former life.
        self._shard = f"{shard}/{uuid.uuid4().hex[:6]}"
        self._serial = itertools.count()
        self._lock = threading.Lock()
        self._group_of_slot: dict[int, str] = {}
        self._slot_of_group: dict[str, int] = {}
        self._versions: dict[int, GroupWeights] = {}
        self._steps_sent: dict[int, int] = {}
        # In order: a group's end must not overtake its rows, or the trainer would open the group again.
        self._outbox: deque[WaitingStep | EndedGroup] = deque()
        self._arrived: list[ArrivedWeights] = []
        self._has_news = False
        self._has_work = threading.Event()
        self._is_stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="distiller-exchange", daemon=True)
        self._thread.start()

    def open(self, slot: int, group: str) -> None:
        """`slot` starts as new; the trainer knows its group by a name no other has, or the cluster's one group by the one name."""
        self.bank.reset(slot)
        name = CLUSTER_GROUP if self.bank.config.scope == "cluster" else f"{self._shard}/{next(self._serial)}/{group}"
        with self._lock:
            self._group_of_slot[slot] = name
            self._slot_of_group[name] = slot
        self._versions[slot] = GroupWeights(
            group=name, incarnation="initial", step=0, rows=0, learned=0, loss=math.nan, relative_error=math.nan
        )
        self._steps_sent[slot] = 0

    def close(self, slot: int) -> None:
        with self._lock:
            name = self._group_of_slot.pop(slot)
            del self._slot_of_group[name]
            self._outbox.append(EndedGroup(name))
        self._has_work.set()

    def refresh(self) -> None:
        """Flip in whatever has arrived since the last step; never waits."""
        with self._lock:
            arrived, self._arrived = self._arrived, []
        for weights in arrived:
            self._flip(weights)

    def catch_up(self) -> None:
        """As refresh, which never waits; between it and the end of the step the weights stay as they are."""
        self.refresh()

    def learn(self, rows: HiddenRows, forward: Forward | None = None) -> None:
        """Queue the rows for the trainer; drops the oldest waiting step if it is behind."""
        slots = sorted(set(rows.slots))
        for slot in slots:
            self._steps_sent[slot] += 1
        with self._lock:
            groups = [self._group_of_slot[slot] for slot in slots]
            steps = [self._steps_sent[slot] for slot in slots]
            self._outbox.append(WaitingStep(rows, groups, [slots.index(slot) for slot in rows.slots], steps))
            waiting = [item for item in self._outbox if isinstance(item, WaitingStep)]
            if len(waiting) > MAX_IN_FLIGHT:
                self._outbox.remove(waiting[0])
                self.counters.dropped_rows += len(waiting[0].group_of_row)
        self._has_work.set()

    def version(self, slot: int) -> WeightsVersion:
        present = self._versions[slot]
        return WeightsVersion(
            incarnation=present.incarnation, step=present.step, rows=present.rows, learned=present.learned
        )

    def stop(self) -> None:
        """End the exchange thread."""
        self._is_stopping.set()
        self._thread.join()

    def _flip(self, arrived: ArrivedWeights) -> None:
        version = arrived.version
        slot = self._slot_of_group.get(version.group)
        if slot is None:
            return  # its group has ended while the weights were on their way
        present = self._versions[slot]
        if version.incarnation == present.incarnation and version.step <= present.step:
            return
        weights_P = torch.from_numpy(
            arrived.weights.copy()
        )  # the store's memory is read-only, which torch cannot express
        self.bank.load(slot, weights_P, steps=version.step, loss=version.loss, relative_error=version.relative_error)
        self._versions[slot] = version
        self.counters.versions_received += 1

    def _run(self) -> None:
        training: list[ray.ObjectRef] = []
        publishing: list[ray.ObjectRef] = []
        while not self._is_stopping.is_set():
            try:
                self._send(training)
                self._ask_for_weights(publishing)
                if training or publishing:
                    done, _ = ray.wait([*training, *publishing], timeout=REPLY_WAIT_SECONDS, fetch_local=False)
                    self._settle(done, training, publishing)
                elif not self._outbox:
                    self._has_work.wait(QUIET_WAIT_SECONDS)
                    self._has_work.clear()
            except RayError as error:
                # The named boundary: a trainer that died, or is restarting, must not end generation.
                self.counters.trainer_failures += 1
                logger.warning(
                    "esamp: the distiller trainer failed (%s); beta fades as its weights age", type(error).__name__
                )
                training, publishing = [], []
                self._is_stopping.wait(RETRY_SECONDS)

    def _send(self, training: list[ray.ObjectRef]) -> None:
        """Hand over what waits, in order, while fewer than MAX_IN_FLIGHT calls are under way."""
        while len(training) < MAX_IN_FLIGHT:
            with self._lock:
                if not self._outbox:
                    return
                item = self._outbox.popleft()
            if isinstance(item, EndedGroup):
                training.append(self._trainer.close.remote([item.name], self._shard))
            else:
                training.append(self._trainer.train.remote(ray.put(item.to_batch(self._shard))))
                self.counters.sent_rows += len(item.group_of_row)

    def _ask_for_weights(self, publishing: list[ray.ObjectRef]) -> None:
        """Ask for new weights of the live groups if anything was learned since; one call at a time."""
        if publishing or not self._has_news:
            return
        with self._lock:
            groups = list(self._slot_of_group)
        if groups:
            self._has_news = False
            publishing.append(self._trainer.publish.remote(groups, self._shard))

    def _settle(
        self, done: list[ray.ObjectRef], training: list[ray.ObjectRef], publishing: list[ray.ObjectRef]
    ) -> None:
        """Take note of calls that ended; fetch what was published. Raises RayError if a call failed."""
        for ref in done:
            result = ray.get(ref)
            if ref in training:
                training.remove(ref)
                self._has_news = True
                continue
            publishing.remove(ref)
            for weights in result.weights:
                arrived = [ArrivedWeights(*pair) for pair in zip(result.versions, ray.get(weights), strict=True)]
                with self._lock:
                    self._arrived += arrived
