"""What waits to be sent to one trainer: bounded, in order, and never in the way of the decode loop.

    decode thread    put_step, put_register, put_unregister -> | register | step | step | unregister | step |
    exchange thread  take                                   <- the items of a message

Registrations are never dropped. At most `limit` steps wait, or what the backpressure policy makes of it; rows that are dropped are
counted. While the trainer is behind the limit shrinks, so that it is sent the present and not the past.

Legend: R hidden-state rows of a step, H hidden size.
"""

import math
import random
import threading
from collections import deque
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from actors.config import ExchangeConfig
from actors.exchange.messages import MessageItem, RegisterGroup, StepRows, UnregisterGroup
from actors.exchange.transport import StagedRows

MAX_STEPS = 32
"""Decode steps that wait while the trainer keeps up: what one message may carry."""
MIN_STEPS = 4
"""The same once a trainer has fallen far behind. A message then carries as many, so the lag is bounded by twice the time that a trainer
takes for them."""


@dataclass(frozen=True, slots=True, eq=False)
class WaitingStep:
    """The part of a decode step that belongs to one trainer."""

    states: StagedRows
    """Of the whole decode step: all its WaitingSteps share them."""
    rows: list[int] | None
    """Which rows of `states`; None for all of them, in order."""
    groups: list[str]
    group_of_row: list[int]
    """Index into groups, for each of `rows`."""
    steps: list[int]
    """As in StepRows."""

    def thinned(self, share: float, generator: random.Random) -> "WaitingStep":
        """About `share` of the rows of every group, drawn at random, but at least one of each."""
        rows = self.rows if self.rows is not None else list(range(len(self.group_of_row)))
        kept: list[int] = []
        for index in range(len(self.groups)):
            of_group = [place for place, group in enumerate(self.group_of_row) if group == index]
            kept += generator.sample(of_group, max(1, round(share * len(of_group))))
        kept.sort()
        return WaitingStep(
            self.states, [rows[k] for k in kept], self.groups, [self.group_of_row[k] for k in kept], self.steps
        )

    def without(self, group: str) -> "WaitingStep":
        """The rows of all other groups; it may be left with none."""
        if group not in self.groups:
            return self
        gone = self.groups.index(group)
        rows = self.rows if self.rows is not None else list(range(len(self.group_of_row)))
        kept = [place for place, index in enumerate(self.group_of_row) if index != gone]
        return WaitingStep(
            self.states,
            [rows[k] for k in kept],
            [name for name in self.groups if name != group],
            [index - (index > gone) for index in (self.group_of_row[k] for k in kept)],
            [steps for index, steps in enumerate(self.steps) if index != gone],
        )


def merged(steps: list[WaitingStep]) -> StepRows:
    """Consecutive steps as one, to be learned from in one optimiser step of each group."""
    groups = list(dict.fromkeys(group for step in steps for group in step.groups))
    newest = {group: count for step in steps for group, count in zip(step.groups, step.steps, strict=True)}
    states = [step.states.read(step.rows) for step in steps]
    # A single step, the usual case, is not copied.
    source, target = states[0] if len(states) == 1 else map(np.concatenate, zip(*states, strict=True))
    return StepRows(
        source=source,
        target=target,
        groups=groups,
        group_of_row=[groups.index(step.groups[index]) for step in steps for index in step.group_of_row],
        steps=[newest[group] for group in groups],
    )


class BackpressurePolicy(Protocol):
    """Which rows a trainer is sent when there are more than it can take."""

    def max_waiting(self, limit: int) -> int:
        """Steps that may wait while messages carry `limit`; the oldest is dropped."""
        ...

    def select(self, steps: list[WaitingStep], share: float) -> list[list[WaitingStep]]:
        """What is sent of consecutive steps, when messages carry `share` of what waits; each list is learned from in one optimiser step."""
        ...


class NewestFirst:
    """The newest steps, with all their rows."""

    def max_waiting(self, limit: int) -> int:
        return limit

    def select(self, steps: list[WaitingStep], share: float) -> list[list[WaitingStep]]:
        return [[step] for step in steps]


class UniformSubsample:
    """An equal share of the rows of every waiting step. Neighbouring steps are learned from in one optimiser step, so that a message costs
    the trainer no more than one of complete steps."""

    REACH = 8
    """Steps that may wait for each that a message carries."""

    def __init__(self, seed: int = 0) -> None:
        self._generator = random.Random(seed)

    def max_waiting(self, limit: int) -> int:
        return self.REACH * limit

    def select(self, steps: list[WaitingStep], share: float) -> list[list[WaitingStep]]:
        if share >= 1:
            return [[step] for step in steps]
        thinned = [step.thinned(share, self._generator) for step in steps]
        size = math.ceil(1 / share)
        return [thinned[first : first + size] for first in range(0, len(thinned), size)]


def backpressure_policy(config: ExchangeConfig) -> BackpressurePolicy:
    """The policy that the config asks for."""
    return UniformSubsample() if config.backpressure == "uniform" else NewestFirst()


Item = RegisterGroup | WaitingStep | UnregisterGroup


class SendQueue:
    """A queue between the decode thread and the exchange thread."""

    def __init__(self, policy: BackpressurePolicy) -> None:
        self._policy = policy
        self._lock = threading.Lock()
        # One queue for both kinds of item: a group's rows must overtake neither its registration nor be overtaken by its end. An
        # unregistration that came first would make the trainer refuse the rows, and the shard register the group again, for ever.
        self._items: deque[Item] = deque()
        self._never_sent: set[str] = set()
        """Groups whose registration waits and was in no message yet."""
        self._waiting_steps = 0
        self._limit = MAX_STEPS
        self._has_overflowed = False
        self.messages = 0
        """Taken so far."""
        self.dropped_rows = 0

    def __len__(self) -> int:
        return len(self._items)

    @property
    def waiting_steps(self) -> int:
        """Decode steps that wait."""
        return self._waiting_steps

    def put_step(self, step: WaitingStep) -> None:
        """Add a step; the oldest one is dropped if there are too many."""
        with self._lock:
            self._items.append(step)
            self._waiting_steps += 1
            if self._waiting_steps > self._policy.max_waiting(self._limit):
                oldest = next(item for item in self._items if isinstance(item, WaitingStep))
                self._items.remove(oldest)
                self._waiting_steps -= 1
                self._has_overflowed = True
                self.dropped_rows += len(oldest.group_of_row)

    def put_register(self, registration: RegisterGroup) -> int:
        """Add the registration of a group that the trainer does not know; the number of the message that will carry it."""
        with self._lock:
            self._items.append(registration)
            self._never_sent.add(registration.group)
            return self.messages + 1

    def put_unregister(self, ended: UnregisterGroup) -> None:
        """Add the end of a group. If its registration still waits, both are removed, and its rows: while a trainer is away any number of
        groups may come and go, and the queue must not grow with them."""
        with self._lock:
            if ended.group in self._never_sent:
                self._forget(ended.group)
            else:
                self._items.append(ended)

    def put_first(self, items: list[RegisterGroup | UnregisterGroup]) -> None:
        """Add items in front of everything that waits."""
        with self._lock:
            self._items.extendleft(reversed(items))

    def take(self) -> list[MessageItem]:
        """Everything that waits, as the next message carries it."""
        with self._lock:
            self.messages += 1
            items, self._items = self._items, deque()
            share = min(1.0, self._limit / max(1, self._waiting_steps))
            self._waiting_steps = 0
            self._never_sent.clear()
            self._has_overflowed = False
        # Outside the lock: this waits for the copies from the device, and the decode thread must not wait for it.
        taken: list[MessageItem] = []
        run: list[WaitingStep] = []
        for item in items:
            if isinstance(item, WaitingStep):
                run.append(item)
            else:
                taken += [*self._selected(run, share), item]
                run = []
        return taken + self._selected(run, share)

    def adapt(self) -> None:
        """A message was replied to: halve the limit if steps were dropped while it was in flight, raise it if not.

        `_has_overflowed` is reset by `take`: steps that the rate limit made wait, and not the trainer, do not shrink the limit.
        """
        with self._lock:
            if self._has_overflowed:
                self._limit = max(MIN_STEPS, self._limit // 2)
            else:
                self._limit = min(MAX_STEPS, self._limit + MIN_STEPS)

    def _selected(self, steps: list[WaitingStep], share: float) -> list[StepRows]:
        if not steps:
            return []
        selected = self._policy.select(steps, share)
        kept = sum(len(step.group_of_row) for run in selected for step in run)
        with self._lock:
            self.dropped_rows += sum(len(step.group_of_row) for step in steps) - kept
        return [merged(run) for run in selected]

    def _forget(self, group: str) -> None:
        left: deque[Item] = deque()
        for item in self._items:
            if isinstance(item, WaitingStep):
                rest = item.without(group)
                self.dropped_rows += len(item.group_of_row) - len(rest.group_of_row)
                if rest.group_of_row:
                    left.append(rest)
                else:
                    self._waiting_steps -= 1
            elif item.group != group:
                left.append(item)
        self._items = left
        self._never_sent.remove(group)
