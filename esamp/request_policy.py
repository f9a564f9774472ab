"""A policy that keeps a state for each request, as all but ESamp do, and the telemetry of the rows it takes part in.

Legend: B batch rows, R rows that the policy takes part in.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from functools import lru_cache
from typing import Generic, TypeVar

import torch
from torch import Tensor

from esamp.batch import BatchStep, NewRequest
from esamp.policy import Counters, SamplingPolicy
from esamp.request_args import VANILLA_KEY, is_truth
from esamp.telemetry import PolicyMeasures

logger = logging.getLogger(__name__)

State = TypeVar("State")


class RequestPolicy(SamplingPolicy, Generic[State]):
    """A SamplingPolicy that tracks live requests, greedy and vanilla ones left out, each with a state of its own."""

    def __init__(self, track: Callable[[NewRequest], State | None]) -> None:
        """`track` gives a new request's state, or None to leave it vanilla. A ValueError leaves it vanilla, is logged and counted."""
        self._track = track
        self._states: dict[str, State] = {}
        self._counters = Counters()
        self._intervened_B: Tensor | None = None
        self._nonfinite_total: Tensor | None = None

    def follow(self, finished: set[str], new: list[NewRequest]) -> None:
        """See SamplingPolicy."""
        for request_id in finished:
            self._states.pop(request_id, None)
        for request in new:
            try:
                state = None if is_vanilla(request) else self._track(request)
            except ValueError as error:
                self._counters.rejected_requests += 1
                logger.warning("request %s stays vanilla: %s", request.request_id, error)
                continue
            if state is not None and not request.is_greedy:
                self._states[request.request_id] = state

    def state_of(self, request_id: str) -> State | None:
        """State of a tracked request; None of any other."""
        return self._states.get(request_id)

    def rows_of(self, step: BatchStep) -> dict[int, State]:
        """Rows of the step that draw a token for a tracked request, and its state."""
        return {
            row: self._states[request_id]
            for row, request_id in enumerate(step.request_ids)
            if step.draws_token[row] and request_id in self._states
        }

    def intervene(self, step: BatchStep, rows_R: Tensor | None, is_finite_R: Tensor | None = None) -> None:
        """Record that the policy takes part in these rows of the step (None: in no row), but for those where `is_finite_R` is False:
        they stay vanilla and are counted."""
        self._intervened_B = torch.zeros(len(step.request_ids), device=step.target_BH.device)
        if rows_R is None:
            return
        self._counters.explored_rows += len(rows_R)
        self._intervened_B[rows_R] = 1.0 if is_finite_R is None else is_finite_R.float()
        if is_finite_R is not None:
            nonfinite = (~is_finite_R).sum()  # stays on the device: reading it here would make the host wait
            self._nonfinite_total = nonfinite if self._nonfinite_total is None else self._nonfinite_total + nonfinite

    def count_training(self, *, rows: int, optimiser_steps: int) -> None:
        """Count what was trained on."""
        self._counters.trained_rows += rows
        self._counters.optimiser_steps += optimiser_steps

    def measures(self, step: BatchStep) -> PolicyMeasures:
        """See SamplingPolicy."""
        none = PolicyMeasures.none(len(step.request_ids), step.target_BH.device)
        return none if self._intervened_B is None else replace(none, intervened_B=self._intervened_B)

    def counters(self) -> Counters:
        """See SamplingPolicy; waits for the device."""
        nonfinite = 0 if self._nonfinite_total is None else int(self._nonfinite_total)
        return Counters(**{**asdict(self._counters), "nonfinite_rows": nonfinite})


def row_index(rows: Sequence[int], device: torch.device) -> Tensor:
    """[R] batch rows to index with; indexing with it copies. Kept from step to step, since moving it to the device stalls the host."""
    return _row_index(tuple(rows), device)


@lru_cache(maxsize=256)
def _row_index(rows: tuple[int, ...], device: torch.device) -> Tensor:
    return torch.tensor(rows, dtype=torch.long, device=device)


def is_vanilla(request: NewRequest) -> bool:
    """True if the request asks to be left alone. Raises ValueError if what it asks is neither True nor False."""
    asked = request.extra_args.get(VANILLA_KEY, False)
    if not is_truth(asked):
        raise ValueError(f"{VANILLA_KEY} must be True or False; got {asked!r}")
    return bool(asked)
