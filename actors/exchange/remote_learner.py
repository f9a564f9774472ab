"""A shard's side of the exchange with its DistillerTrainers. Nothing here ever makes the decode loop wait.

    decode thread                                     exchange thread
    learn(rows)  -> send queue of the group's trainer -> message -> Transport.send
    refresh()    <- weights that have arrived         <- reply, at most one message in flight per trainer
    open, close  -> the same send queues, in order    -> message

Messages are rate limited: the exchange takes at most a set share of the engine's time, whatever the trainer does. If a trainer is lost the
engine goes on with the weights it has, whose lag grows until beta has decayed to 0 (esamp.exploration.weight_ages). A trainer that comes
back is sent those weights, and continues from them.
"""

import logging
import math
import threading
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass

from ray.actor import ActorHandle

from actors.config import ExchangeConfig
from actors.exchange.group_names import group_names, trainer_of
from actors.exchange.send_queue import SendQueue, WaitingStep, backpressure_policy
from actors.exchange.slot_table import ArrivedWeights, SlotState, SlotTable
from actors.exchange.trainer_client import Received, TrainerClient
from actors.exchange.transport import Transport
from esamp.distiller.bank import DistillerBank, Forward
from esamp.distiller.hidden_rows import HiddenRows, SlotBatch
from esamp.distiller.learner import WeightsVersion

logger = logging.getLogger(__name__)

MAX_WAIT_S = 0.5
"""Longest wait of the exchange thread without anything to send; the first row or registration ends it."""
POLL_S = 0.05
"""The same while one trainer's reply is awaited and another trainer has nothing to be sent: its next row does not end a wait for a
reply."""


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
    weight_updates: int
    """Replies with weights."""
    rows_s: float
    """Processor time of the exchange thread that messages took."""
    weights_s: float
    """Processor time of both threads that weights took."""
    trainer_failures: int
    restored_groups: int
    restarted_groups: int


@dataclass(frozen=True, slots=True, eq=False)
class ClientBatch:
    """The part of a batch of rows that belongs to one trainer."""

    client: TrainerClient
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
        transport: Transport | None = None,
    ) -> None:
        """`shard`: its name in the cluster. `spread`: as in ShardConfig. `transport`: the object store by default."""
        config = config or ExchangeConfig()
        self.bank = bank
        self._transport = transport or Transport()
        # A shard that was started again must not be taken for the one that registered groups before.
        incarnation = f"{shard}/{uuid.uuid4().hex[:6]}"
        self._names = group_names(incarnation, scope=bank.config.scope, spread=spread)
        share = config.share / len(trainers)
        self._clients = [
            TrainerClient(
                trainer, SendQueue(backpressure_policy(config)), self._transport, shard=incarnation, share=share
            )
            for trainer in trainers
        ]
        self._table = SlotTable(bank, self._transport)
        self._batches: tuple[SlotBatch, list[ClientBatch]] | None = None
        self._failure: BaseException | None = None
        self._is_idle = False
        self._has_work = threading.Event()
        self._is_stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="distiller-exchange", daemon=True)
        self._thread.start()

    def open(self, slot: int, group: str) -> None:
        """`slot` starts from initial weights."""
        name = self._names.name(group)
        self._table.open(slot, name, self._clients[trainer_of(name, len(self._clients))])
        self._batches = None
        self._wake()

    def close(self, slot: int) -> None:
        self._table.close(slot)
        self._batches = None
        self._wake()

    def refresh(self) -> None:
        """Swap in the weights that have arrived since the last step; never waits for a trainer."""
        if self._failure is not None:
            raise self._failure
        if not self._table.has_arrived():
            return
        started = time.thread_time()
        self._table.swap_in()
        for client in self._clients:
            client.spend_on_weights((time.thread_time() - started) / len(self._clients))

    def catch_up(self) -> None:
        """As refresh, which never waits; between it and the end of the step the weights stay as they are."""
        self.refresh()

    def learn(self, rows: HiddenRows, forward: Forward | None = None) -> None:
        """Queue the rows for their trainers."""
        states = self._transport.stage_rows(rows)
        for part in self._client_batches(rows.batch):
            for state in part.states:
                state.steps += 1
            part.client.send_queue.put_step(
                WaitingStep(
                    states,
                    part.rows,
                    [state.group for state in part.states],
                    part.group_of_row,
                    [state.steps for state in part.states],
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
        of_clients = [client.counters for client in self._clients]
        return ExchangeCounters(
            messages=sum(client.messages for client in of_clients),
            sent_rows=sum(client.sent_rows for client in of_clients),
            sent_bytes=sum(client.sent_bytes for client in of_clients),
            dropped_rows=sum(client.send_queue.dropped_rows for client in self._clients),
            lost_rows=sum(client.lost_rows for client in of_clients),
            versions_received=self._table.versions_received,
            weight_updates=sum(client.weight_updates for client in of_clients),
            rows_s=sum(client.rows_s for client in of_clients),
            weights_s=sum(client.weights_s for client in of_clients),
            trainer_failures=sum(client.failures for client in of_clients),
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
                [part for client in self._clients if (part := self._client_batch(batch, client)) is not None],
            )
        return self._batches[1]

    def _client_batch(self, batch: SlotBatch, client: TrainerClient) -> ClientBatch | None:
        slots = [slot for slot in batch.counts if self._table[slot].client is client]
        if not slots:
            return None
        rows = [row for row, slot in enumerate(batch.slots) if slot in slots]
        return ClientBatch(
            client,
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
            # The error boundary of the thread: what is no failure of a trainer is a bug, and is raised by the next refresh, in the decode
            # thread.
            self._failure = error

    def _exchange(self) -> None:
        """Receive the replies that have arrived, send the messages that are due."""
        in_flight = [client.reply for client in self._clients if client.reply is not None]
        arrived = self._transport.arrived(in_flight, timeout_s=0, all_of_them=True)
        for client in self._clients:
            if client.reply in arrived:
                received = client.receive()
                if received is not None:
                    self._receive(received, client)
            if client.reply is None and client.due_at() <= time.monotonic():
                client.send()

    def _wait(self) -> None:
        """Wait, without the interpreter lock, until a message is due or a reply has arrived; or, where nothing waits, until the first
        row."""
        in_flight = [client.reply for client in self._clients if client.reply is not None]
        idle = [client for client in self._clients if client.reply is None]
        due_at = min((client.due_at() for client in idle), default=math.inf)
        wait_s = min(max(0.0, due_at - time.monotonic()), MAX_WAIT_S)
        if in_flight:
            self._transport.arrived(in_flight, timeout_s=min(wait_s, POLL_S) if idle else wait_s, all_of_them=False)
            return
        self._is_idle = all(not len(client.send_queue) for client in idle)
        if self._is_idle and any(len(client.send_queue) for client in idle):
            wait_s = 0.0  # a row came before `_is_idle` was set, so its `_wake` did nothing
        self._has_work.wait(wait_s)
        self._has_work.clear()
        self._is_idle = False

    def _receive(self, received: Received, client: TrainerClient) -> None:
        """Take note of a reply; its weights wait for the next refresh."""
        reply = received.reply
        self._table.note(reply)
        if received.weights_GP is not None:
            for version, weights_P in zip(reply.versions, received.weights_GP, strict=True):
                self._table.keep(ArrivedWeights(version, weights_P), message=received.message)
        # In front of what waits, so that the trainer knows the groups before it is sent more of their rows.
        client.send_queue.put_first([*self._table.register_again(reply.unknown_groups)])
