"""What waits to be sent to one trainer: bounded, in order, and never in the way of the decode loop.

    decode thread    put_step, put_notice   -> | opening | step | step | ending | step |
    exchange thread  take                   <- the items of a letter

Notices (a group opens, a group ends) are never dropped. Of steps at most `limit` wait, or what the policy makes of it; what is dropped is
counted. Under pressure the limit shrinks, so that a trainer that is behind is sent the present and not the past.

Legend: R hidden-state rows of a step, H hidden size.
"""

import math
import random
import threading
from collections import deque
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch

from actors.config import ExchangeConfig
from actors.types import RegisterGroup, StepRows, UnregisterGroup
from esamp.distiller.hidden_rows import HiddenRows

MAX_STEPS = 32
"""Decode steps that wait while the trainer keeps up: what one letter may carry."""
MIN_STEPS = 4
"""The same once a trainer has fallen far behind. A letter then carries as many, so the lag is bounded by twice the time that a trainer
takes for them."""


class HostRows:
    """Hidden states of one step on their way to the host. On a GPU the copy is queued behind the step's own work and nobody waits for it
    until it is read; unproven, written without a GPU at hand."""

    def __init__(self, rows: HiddenRows) -> None:
        self._source_RH = rows.source_RH.to("cpu", non_blocking=True)
        self._target_RH = rows.target_RH.to("cpu", non_blocking=True)
        self._copied: torch.cuda.Event | None = None
        if rows.source_RH.is_cuda:
            self._copied = torch.cuda.Event()
            self._copied.record()

    def read(self) -> tuple[np.ndarray, np.ndarray]:
        """Source and target [R, H], fp32; waits for the copy."""
        if self._copied is not None:
            self._copied.synchronize()
        return self._source_RH.float().numpy(), self._target_RH.float().numpy()


@dataclass(frozen=True, slots=True, eq=False)
class WaitingStep:
    """The part of a decode step that belongs to one trainer."""

    states: HostRows
    rows: list[int] | None
    """Which rows of `states`; None is all of them, in order."""
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


def together(steps: list[WaitingStep]) -> StepRows:
    """Consecutive steps as one, to be learned from together."""
    if len(steps) == 1 and steps[0].rows is None:
        source, target = steps[0].states.read()
        return StepRows(
            source=source,
            target=target,
            groups=steps[0].groups,
            group_of_row=steps[0].group_of_row,
            steps=steps[0].steps,
        )
    groups = list(dict.fromkeys(group for step in steps for group in step.groups))
    newest = {group: count for step in steps for group, count in zip(step.groups, step.steps, strict=True)}
    states = [step.states.read() for step in steps]
    kept = [slice(None) if step.rows is None else step.rows for step in steps]
    return StepRows(
        source=np.concatenate([source[rows] for (source, _), rows in zip(states, kept, strict=True)]),
        target=np.concatenate([target[rows] for (_, target), rows in zip(states, kept, strict=True)]),
        groups=groups,
        group_of_row=[groups.index(step.groups[index]) for step in steps for index in step.group_of_row],
        steps=[newest[group] for group in groups],
    )


class PressurePolicy(Protocol):
    """Which rows a trainer gets when there are more than it can take."""

    def max_waiting(self, limit: int) -> int:
        """Steps that may wait while letters carry `limit`; the oldest makes room."""
        ...

    def select(self, steps: list[WaitingStep], share: float) -> list[list[WaitingStep]]:
        """What is sent of consecutive steps, when letters carry `share` of what waits; each list is learned from together."""
        ...


class NewestFirst:
    """The newest steps, whole."""

    def max_waiting(self, limit: int) -> int:
        return limit

    def select(self, steps: list[WaitingStep], share: float) -> list[list[WaitingStep]]:
        return [[step] for step in steps]


class UniformSubsample:
    """An equal share of the rows of every waiting step. Neighbouring steps are learned from together, so that a letter costs the trainer no
    more than one of whole steps would."""

    REACH = 8
    """Steps that may wait for each that a letter carries."""

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


def pressure_policy(config: ExchangeConfig) -> PressurePolicy:
    """The policy that the config asks for."""
    return UniformSubsample() if config.under_pressure == "uniform" else NewestFirst()


Item = RegisterGroup | WaitingStep | UnregisterGroup


class SendQueue:
    """A queue between the decode thread and the exchange thread."""

    def __init__(self, policy: PressurePolicy) -> None:
        self._policy = policy
        self._lock = threading.Lock()
        # In order: a group's end must not overtake its rows, nor its rows its opening.
        self._items: deque[Item] = deque()
        self._never_sent: set[str] = set()
        """Groups whose opening waits and was in no letter yet."""
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
        """Add a step; the oldest one makes room if there are too many."""
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
        """Add the opening of a group that the trainer does not know; the number of the letter that will carry it."""
        with self._lock:
            self._items.append(registration)
            self._never_sent.add(registration.group)
            return self.messages + 1

    def put_unregister(self, ending: UnregisterGroup) -> None:
        """Add the end of a group. If its opening still waits, nobody need hear of either, nor of its rows: while a trainer is away, groups
        may come and go without end."""
        with self._lock:
            if ending.group in self._never_sent:
                self._forget(ending.group)
            else:
                self._items.append(ending)

    def put_first(self, notices: list[RegisterGroup | UnregisterGroup]) -> None:
        """Notices that must come before everything else."""
        with self._lock:
            self._items.extendleft(reversed(notices))

    def take(self) -> list[RegisterGroup | StepRows | UnregisterGroup]:
        """Everything that waits, as the next letter carries it."""
        with self._lock:
            self.messages += 1
            items, self._items = self._items, deque()
            share = min(1.0, self._limit / max(1, self._waiting_steps))
            self._waiting_steps = 0
            self._never_sent.clear()
            self._has_overflowed = False
        taken: list[RegisterGroup | StepRows | UnregisterGroup] = []
        run: list[WaitingStep] = []
        for item in items:
            if isinstance(item, WaitingStep):
                run.append(item)
            else:
                taken += [*self._selected(run, share), item]
                run = []
        return taken + self._selected(run, share)

    def adapt(self) -> None:
        """A letter was answered: halve the limit if steps were dropped meanwhile, raise it if not."""
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
        return [together(run) for run in selected]

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
