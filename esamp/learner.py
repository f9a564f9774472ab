"""When and where the bank learns. One interface, one class per way; the decode loop does not know which it has.

    decode step t     forward | refresh -> predict -> sample | learn(rows of t)
    SyncLearner                                              ######
    LocalLearner      ########## (a thread; joined by the refresh of t+1)
    StreamLearner     ########## (a CUDA stream; the refresh of t+1 waits for it on the device, never on the host)

In all three the prediction of step t+1 uses weights that have learned from every step up to t: lag 1, the same tokens. The fourth way,
a trainer in another process, lives in actors/exchange.py.
"""

from concurrent.futures import Future, ThreadPoolExecutor
from typing import Protocol

import torch

from esamp.distiller import DistillerBank, HiddenRows


class Learner(Protocol):
    """Keeps a DistillerBank learning."""

    def open(self, slot: int, group: str) -> None:
        """`slot` now serves the prompt group of that name: it must start as new."""

    def close(self, slot: int) -> None:
        """Nobody uses `slot` any more."""

    def refresh(self) -> None:
        """Called before the bank predicts: bring its weights up to date. Raises what training raised."""

    def learn(self, rows: HiddenRows) -> None:
        """Learn from one decode step: one optimiser step of each slot that has rows."""

    def version(self, slot: int) -> tuple[str, int]:
        """(incarnation, decode steps learned from) of the slot's current weights."""


class SyncLearner:
    """Trains within the step: the obvious way, and the yardstick of the others."""

    def __init__(self, bank: DistillerBank) -> None:
        self.bank = bank
        self._steps: dict[int, int] = {}

    def open(self, slot: int, group: str) -> None:
        self.bank.reset(slot)
        self._steps[slot] = 0

    def close(self, slot: int) -> None:
        del self._steps[slot]

    def refresh(self) -> None:
        pass

    def learn(self, rows: HiddenRows) -> None:
        for slot in set(rows.slots):
            self._steps[slot] += 1
        self._train(rows)

    def version(self, slot: int) -> tuple[str, int]:
        return "local", self._steps[slot]

    def _train(self, rows: HiddenRows) -> None:
        self.bank.train(rows)


class LocalLearner(SyncLearner):
    """Trains in a thread during the next forward pass (torch's kernels release the interpreter)."""

    def __init__(self, bank: DistillerBank) -> None:
        super().__init__(bank)
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="distiller")
        self._pending: Future[None] | None = None

    def refresh(self) -> None:
        if self._pending is not None:
            pending, self._pending = self._pending, None
            pending.result()

    def _train(self, rows: HiddenRows) -> None:
        self._pending = self._thread.submit(self.bank.train, rows)


class StreamLearner(SyncLearner):
    """Trains on a CUDA stream of its own, ordered by events alone. Unproven: written without a GPU at hand."""

    def __init__(self, bank: DistillerBank) -> None:
        super().__init__(bank)
        self._stream = torch.cuda.Stream(bank.theta_SP.device)

    def refresh(self) -> None:
        torch.cuda.current_stream().wait_stream(self._stream)

    def _train(self, rows: HiddenRows) -> None:
        self._stream.wait_stream(torch.cuda.current_stream())
        for tensor in (rows.source_RH, rows.target_RH):
            tensor.record_stream(self._stream)
        with torch.cuda.stream(self._stream):
            self.bank.train(rows)
