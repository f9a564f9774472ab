"""One shard's line to one trainer: a letter under way at most, sent when the pace allows.

    outbox -> ray.put(letter) -> trainer.exchange(ref) -> reply: news of groups, and a reference to the weights that changed

The first letter is a greeting. One that fails was lost with the trainer: its rows are counted, its notices go into the next.
"""

import logging
import math
import time
from dataclasses import dataclass

import numpy as np
import ray
from ray.actor import ActorHandle
from ray.exceptions import RayError

from actors.exchange.rate_limit import RateLimit
from actors.exchange.send_queue import SendQueue
from actors.types import RegisterGroup, Reply, ShardMessage, StepRows, UnregisterGroup

logger = logging.getLogger(__name__)

RETRY_S = 1.0
"""Pause after the trainer failed, before it is tried again."""
HEARTBEAT_S = 20.0
"""Longest silence of a shard: a trainer gives up the groups of one it has not heard of for long (actors/trainers/group_table.py)."""


Items = list[RegisterGroup | StepRows | UnregisterGroup]


def rows_in(items: Items) -> int:
    """Hidden-state rows in a letter."""
    return sum(len(item.group_of_row) for item in items if isinstance(item, StepRows))


def bytes_in(items: Items) -> int:
    """Bytes of hidden states in a letter."""
    return sum(item.source.nbytes + item.target.nbytes for item in items if isinstance(item, StepRows))


@dataclass(slots=True)
class ClientCounters:
    """What went over one link."""

    messages: int = 0
    """With rows of hidden states."""
    sent_rows: int = 0
    sent_bytes: int = 0
    """Of hidden states."""
    lost_rows: int = 0
    failures: int = 0
    publications: int = 0
    """Answers with weights."""
    rows_s: float = 0.0
    """Processor time that letters took."""
    weights_s: float = 0.0
    """The same of weights."""


@dataclass(frozen=True, slots=True, eq=False)
class Answer:
    """A reply with the weights it refers to, fetched: [G, P], memory of the object store, for as long as it is held."""

    message: int
    """Number of the letter it answers, as Outbox counts them."""
    reply: Reply
    weights: np.ndarray | None


class TrainerClient:
    """Used by the exchange thread alone, but for `outbox`."""

    def __init__(self, trainer: ActorHandle, send_queue: SendQueue, *, shard: str, share: float) -> None:
        """`shard`: name and life. Rows and weights may take half of `share` each."""
        self.send_queue = send_queue
        self.counters = ClientCounters()
        self._trainer = trainer
        self._shard = shard
        self.reply: ray.ObjectRef | None = None
        """Of the letter under way."""
        self._rows_limit, self._weights_limit = RateLimit(share / 2), RateLimit(share / 2)
        self._items: Items = []
        """What the letter under way carries."""
        self._has_news = False
        self._not_before = 0.0
        self._last_sent = -math.inf

    def due_at(self) -> float:
        """When the next letter may be sent, in time.monotonic(); not while one is under way."""
        wanted = [self._last_sent + HEARTBEAT_S]
        if len(self.send_queue):
            wanted.append(self._rows_limit.due_at)
        if self._has_news:
            wanted.append(max(self._rows_limit.due_at, self._weights_limit.due_at))
        return max(min(wanted), self._not_before)

    def send(self) -> None:
        """Hand over everything that waits."""
        started, cpu = time.monotonic(), time.thread_time()
        wants_weights = self._weights_limit.is_due(started)
        self._items = self.send_queue.take()
        message = ShardMessage(shard=self._shard, items=self._items, wants_weights=wants_weights)
        try:
            # One object: the call carries a reference to it, and nothing passes through the driver.
            self.reply = self._trainer.exchange.remote(ray.put(message))
        except RayError as error:
            self._fail(error)
            return
        rows = rows_in(self._items)
        self.counters.messages += rows > 0
        self.counters.sent_rows += rows
        self.counters.sent_bytes += bytes_in(self._items)
        self._has_news = self._has_news and not wants_weights
        self._last_sent = started
        self._spend_on_rows(cpu)

    def settle(self) -> Answer | None:
        """Take the reply, which has arrived, and fetch its weights; None if the letter was lost."""
        assert self.reply is not None
        cpu = time.thread_time()
        try:
            reply: Reply = ray.get(self.reply)
            self._spend_on_rows(cpu)
            cpu = time.thread_time()
            weights = ray.get(reply.weights[0]) if reply.weights else None
            self.spend_on_weights(time.thread_time() - cpu)
            self.counters.publications += weights is not None
        except RayError as error:
            self._fail(error)
            return None
        self.send_queue.adapt()
        self._has_news = self._has_news or (rows_in(self._items) > 0 and weights is None)
        self.reply, self._items = None, []
        return Answer(self.send_queue.messages, reply, weights)

    def spend_on_weights(self, cost: float) -> None:
        """Seconds that taking weights over has cost."""
        self.counters.weights_s += cost
        self._weights_limit.spend(time.monotonic(), cost)

    def _spend_on_rows(self, cpu: float) -> None:
        # The first letter has nothing to say and is not counted: it loads code, which no other does.
        if self.send_queue.messages > 1:
            cost = time.thread_time() - cpu
            self.counters.rows_s += cost
            self._rows_limit.spend(time.monotonic(), cost)

    def _fail(self, error: RayError) -> None:
        """The named boundary: a trainer that died, or is restarting, must not end generation."""
        self.counters.failures += 1
        self.counters.lost_rows += rows_in(self._items)
        self.send_queue.put_first([item for item in self._items if not isinstance(item, StepRows)])
        self.reply, self._items = None, []
        self._not_before = time.monotonic() + RETRY_S
        logger.warning("esamp: a distiller trainer failed (%s); beta fades as its weights age", type(error).__name__)
