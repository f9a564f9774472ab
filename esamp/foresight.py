"""Predicting ahead: the shallow state is there early in the forward pass, and a prediction is needed only at its end.

    decode loop          layer 1 | begin --- layers 2 .. L ---- take | mix, head, sample | learn
    Distiller's thread           |  (train t-1)  predict t           |                   |  train t ...

One thread does everything in the order it was handed over: the prediction of step t is made by weights that have learned from every
step up to t-1, the same as without looking ahead.
"""

from concurrent.futures import Executor, Future

from esamp.bank import Bank
from esamp.distiller import Forward
from esamp.hidden_rows import SourceRows


class Foresight:
    """Predicts in the Distiller's thread while the model's deeper layers run."""

    def __init__(self, bank: Bank, thread: Executor) -> None:
        self._bank, self._thread = bank, thread
        self._foreseen: Future[Forward] | None = None

    def begin(self, rows: SourceRows) -> None:
        """Start to predict `rows`. What was begun before and not taken (the step failed) is forgotten."""
        self._foreseen = self._thread.submit(self._bank.predict, rows)

    def take(self) -> Forward | None:
        """The prediction of the rows, waited for; None if nothing was begun. Raises what the prediction raised."""
        foreseen, self._foreseen = self._foreseen, None
        return None if foreseen is None else foreseen.result()
