"""What happened to each token: kept on the device until a request ends, then copied to the host at once.

Legend: B batch rows of one step.
"""

import itertools
from dataclasses import dataclass, field, fields

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from esamp.batch import BatchStep, Draw


@dataclass(slots=True)
class TokenRecords:
    """Per-token record of one request, in the order of its tokens. Plain lists: it travels through any RPC."""

    behaviour_logprobs: list[float] = field(default_factory=list)
    """Log-probability under the policy the token was drawn from: after temperature, filters and fusion. 0 for greedy requests."""
    policy_logprobs: list[float] = field(default_factory=list)
    """Log-probability under the plain model at temperature 1 without filters; NaN with record="behaviour"."""
    num_candidates: list[int] = field(default_factory=list)
    """Tokens that could have been drawn: what the filters and masks left; 1 for greedy requests."""
    flipped: list[bool] = field(default_factory=list)
    """True where the same random numbers would have drawn another token without the policy; False with record="behaviour"."""
    intervened: list[bool] = field(default_factory=list)
    """True where the policy took part in the draw."""
    novelty: list[float] = field(default_factory=list)
    """|h - prediction| / |h| where intervened, else NaN."""
    loss: list[float] = field(default_factory=list)
    """Squared error per hidden channel in the group's latest training step, where intervened and known, else NaN."""
    lag: list[int] = field(default_factory=list)
    """Decode steps of the group, this one included, since the newest that the weights had learned from; -1 where not intervened."""
    version: str = ""
    """Weights used last, as "incarnation:step:rows" (esamp.distiller.learner.WeightsVersion); empty if none."""

    def first(self, count: int) -> "TokenRecords":
        """The same of the first `count` tokens. With asynchronous scheduling a request that stops at a token has drawn one more by the
        time that is known: its row belongs to no token."""
        return TokenRecords(
            behaviour_logprobs=self.behaviour_logprobs[:count],
            policy_logprobs=self.policy_logprobs[:count],
            num_candidates=self.num_candidates[:count],
            flipped=self.flipped[:count],
            intervened=self.intervened[:count],
            novelty=self.novelty[:count],
            loss=self.loss[:count],
            lag=self.lag[:count],
            version=self.version,
        )

    def to_dict(self) -> dict[str, object]:
        """Plain fields."""
        return {f.name: getattr(self, f.name) for f in fields(self)}


@dataclass(frozen=True, slots=True, eq=False)
class RowVersions:
    """Which weights the rows of one step were drawn with."""

    names: tuple[str, ...]
    """Of the weights in use, each once."""
    place_B: NDArray[np.int64]
    """[B] place of the row's in `names`; -1 where no policy took part."""


@dataclass(frozen=True, slots=True, eq=False)
class PolicyMeasures:
    """How a policy took part in one step."""

    intervened_B: Tensor
    """[B] 1 where the policy took part, else 0."""
    novelty_B: Tensor
    """[B] fp32; NaN where it did not, or has no such measure. `loss_B` likewise."""
    loss_B: Tensor
    lag_B: Tensor
    """[B] fp32; -1 where it did not."""
    versions: RowVersions | None = None
    """None: the policy has no weights."""

    @classmethod
    def none(cls, size: int, device: torch.device) -> "PolicyMeasures":
        """Of a step that no policy took part in."""
        nan_B = torch.full((size,), torch.nan, device=device)
        return cls(torch.zeros(size, device=device), nan_B, nan_B, torch.full((size,), -1.0, device=device))


MEASURES = 8
"""Numbers per row and step: behaviour and policy log-probability, candidates, flipped, intervened, novelty, loss, lag."""


@dataclass(frozen=True, slots=True, eq=False)
class RecordedRows:
    """Which rows of a batch are recorded: the same for as long as the batch is."""

    request_ids: tuple[str, ...]
    draws_token: tuple[bool, ...]
    rows: tuple[int, ...]
    """[K] batch row of each."""
    records_K: NDArray[np.int64]
    """[K] number of each one's record."""

    def describes(self, step: BatchStep) -> bool:
        """True if `step` has the same rows."""
        return self.request_ids == step.request_ids and self.draws_token == step.draws_token


@dataclass(frozen=True, slots=True, eq=False)
class RecordedStep:
    """One step of the rows that are recorded."""

    rows: RecordedRows
    measures_8B: Tensor
    """[8, B] fp32, on the device: see MEASURES; of all rows."""
    versions: RowVersions | None


class TelemetryRecorder:
    """Records of the requests that asked for them (extra_args["esamp_record"]).

    A step leaves one tensor here and no work per row. When a record is popped, the steps since the last time become rows of one table,
    from which the rows of a record are cut in one go.
    """

    def __init__(self) -> None:
        self._tags: dict[str, str] = {}
        self._numbers: dict[str, int] = {}
        """Number of each tag that may have rows."""
        self._popped: set[str] = set()
        """Tags of requests that still run, as far as this worker knows, and whose records were taken."""
        self._serial = itertools.count()
        self._rows: RecordedRows | None = None
        self._unread: list[RecordedStep] = []
        self._table = RecordTable()

    def follow(self, request_id: str, tag: str) -> None:
        """Record this request from now on."""
        self._tags[request_id] = tag
        self._numbers.setdefault(tag, next(self._serial))
        self._rows = None

    def forget(self, request_id: str) -> None:
        """The request has ended; what was recorded stays until it is popped."""
        tag = self._tags.pop(request_id, None)
        if tag is not None and tag in self._popped:
            # Popped as soon as its last token was known. With asynchronous scheduling one more row was in flight then, of a token that
            # does not exist; nobody will ask for it.
            self._popped.remove(tag)
            self._read_steps()
            self._table.take(self._numbers.pop(tag))
        self._rows = None

    def wants(self, step: BatchStep) -> bool:
        """True if any row of the step is recorded."""
        return bool(self._tags) and len(self._rows_of(step).rows) > 0

    def append(self, step: BatchStep, draw: Draw, measures: PolicyMeasures) -> None:
        """Keep what happened to the recorded rows; nothing is copied to the host."""
        measures_8B = torch.stack(
            [
                draw.behaviour_logprobs_B,
                draw.policy_logprobs_B,
                draw.num_candidates_B,
                draw.is_flipped_B.float(),
                measures.intervened_B,
                measures.novelty_B,
                measures.loss_B,
                measures.lag_B,
            ]
        )
        self._unread.append(RecordedStep(self._rows_of(step), measures_8B, measures.versions))

    def pop(self, tags: list[str]) -> dict[str, TokenRecords]:
        """Records of `tags`, which are forgotten here. A tag that drew no token has an empty record."""
        self._read_steps()
        self._popped.update(set(tags) & set(self._tags.values()))
        popped = {}
        for tag in tags:
            number = self._numbers.get(tag) if tag in self._popped else self._numbers.pop(tag, None)
            popped[tag] = TokenRecords() if number is None else self._table.take(number)
        return popped

    def _rows_of(self, step: BatchStep) -> RecordedRows:
        if self._rows is None or not self._rows.describes(step):
            rows = tuple(
                row
                for row, request_id in enumerate(step.request_ids)
                if step.draws_token[row] and request_id in self._tags
            )
            numbers = [self._numbers[self._tags[step.request_ids[row]]] for row in rows]
            self._rows = RecordedRows(step.request_ids, step.draws_token, rows, np.array(numbers, dtype=np.int64))
        return self._rows

    def _read_steps(self) -> None:
        """Move the steps since the last time to the table; waits for the device."""
        self._table.append(self._unread)
        self._unread = []


class RecordTable:
    """Rows of recorded tokens in the order they were drawn. Grows by doubling, and is packed when half of its rows were taken."""

    TAKEN = -1
    NO_VERSION = -1

    def __init__(self) -> None:
        self._size = self._taken = 0
        self._records_N = np.empty(0, dtype=np.int64)
        self._measures_N8 = np.empty((0, MEASURES), dtype=np.float32)
        self._versions_N = np.empty(0, dtype=np.int64)
        """Place of each row's weights in `_version_names`; NO_VERSION: none."""
        self._version_names: list[str] = []

    def append(self, steps: list[RecordedStep]) -> None:
        """The rows of `steps`, copied to the host."""
        for step in steps:
            rows, records_K = step.rows.rows, step.rows.records_K
            end = self._size + len(rows)
            if end > len(self._records_N):
                self._grow(end)
            measures_8B = step.measures_8B.cpu().numpy()
            self._records_N[self._size : end] = records_K
            self._measures_N8[self._size : end] = (
                measures_8B if len(rows) == measures_8B.shape[1] else measures_8B[:, rows]
            ).T
            self._versions_N[self._size : end] = self.NO_VERSION
            if step.versions is not None:
                place_K = step.versions.place_B
                place_K = place_K if len(rows) == len(place_K) else place_K[list(rows)]
                is_known_K = place_K >= 0
                self._versions_N[self._size : end][is_known_K] = place_K[is_known_K] + len(self._version_names)
                self._version_names += step.versions.names
            self._size = end

    def take(self, record: int) -> TokenRecords:
        """The rows of one record, which are removed."""
        places = np.flatnonzero(self._records_N[: self._size] == record)
        measures_8T = self._measures_N8[places].T
        versions_T = self._versions_N[places]
        # A record's rows are in the order of its tokens: the last row with weights has the newest.
        known_T = versions_T[versions_T != self.NO_VERSION]
        version = self._version_names[known_T[-1]] if len(known_T) else ""
        self._records_N[places] = self.TAKEN
        self._taken += len(places)
        if self._taken > self._size // 2:
            self._pack()
        behaviour, policy, candidates, flipped, intervened, novelty, loss, lag = measures_8T
        return TokenRecords(
            behaviour_logprobs=behaviour.tolist(),
            policy_logprobs=policy.tolist(),
            num_candidates=candidates.astype(np.int64).tolist(),
            flipped=(flipped > 0).tolist(),
            intervened=(intervened > 0).tolist(),
            novelty=novelty.tolist(),
            loss=loss.tolist(),
            lag=np.where(intervened > 0, lag, -1).astype(np.int64).tolist(),
            version=version,
        )

    def _grow(self, size: int) -> None:
        more = max(size, 2 * len(self._records_N)) - len(self._records_N)
        self._records_N = np.concatenate([self._records_N, np.empty(more, dtype=np.int64)])
        self._versions_N = np.concatenate([self._versions_N, np.empty(more, dtype=np.int64)])
        self._measures_N8 = np.concatenate([self._measures_N8, np.empty((more, MEASURES), dtype=np.float32)])

    def _pack(self) -> None:
        kept = np.flatnonzero(self._records_N[: self._size] != self.TAKEN)
        self._size, self._taken = len(kept), 0
        self._records_N[: len(kept)] = self._records_N[kept]
        self._measures_N8[: len(kept)] = self._measures_N8[kept]
        self._versions_N[: len(kept)] = self._versions_N[kept]
        self._forget_versions()

    def _forget_versions(self) -> None:
        """Drop the names that no row has."""
        versions_N = self._versions_N[: self._size]
        is_known_N = versions_N != self.NO_VERSION
        used, places = np.unique(versions_N[is_known_N], return_inverse=True)
        versions_N[is_known_N] = places
        self._version_names = [self._version_names[version] for version in used.tolist()]
