"""When and where the bank learns. One interface, one class per way; the decode loop does not depend on which it has.

    decode step t     forward | refresh -> predict -> sample | learn(rows of t)
    SyncLearner                                              ######
    LocalLearner      ########## (a thread, which also predicts: see esamp/distiller/prefetch.py; else joined by the refresh of t+1)
    StreamLearner     ########## (the same on a CUDA stream: the device waits for it, never the host)

In all three the prediction of step t+1 uses weights that have learned from every step up to t: lag 1, the same tokens. LaggedLearner
and FrozenLearner are for experiments. A trainer in another process lives in actors/exchange/remote_learner.py.
"""

from collections import deque
from dataclasses import dataclass
from functools import partial
from typing import Protocol

import torch

from esamp.config import ESampConfig
from esamp.distiller.background import BackgroundExecutor, DistillerThread, Job
from esamp.distiller.bank import Forward
from esamp.distiller.hidden_rows import HiddenRows
from esamp.distiller.interface import Bank


@dataclass(frozen=True, kw_only=True, slots=True)
class WeightsVersion:
    """Which weights a slot has. As a string, "incarnation:step:rows"."""

    incarnation: str
    """Who trained them; a trainer that restarts has another."""
    step: int
    """Optimiser steps."""
    rows: int
    """Hidden-state rows those steps learned from."""
    learned: int
    """The newest decode step of this engine's that they have learned from, counted in the group."""

    def __str__(self) -> str:
        return f"{self.incarnation}:{self.step}:{self.rows}"


class Learner(Protocol):
    """Trains a bank on the rows of each decode step."""

    def open(self, slot: int, group: str) -> None:
        """`slot` now serves the prompt group of that name: reset it."""

    def close(self, slot: int) -> None:
        """Nobody uses `slot` any more."""

    def refresh(self) -> None:
        """Called before the bank predicts: bring its weights up to date. Raises what training raised."""

    def catch_up(self) -> None:
        """The same for a bank that predicts on the background executor, after the jobs submitted before; does not wait.
        Raises what training raised, at the next `learn` at the latest."""

    def learn(self, rows: HiddenRows, forward: Forward | None) -> None:
        """Learn from one decode step: one optimiser step of each slot that has rows. `forward` as in DistillerBank.train."""

    def version(self, slot: int) -> WeightsVersion:
        """Of the slot's current weights."""


class SyncLearner:
    """Trains within the step: the baseline that the other learners must match bit for bit."""

    def __init__(self, bank: Bank) -> None:
        self.bank = bank
        self._steps: dict[int, int] = {}
        self._rows: dict[int, int] = {}

    def open(self, slot: int, group: str) -> None:
        self.bank.reset(slot)
        self._steps[slot] = self._rows[slot] = 0

    def close(self, slot: int) -> None:
        del self._steps[slot], self._rows[slot]

    def refresh(self) -> None:
        pass

    def catch_up(self) -> None:
        pass

    def learn(self, rows: HiddenRows, forward: Forward | None) -> None:
        for slot, count in rows.batch.counts.items():
            self._steps[slot] += 1
            self._rows[slot] += count
        self._train(rows, forward)

    def version(self, slot: int) -> WeightsVersion:
        steps = self._steps[slot]
        return WeightsVersion(incarnation="local", step=steps, rows=self._rows[slot], learned=steps)

    def _train(self, rows: HiddenRows, forward: Forward | None) -> None:
        self.bank.train(rows, forward)


class LocalLearner(SyncLearner):
    """Trains in the background thread during the next forward pass. esamp.distiller.math says why the interpreter lock allows it."""

    def __init__(self, bank: Bank, thread: DistillerThread) -> None:
        super().__init__(bank)
        self._thread = thread
        self._pending: Job[None] | None = None

    def open(self, slot: int, group: str) -> None:
        self.refresh()  # the thread may still write to this slot: it trains a range of slots at once
        super().open(slot, group)

    def refresh(self) -> None:
        if self._pending is not None:
            pending, self._pending = self._pending, None
            pending.result()

    def catch_up(self) -> None:
        if self._pending is not None and self._pending.is_done:
            self.refresh()

    def _train(self, rows: HiddenRows, forward: Forward | None) -> None:
        # The last job is over: this step's prediction was computed after it, in the same thread. If it failed after `catch_up` looked,
        # overwriting it here would lose its error.
        self.refresh()
        self._pending = self._thread.submit(partial(self.bank.train, rows, forward))


class StreamLearner(SyncLearner):
    """Trains on the background CUDA stream, ordered by events alone: only the device waits."""

    def __init__(self, bank: Bank, stream: torch.cuda.Stream) -> None:
        super().__init__(bank)
        self._stream = stream
        self._in_use: tuple[HiddenRows, Forward | None] | None = None

    def refresh(self) -> None:
        torch.cuda.current_stream().wait_stream(self._stream)
        # The caching allocator orders memory by the stream it was allocated on: freed earlier, the main stream could overwrite it.
        self._in_use = None

    def _train(self, rows: HiddenRows, forward: Forward | None) -> None:
        self._in_use = (rows, forward)
        self._stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self._stream):
            self.bank.train(rows, forward)


class LaggedLearner(SyncLearner):
    """Learns from each step `lag` steps later, to measure what staleness costs."""

    def __init__(self, bank: Bank, lag: int) -> None:
        super().__init__(bank)
        self._waiting: deque[HiddenRows] = deque()
        self._lag = lag

    def close(self, slot: int) -> None:
        super().close(slot)
        # Rows of a group that has ended must not train the next group of its slot.
        self._waiting = deque(left for rows in self._waiting if (left := rows.without(slot)) is not None)

    def learn(self, rows: HiddenRows, forward: Forward | None) -> None:
        self._waiting.append(rows)
        if len(self._waiting) >= self._lag:
            super().learn(self._waiting.popleft(), None)


class FrozenLearner(SyncLearner):
    """Never learns: a control with a random Distiller."""

    def learn(self, rows: HiddenRows, forward: Forward | None) -> None:
        pass


def build_learner(config: ESampConfig, bank: Bank, executor: BackgroundExecutor) -> Learner | None:
    """The learner that the config asks for, on `executor` if it trains in the background; None for trainer="actor", whose learner is
    handed to the engine later."""
    if config.trainer == "actor":
        return None
    if config.trainer == "none":
        return FrozenLearner(bank)
    if config.lag > 1:
        return LaggedLearner(bank, config.lag)
    if config.trainer == "sync":
        return SyncLearner(bank)
    return background_learner(bank, executor)


def background_learner(bank: Bank, executor: BackgroundExecutor) -> Learner:
    """The learner of trainer="local" on `executor`."""
    return StreamLearner(bank, executor) if isinstance(executor, torch.cuda.Stream) else LocalLearner(bank, executor)
