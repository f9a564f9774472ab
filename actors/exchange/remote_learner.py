"""A shard's side of the exchange with its DistillerTrainers. Nothing here ever makes the decode loop wait.

    decode thread                                exchange thread
    learn(rows)  -> outbox of the group's trainer -> letter -> ray.put -> trainer.exchange(ref)
    refresh()    <- weights that have arrived     <- reply, at most one letter under way per trainer
    open, close  -> the same outboxes, in order   -> letter

Letters are paced: the exchange takes at most a set share of the engine's time, whatever the trainer does. If a trainer is gone the engine
goes on with the weights it has, whose lag grows until beta has faded to 0 (esamp.fusion.stale_beta); one that comes back is offered those
weights, and goes on from them.
"""

import logging
import math
import threading
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import ray
import torch
from ray.actor import ActorHandle

from actors.config import ExchangeConfig
from actors.exchange.group_names import group_names, trainer_of
from actors.exchange.send_queue import HostRows, SendQueue, WaitingStep, pressure_policy
from actors.exchange.slot_table import ArrivedWeights, SlotState, SlotTable
from actors.exchange.trainer_client import Answer, TrainerClient
from esamp.distiller.bank import DistillerBank, Forward
from esamp.distiller.hidden_rows import HiddenRows, SlotBatch
from esamp.distiller.learner import WeightsVersion

logger = logging.getLogger(__name__)

MAX_WAIT_S = 0.5
"""Longest rest of the exchange thread; the first row or notice after a pause ends it."""
POLL_S = 0.05
"""The same while it waits for one trainer and has nothing to send to another, whose next row does not wake it."""


@dataclass(frozen=True, slots=True)
class ExchangeCounters:
    """What one shard exchanged since it started."""

    messages: int
    """With rows of hidden states."""
    sent_rows: int
    sent_bytes: int
    """Of hidden states."""
    dropped_rows: int
    lost_rows: int
    versions_received: int
    publications: int
    """Answers with weights."""
    rows_s: float
    """Processor time of the exchange that letters took."""
    weights_s: float
    """The same of weights."""
    trainer_failures: int
    restored_groups: int
    restarted_groups: int


@dataclass(frozen=True, slots=True, eq=False)
class ClientBatch:
    """The part of a batch of rows that belongs to one trainer."""

    link: TrainerClient
    rows: list[int] | None
    """None if it is all of them."""
    states: list[SlotState]
    """[G]"""
    group_of_row: list[int]


class ActorLearner:
    """A Learner (esamp.distiller.learner) whose bank is trained by DistillerTrainer actors."""

    def __init__(
        self,
        bank: DistillerBank,
        trainers: Sequence[ActorHandle],
        *,
        shard: str,
        spread: bool = False,
        config: ExchangeConfig | None = None,
    ) -> None:
        """`shard`: its name in the cluster. `spill`: as in ShardConfig."""
        config = config or ExchangeConfig()
        self.bank = bank
        # A shard that was started again must not meet the groups of its former life.
        incarnation = f"{shard}/{uuid.uuid4().hex[:6]}"
        self._names = group_names(incarnation, scope=bank.config.scope, spread=spread)
        share = config.share / len(trainers)
        self._clients = [
            TrainerClient(trainer, SendQueue(pressure_policy(config)), shard=incarnation, share=share)
            for trainer in trainers
        ]
        self._table = SlotTable(bank)
        self._batches: tuple[SlotBatch, list[ClientBatch]] | None = None
        self._failure: BaseException | None = None
        self._is_idle = False
        self._has_work = threading.Event()
        self._is_stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="distiller-exchange", daemon=True)
        self._thread.start()

    def open(self, slot: int, group: str) -> None:
        """`slot` starts as new."""
        name = self._names.name(group)
        self._table.open(slot, name, self._clients[trainer_of(name, len(self._clients))])
        self._batches = None
        self._wake()

    def close(self, slot: int) -> None:
        self._table.close(slot)
        self._batches = None
        self._wake()

    def refresh(self) -> None:
        """Flip in whatever has arrived since the last step; never waits for a trainer."""
        if self._failure is not None:
            raise self._failure
        if not self._table.has_arrived():
            return
        started = time.thread_time()
        self._table.swap_in()
        for link in self._clients:
            link.spend_on_weights((time.thread_time() - started) / len(self._clients))

    def catch_up(self) -> None:
        """As refresh, which never waits; between it and the end of the step the weights stay as they are."""
        self.refresh()

    def learn(self, rows: HiddenRows, forward: Forward | None = None) -> None:
        """Queue the rows for their trainers."""
        states = HostRows(rows)
        for share in self._client_batches(rows.batch):
            for state in share.states:
                state.steps += 1
            share.link.send_queue.put_step(
                WaitingStep(
                    states,
                    share.rows,
                    [state.group for state in share.states],
                    share.group_of_row,
                    [state.steps for state in share.states],
                )
            )
        self._wake()

    def version(self, slot: int) -> WeightsVersion:
        present = self._table[slot].version
        return WeightsVersion(
            incarnation=present.incarnation, step=present.step, rows=present.rows, learned=present.learned
        )

    @property
    def counters(self) -> ExchangeCounters:
        """Of all trainers together."""
        of_links = [link.counters for link in self._clients]
        return ExchangeCounters(
            messages=sum(link.messages for link in of_links),
            sent_rows=sum(link.sent_rows for link in of_links),
            sent_bytes=sum(link.sent_bytes for link in of_links),
            dropped_rows=sum(link.send_queue.dropped_rows for link in self._clients),
            lost_rows=sum(link.lost_rows for link in of_links),
            versions_received=self._table.versions_received,
            publications=sum(link.publications for link in of_links),
            rows_s=sum(link.rows_s for link in of_links),
            weights_s=sum(link.weights_s for link in of_links),
            trainer_failures=sum(link.failures for link in of_links),
            restored_groups=self._table.restored_groups,
            restarted_groups=self._table.restarted_groups,
        )

    def stop(self) -> None:
        """End the exchange thread."""
        self._is_stopping.set()
        self._has_work.set()
        self._thread.join()

    def _client_batches(self, batch: SlotBatch) -> list[ClientBatch]:
        """Each trainer's part of a batch; made anew when the batch changes, not in every step."""
        if self._batches is None or self._batches[0] is not batch:
            self._batches = (
                batch,
                [share for link in self._clients if (share := self._client_batch(batch, link)) is not None],
            )
        return self._batches[1]

    def _client_batch(self, batch: SlotBatch, link: TrainerClient) -> ClientBatch | None:
        slots = [slot for slot in batch.counts if self._table[slot].link is link]
        if not slots:
            return None
        rows = [row for row, slot in enumerate(batch.slots) if slot in slots]
        return ClientBatch(
            link,
            None if len(rows) == len(batch.slots) else rows,
            [self._table[slot] for slot in slots],
            [slots.index(batch.slots[row]) for row in rows],
        )

    def _wake(self) -> None:
        # Only after a pause: a thread that wakes in every step takes the interpreter from the decode loop in every step.
        if self._is_idle:
            self._has_work.set()

    def _run(self) -> None:
        try:
            while not self._is_stopping.is_set():
                self._wait()
                self._exchange()
        except BaseException as error:
            # The named boundary: what is no failure of a trainer is a bug, and ends generation through the next refresh.
            self._failure = error

    def _exchange(self) -> None:
        """Take the replies that are there, send the letters that are due."""
        waited_for = [link.reply for link in self._clients if link.reply is not None]
        arrived = (
            set(ray.wait(waited_for, num_returns=len(waited_for), timeout=0, fetch_local=False)[0])
            if waited_for
            else set()
        )
        for link in self._clients:
            if link.reply in arrived:
                answer = link.settle()
                if answer is not None:
                    self._receive(answer, link)
            if link.reply is None and link.due_at() <= time.monotonic():
                link.send()

    def _wait(self) -> None:
        """Sleep, in C, until a letter is due or a reply is there; or until the first row, where nothing waits."""
        waited_for = [link.reply for link in self._clients if link.reply is not None]
        idle = [link for link in self._clients if link.reply is None]
        due_at = min((link.due_at() for link in idle), default=math.inf)
        rest = min(max(0.0, due_at - time.monotonic()), MAX_WAIT_S)
        if waited_for:
            ray.wait(waited_for, timeout=min(rest, POLL_S) if idle else rest, fetch_local=False)
            return
        self._is_idle = all(not len(link.send_queue) for link in idle)
        if self._is_idle and any(len(link.send_queue) for link in idle):
            rest = 0.0  # it came between the two looks
        self._has_work.wait(rest)
        self._has_work.clear()
        self._is_idle = False

    def _receive(self, answer: Answer, link: TrainerClient) -> None:
        """Take note of a reply; its weights wait for the next refresh."""
        reply = answer.reply
        self._table.note(reply)
        if answer.weights is not None:
            started = time.thread_time()
            # Copied here: torch cannot express the store's read-only memory, and to hold on to it would keep whole publications alive.
            weights_GP = torch.from_numpy(np.array(answer.weights))
            for version, weights_P in zip(reply.versions, weights_GP, strict=True):
                self._table.keep(ArrivedWeights(version, weights_P), message=answer.message)
            link.spend_on_weights(time.thread_time() - started)
        # Before any more of their rows.
        link.send_queue.put_first([*self._table.register_again(reply.unknown_groups)])
