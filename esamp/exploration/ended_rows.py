"""Rows that the engine still decodes although their sample has ended, found without waiting for the device.

With asynchronous scheduling (vLLM's default on CUDA) step t+1 is under way before the host has read the tokens of step t. A sample that its
token of step t ends (end of text, a stop token) therefore has a row in step t+1 that belongs to no token. Its last token is on the device
all the same, so that a comparison there tells which rows those are. Samples that end by their length have no such row: the scheduler knows
the length beforehand. Of one that ends at a stop string only the host knows, one step too late.

Legend: B batch rows, K stop tokens of a row (padded).
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from esamp.batch import BatchStep, NewRequest

NO_TOKEN = -1
"""Padding: equal to no token."""


@dataclass(frozen=True, slots=True, eq=False)
class LastStep:
    """The step before."""

    request_ids: tuple[str, ...]
    has_ended_B: Tensor
    """[B] bool, on the device."""


class EndedRows:
    """Follows the last token of every request."""

    def __init__(self) -> None:
        self._stop_tokens: dict[str, tuple[int, ...]] = {}
        self._last: LastStep | None = None
        self._table: tuple[tuple[str, ...], Tensor] | None = None

    def follow(self, finished: set[str], new: list[NewRequest]) -> None:
        """Requests that ended and that start, as in SamplingPolicy."""
        for request_id in finished:
            self._stop_tokens.pop(request_id, None)
        for request in new:
            self._stop_tokens[request.request_id] = tuple(sorted(request.stop_token_ids))

    def before(self, step: BatchStep) -> Tensor | None:
        """[B] bool: True for rows whose sample had ended before `step`; None if it has no row of the step before."""
        if self._last is None:
            return None
        if step.request_ids == self._last.request_ids:
            return self._last.has_ended_B
        place_of = {request_id: place for place, request_id in enumerate(self._last.request_ids)}
        places = [place_of.get(request_id, len(place_of)) for request_id in step.request_ids]
        # A request without a row in the step before has not ended: one place more than there are rows.
        ended_B = torch.cat([self._last.has_ended_B, self._last.has_ended_B.new_zeros(1)])
        return ended_B[torch.tensor(places, device=ended_B.device)]

    def sampled(self, step: BatchStep, tokens_B: Tensor) -> None:
        """The step has drawn `tokens_B` [B]. Call after `before`."""
        has_ended_B = (self._stops_of(step, tokens_B.device) == tokens_B.unsqueeze(1)).any(1)
        if not all(step.draws_token):
            # What is drawn for a prompt that is only partly read is thrown away.
            has_ended_B &= torch.tensor(step.draws_token, device=tokens_B.device)
        ended_before_B = self.before(step)
        self._last = LastStep(step.request_ids, has_ended_B if ended_before_B is None else has_ended_B | ended_before_B)

    def _stops_of(self, step: BatchStep, device: torch.device) -> Tensor:
        """[B, K] stop tokens of each row; made again when the batch changes."""
        if self._table is None or self._table[0] != step.request_ids:
            stops = [self._stop_tokens.get(request_id, ()) for request_id in step.request_ids]
            most = max(1, *map(len, stops))
            padded = [tokens + (NO_TOKEN,) * (most - len(tokens)) for tokens in stops]
            self._table = step.request_ids, torch.tensor(padded, dtype=torch.int32, device=device)
        return self._table[1]
