"""Predict while the model runs: the shallow state is ready early in the forward pass, and the prediction is needed only at its end.

    decode loop         layer 1 | start --- layers 2 .. L ---- take | mix, head, sample | learn
    background                  |  (train t-1)  predict t           |                   |  train t ...

The background executor is one thread on a CPU and one stream on a GPU. It predicts and trains in the order of submission, so the
prediction of step t uses weights that have learned from every step up to t-1, as it would without prefetching.
"""

from functools import partial
from typing import Protocol

import torch

from esamp.distiller.background import BackgroundExecutor, DistillerThread, Job
from esamp.distiller.bank import Forward
from esamp.distiller.hidden_rows import SourceRows
from esamp.distiller.interface import Bank


class Prefetcher(Protocol):
    """Predicts while the model's deeper layers run."""

    def start(self, rows: SourceRows) -> None:
        """Start to predict `rows`. A prediction that was started and not taken (the step failed) is dropped."""

    def take(self) -> Forward | None:
        """Wait for the prediction of the rows; None if none was started. Raises what the prediction raised."""
        ...


class ThreadPrefetcher:
    """Predicts in the background thread."""

    def __init__(self, bank: Bank, thread: DistillerThread) -> None:
        self._bank, self._thread = bank, thread
        self._pending: Job[Forward] | None = None

    def start(self, rows: SourceRows) -> None:
        self._pending = self._thread.submit(partial(self._bank.predict, rows))

    def take(self) -> Forward | None:
        pending, self._pending = self._pending, None
        return None if pending is None else pending.result()


class StreamPrefetcher:
    """Predicts on the background stream; only the device waits."""

    def __init__(self, bank: Bank, stream: torch.cuda.Stream) -> None:
        self._bank, self._stream = bank, stream
        self._pending: Forward | None = None
        self._in_use: tuple[SourceRows, Forward] | None = None

    def start(self, rows: SourceRows) -> None:
        self._stream.wait_stream(torch.cuda.current_stream())
        # Only now has the decode loop done what it does with the last prediction: its memory may be used again.
        self._in_use = None
        with torch.cuda.stream(self._stream):
            self._pending = self._bank.predict(rows)
        self._in_use = (rows, self._pending)

    def take(self) -> Forward | None:
        pending, self._pending = self._pending, None
        if pending is not None:
            torch.cuda.current_stream().wait_stream(self._stream)
        return pending


def build_prefetcher(bank: Bank, executor: BackgroundExecutor) -> Prefetcher:
    """The prefetcher for `executor`."""
    return (
        StreamPrefetcher(bank, executor)
        if isinstance(executor, torch.cuda.Stream)
        else ThreadPrefetcher(bank, executor)
    )
