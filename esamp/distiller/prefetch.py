"""Predicting ahead: the shallow state is there early in the forward pass, and a prediction is needed only at its end.

    decode loop         layer 1 | begin --- layers 2 .. L ---- take | mix, head, sample | learn
    beside it                   |  (train t-1)  predict t           |                   |  train t ...

Beside it is one thread on a CPU and one stream on a GPU, which predicts and trains in the order it was told to: the prediction of step t
is made by weights that have learned from every step up to t-1, the same as without looking ahead.
"""

from functools import partial
from typing import Protocol

import torch

from esamp.distiller.background import Beside, DistillerThread, Job
from esamp.distiller.bank import Forward
from esamp.distiller.hidden_rows import SourceRows
from esamp.distiller.interface import Bank


class Foresight(Protocol):
    """Predicts while the model's deeper layers run."""

    def begin(self, rows: SourceRows) -> None:
        """Start to predict `rows`. What was begun before and not taken (the step failed) is forgotten."""

    def take(self) -> Forward | None:
        """The prediction of the rows, waited for; None if nothing was begun. Raises what the prediction raised."""
        ...


class ThreadForesight:
    """Predicts in the Distiller's thread."""

    def __init__(self, bank: Bank, thread: DistillerThread) -> None:
        self._bank, self._thread = bank, thread
        self._begun: Job[Forward] | None = None

    def begin(self, rows: SourceRows) -> None:
        self._begun = self._thread.submit(partial(self._bank.predict, rows))

    def take(self) -> Forward | None:
        begun, self._begun = self._begun, None
        return None if begun is None else begun.result()


class StreamForesight:
    """Predicts on the Distiller's stream; only the device waits. Unproven: written without a GPU at hand."""

    def __init__(self, bank: Bank, stream: torch.cuda.Stream) -> None:
        self._bank, self._stream = bank, stream
        self._begun: Forward | None = None
        self._in_use: tuple[SourceRows, Forward] | None = None

    def begin(self, rows: SourceRows) -> None:
        self._stream.wait_stream(torch.cuda.current_stream())
        # Only now has the decode loop done what it does with the last prediction: its memory may be used again.
        self._in_use = None
        with torch.cuda.stream(self._stream):
            self._begun = self._bank.predict(rows)
        self._in_use = (rows, self._begun)

    def take(self) -> Forward | None:
        begun, self._begun = self._begun, None
        if begun is not None:
            torch.cuda.current_stream().wait_stream(self._stream)
        return begun


def build_foresight(bank: Bank, beside: Beside) -> Foresight:
    """The one for where the Distiller works."""
    return StreamForesight(bank, beside) if isinstance(beside, torch.cuda.Stream) else ThreadForesight(bank, beside)
