"""One shard's client of one trainer: at most one message in flight, sent when the rate limit allows.

    send queue -> Transport.send(message) -> reply: which groups are registered, and a reference to the weights that changed

A message that fails was lost with its trainer: its rows are counted, its registrations go into the next message.
"""

import logging
import math
import time
from dataclasses import dataclass

from ray import ObjectRef
from ray.actor import ActorHandle
from ray.exceptions import RayError
from torch import Tensor

from actors.exchange.messages import MessageItem, Reply, ShardMessage, StepRows, bytes_in, rows_in
from actors.exchange.rate_limit import RateLimit
from actors.exchange.send_queue import SendQueue
from actors.exchange.transport import Transport

logger = logging.getLogger(__name__)

RETRY_S = 1.0
"""Pause after the trainer failed, before it is tried again."""
HEARTBEAT_S = 20.0
"""A message is sent at least this often: a trainer removes the groups of a silent shard (actors/trainers/group_table.py: SILENCE_S)."""


@dataclass(slots=True)
class ClientCounters:
    """What one client sent and received."""

    messages: int = 0
    """With rows of hidden states."""
    sent_rows: int = 0
    sent_bytes: int = 0
    """Of hidden states."""
    lost_rows: int = 0
    failures: int = 0
    weight_updates: int = 0
    """Replies with weights."""
    rows_s: float = 0.0
    """Processor time that messages took."""
    weights_s: float = 0.0
    """Processor time that weights took."""


@dataclass(frozen=True, slots=True, eq=False)
class Received:
    """A reply and its weights."""

    message: int
    """Number of the message that it replies to, as SendQueue.messages counts."""
    reply: Reply
    weights_GP: Tensor | None


class TrainerClient:
    """Used by the exchange thread alone, except for `send_queue`."""

    def __init__(
        self, trainer: ActorHandle, send_queue: SendQueue, transport: Transport, *, shard: str, share: float
    ) -> None:
        """`shard`: name and incarnation. Rows and weights may take half of `share` of the time each."""
        self.send_queue = send_queue
        self.counters = ClientCounters()
        self._trainer = trainer
        self._transport = transport
        self._shard = shard
        self.reply: ObjectRef | None = None
        """To the message in flight; None if there is none."""
        # Two limits: weights are large, and with one limit a large model's weights would leave no time to send rows.
        self._rows_limit, self._weights_limit = RateLimit(share / 2), RateLimit(share / 2)
        self._items: list[MessageItem] = []
        """Of the message in flight."""
        self._has_newer_weights = False
        """The trainer has learned from rows since it last sent weights."""
        self._not_before = 0.0
        self._last_sent = -math.inf

    def due_at(self) -> float:
        """When the next message may be sent, in time.monotonic(). Only while none is in flight."""
        times = [self._last_sent + HEARTBEAT_S]
        if len(self.send_queue):
            times.append(self._rows_limit.due_at)
        if self._has_newer_weights:
            times.append(max(self._rows_limit.due_at, self._weights_limit.due_at))
        return max(min(times), self._not_before)

    def send(self) -> None:
        """Send everything that waits."""
        started, cpu = time.monotonic(), time.thread_time()
        wants_weights = self._weights_limit.is_due(started)
        self._items = self.send_queue.take()
        message = ShardMessage(shard=self._shard, items=self._items, wants_weights=wants_weights)
        try:
            self.reply = self._transport.send(self._trainer, message)
        except RayError as error:
            self._fail(error)
            return
        rows = rows_in(self._items)
        self.counters.messages += rows > 0
        self.counters.sent_rows += rows
        self.counters.sent_bytes += bytes_in(self._items)
        self._has_newer_weights = self._has_newer_weights and not wants_weights
        self._last_sent = started
        self._spend_on_rows(cpu)

    def receive(self) -> Received | None:
        """The reply, which has arrived, with its weights; None if the message was lost."""
        assert self.reply is not None
        cpu = time.thread_time()
        try:
            reply = self._transport.get_reply(self.reply)
            self._spend_on_rows(cpu)
            cpu = time.thread_time()
            weights_GP = self._transport.get_weights(reply)
            self.spend_on_weights(time.thread_time() - cpu)
        except RayError as error:
            self._fail(error)
            return None
        self.counters.weight_updates += weights_GP is not None
        self.send_queue.adapt()
        self._has_newer_weights = self._has_newer_weights or (rows_in(self._items) > 0 and weights_GP is None)
        self.reply, self._items = None, []
        return Received(self.send_queue.messages, reply, weights_GP)

    def spend_on_weights(self, cost: float) -> None:
        """Processor seconds that weights took."""
        self.counters.weights_s += cost
        self._weights_limit.spend(time.monotonic(), cost)

    def _spend_on_rows(self, cpu: float) -> None:
        # The first message is not counted: it carries no rows, and loads code, which no later one does.
        if self.send_queue.messages > 1:
            cost = time.thread_time() - cpu
            self.counters.rows_s += cost
            self._rows_limit.spend(time.monotonic(), cost)

    def _fail(self, error: RayError) -> None:
        """The error boundary of the exchange: a trainer that died, or is restarting, must not end generation."""
        self.counters.failures += 1
        self.counters.lost_rows += rows_in(self._items)
        # Rows are lost, registrations are not: without them the restarted trainer would refuse the group's rows for ever.
        self.send_queue.put_first([item for item in self._items if not isinstance(item, StepRows)])
        self.reply, self._items = None, []
        self._not_before = time.monotonic() + RETRY_S
        logger.warning("esamp: a distiller trainer failed (%s); beta decays as its weights age", type(error).__name__)
