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
from esamp.kept_tokens import KeptTokens


@dataclass(slots=True)
class TokenRecords:
    """Per-token record of one request, in the order of its tokens. Plain lists: it travels through any RPC."""

    behaviour_logprobs: list[float] = field(default_factory=list)
    """Log-probability under the policy the token was drawn from: after temperature, filters and fusion. 0 for greedy requests."""
    policy_logprobs: list[float] = field(default_factory=list)
    """Log-probability under the plain model at temperature 1 without filters; NaN with record="behaviour"."""
    sampling_logprobs: list[float] = field(default_factory=list)
    """Log-probability under the plain model at the same temperature and on the same kept tokens: the behaviour's own where no policy took
    part; elsewhere NaN unless the request asked for it (extra_args["esamp_record_rollout"])."""
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
    kept_token_ids: list[int] | None = None
    """Tokens that filters left at each draw, one draw after the other; None if nothing was filtered, or the request did not ask."""
    kept_token_offsets: list[int] | None = None
    """Draw t kept kept_token_ids[offsets[t] : offsets[t + 1]]."""
    kept_tokens_capped: bool = False
    """Some draw kept more than esamp.kept_tokens.MOST_KEPT tokens; its range is empty."""
    weight_version: str = "0"
    """Times the model's weights had changed since the engine started; "2-3" if they changed while the request ran."""

    def first(self, count: int) -> "TokenRecords":
        """The same of the first `count` tokens. With asynchronous scheduling a request that stops at a token has drawn one more by the
        time that is known: its row belongs to no token."""
        offsets = None if self.kept_token_offsets is None else self.kept_token_offsets[: count + 1]
        return TokenRecords(
            behaviour_logprobs=self.behaviour_logprobs[:count],
            policy_logprobs=self.policy_logprobs[:count],
            sampling_logprobs=self.sampling_logprobs[:count],
            num_candidates=self.num_candidates[:count],
            flipped=self.flipped[:count],
            intervened=self.intervened[:count],
            novelty=self.novelty[:count],
            loss=self.loss[:count],
            lag=self.lag[:count],
            version=self.version,
            kept_token_ids=None
            if self.kept_token_ids is None or offsets is None
            else self.kept_token_ids[: offsets[-1]],
            kept_token_offsets=offsets,
            kept_tokens_capped=self.kept_tokens_capped,
            weight_version=self.weight_version,
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


MEASURES = 10
"""Numbers per row and step: behaviour, policy and sampling log-probability, candidates, flipped, intervened, novelty, loss, lag, version of
the model's weights."""


@dataclass(frozen=True, slots=True, eq=False)
class RecordedRows:
    """Which rows of a batch are recorded: the same for as long as the batch is."""

    request_ids: tuple[str, ...]
    draws_token: tuple[bool, ...]
    rows: tuple[int, ...]
    """[K] batch row of each."""
    records_K: NDArray[np.int64]
    """[K] number of each one's record."""
    for_rollout: tuple[bool, ...]
    """[K] its kept tokens are recorded as well."""

    def describes(self, step: BatchStep) -> bool:
        """True if `step` has the same rows."""
        return self.request_ids == step.request_ids and self.draws_token == step.draws_token


@dataclass(frozen=True, slots=True, eq=False)
class RecordedStep:
    """One step of the rows that are recorded."""

    rows: RecordedRows
    measures_MB: Tensor
    """[M, B] fp32, on the device: see MEASURES; of all rows."""
    versions: RowVersions | None
    kept: KeptTokens | None
    """Of all rows; None if nothing was filtered, or nobody asked."""


class TelemetryRecorder:
    """Records of the requests that asked for them (extra_args["esamp_record"]).

    A step leaves one tensor here and no work per row. When a record is popped, the steps since the last time become rows of one table,
    from which the rows of a record are cut in one go.
    """

    def __init__(self) -> None:
        self.weight_version = 0
        """Times the model's weights have changed; whoever changes them counts it up."""
        self._tags: dict[str, str] = {}
        self._for_rollout: set[str] = set()
        """Requests whose kept tokens are recorded as well."""
        self._numbers: dict[str, int] = {}
        """Number of each tag that may have rows."""
        self._popped: set[str] = set()
        """Tags of requests that still run, as far as this worker knows, and whose records were taken."""
        self._serial = itertools.count()
        self._rows: RecordedRows | None = None
        self._unread: list[RecordedStep] = []
        self._table = RecordTable()

    def follow(self, request_id: str, tag: str, *, for_rollout: bool = False) -> None:
        """Record this request from now on; `for_rollout`, with all that a trainer needs."""
        self._tags[request_id] = tag
        if for_rollout:
            self._for_rollout.add(request_id)
        self._numbers.setdefault(tag, next(self._serial))
        self._rows = None

    def forget(self, request_id: str) -> None:
        """The request has ended; what was recorded stays until it is popped."""
        tag = self._tags.pop(request_id, None)
        self._for_rollout.discard(request_id)
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

    def wants_rollout(self, step: BatchStep) -> bool:
        """True if any row of the step is recorded with all that a trainer needs."""
        return bool(self._for_rollout) and any(self._rows_of(step).for_rollout)

    def append(self, step: BatchStep, draw: Draw, measures: PolicyMeasures) -> None:
        """Keep what happened to the recorded rows; nothing is copied to the host."""
        behaviour_B = draw.behaviour_logprobs_B
        sampling_B = (
            torch.where(measures.intervened_B > 0, torch.nan, behaviour_B)
            if draw.sampling_logprobs_B is None
            else draw.sampling_logprobs_B
        )
        measures_MB = torch.stack(
            [
                behaviour_B,
                draw.policy_logprobs_B,
                sampling_B,
                draw.num_candidates_B,
                draw.is_flipped_B.float(),
                measures.intervened_B,
                measures.novelty_B,
                measures.loss_B,
                measures.lag_B,
                torch.full_like(behaviour_B, self.weight_version),
            ]
        )
        self._unread.append(RecordedStep(self._rows_of(step), measures_MB, measures.versions, draw.kept))

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
            for_rollout = tuple(step.request_ids[row] in self._for_rollout for row in rows)
            self._rows = RecordedRows(
                step.request_ids, step.draws_token, rows, np.array(numbers, dtype=np.int64), for_rollout
            )
        return self._rows

    def _read_steps(self) -> None:
        """Move the steps since the last time to the table; waits for the device."""
        self._table.append(self._unread)
        self._unread = []


@dataclass(frozen=True, slots=True, eq=False)
class KeptByDraw:
    """The kept tokens of one draw."""

    tokens: NDArray[np.int32]
    is_capped: bool
    is_filtered: bool


ALL_KEPT = KeptByDraw(np.empty(0, np.int32), is_capped=True, is_filtered=False)
"""Of a step in which nothing was filtered: the whole vocabulary was kept, which is too much to store."""


def span(versions_T: NDArray[np.float32]) -> str:
    """Of one request, in words: "3", or "3-4" if it changed under way; "0" of a request that drew no token."""
    if not len(versions_T):
        return "0"
    first, last = int(versions_T.min()), int(versions_T.max())
    return str(first) if first == last else f"{first}-{last}"


class RecordTable:
    """Rows of recorded tokens in the order they were drawn. Grows by doubling, and is packed when half of its rows were taken."""

    TAKEN = -1
    NO_VERSION = -1

    def __init__(self) -> None:
        self._size = self._taken = 0
        self._records_N = np.empty(0, dtype=np.int64)
        self._measures_NM = np.empty((0, MEASURES), dtype=np.float32)
        self._versions_N = np.empty(0, dtype=np.int64)
        """Place of each row's weights in `_version_names`; NO_VERSION: none."""
        self._version_names: list[str] = []
        self._kept: dict[int, list[KeptByDraw]] = {}
        """Of each record that asked, a draw after the other."""

    def append(self, steps: list[RecordedStep]) -> None:
        """The rows of `steps`, copied to the host."""
        for step in steps:
            rows, records_K = step.rows.rows, step.rows.records_K
            end = self._size + len(rows)
            if end > len(self._records_N):
                self._grow(end)
            measures_MB = step.measures_MB.cpu().numpy()
            self._records_N[self._size : end] = records_K
            self._measures_NM[self._size : end] = (
                measures_MB if len(rows) == measures_MB.shape[1] else measures_MB[:, rows]
            ).T
            self._versions_N[self._size : end] = self.NO_VERSION
            if step.versions is not None:
                place_K = step.versions.place_B
                place_K = place_K if len(rows) == len(place_K) else place_K[list(rows)]
                is_known_K = place_K >= 0
                self._versions_N[self._size : end][is_known_K] = place_K[is_known_K] + len(self._version_names)
                self._version_names += step.versions.names
            if any(step.rows.for_rollout):
                self._append_kept(step)
            self._size = end

    def take(self, record: int) -> TokenRecords:
        """The rows of one record, which are removed."""
        places = np.flatnonzero(self._records_N[: self._size] == record)
        measures_MT = self._measures_NM[places].T
        versions_T = self._versions_N[places]
        # A record's rows are in the order of its tokens: the last row with weights has the newest.
        known_T = versions_T[versions_T != self.NO_VERSION]
        version = self._version_names[known_T[-1]] if len(known_T) else ""
        self._records_N[places] = self.TAKEN
        self._taken += len(places)
        if self._taken > self._size // 2:
            self._pack()
        behaviour, policy, sampling, candidates, flipped, intervened, novelty, loss, lag, weights = measures_MT
        kept = self._kept.pop(record, [])
        was_filtered = any(draw.is_filtered for draw in kept)
        return TokenRecords(
            behaviour_logprobs=behaviour.tolist(),
            policy_logprobs=policy.tolist(),
            sampling_logprobs=sampling.tolist(),
            num_candidates=candidates.astype(np.int64).tolist(),
            flipped=(flipped > 0).tolist(),
            intervened=(intervened > 0).tolist(),
            novelty=novelty.tolist(),
            loss=loss.tolist(),
            lag=np.where(intervened > 0, lag, -1).astype(np.int64).tolist(),
            version=version,
            kept_token_ids=np.concatenate([draw.tokens for draw in kept]).tolist() if was_filtered else None,
            kept_token_offsets=[0, *itertools.accumulate(len(draw.tokens) for draw in kept)] if was_filtered else None,
            kept_tokens_capped=was_filtered and any(draw.is_capped for draw in kept),
            weight_version=span(weights),
        )

    def _append_kept(self, step: RecordedStep) -> None:
        asked = [
            (row, record)
            for row, record, wanted in zip(
                step.rows.rows, step.rows.records_K.tolist(), step.rows.for_rollout, strict=True
            )
            if wanted
        ]
        if step.kept is None:
            for _, record in asked:
                self._kept.setdefault(record, []).append(ALL_KEPT)
            return
        count_B = step.kept.count_B.cpu().numpy()
        end_B = count_B.cumsum()
        token_N, is_capped_B, is_filtered_B = (
            tensor.cpu().numpy() for tensor in (step.kept.token_N, step.kept.is_capped_B, step.kept.is_filtered_B)
        )
        for row, record in asked:
            # Copied: a slice would keep the tokens of the whole batch alive.
            tokens = token_N[end_B[row] - count_B[row] : end_B[row]].copy()
            self._kept.setdefault(record, []).append(
                KeptByDraw(tokens, is_capped=bool(is_capped_B[row]), is_filtered=bool(is_filtered_B[row]))
            )

    def _grow(self, size: int) -> None:
        more = max(size, 2 * len(self._records_N)) - len(self._records_N)
        self._records_N = np.concatenate([self._records_N, np.empty(more, dtype=np.int64)])
        self._versions_N = np.concatenate([self._versions_N, np.empty(more, dtype=np.int64)])
        self._measures_NM = np.concatenate([self._measures_NM, np.empty((more, MEASURES), dtype=np.float32)])

    def _pack(self) -> None:
        kept = np.flatnonzero(self._records_N[: self._size] != self.TAKEN)
        self._size, self._taken = len(kept), 0
        self._records_N[: len(kept)] = self._records_N[kept]
        self._measures_NM[: len(kept)] = self._measures_NM[kept]
        self._versions_N[: len(kept)] = self._versions_N[kept]
        self._forget_versions()

    def _forget_versions(self) -> None:
        """Drop the names that no row has."""
        versions_N = self._versions_N[: self._size]
        is_known_N = versions_N != self.NO_VERSION
        used, places = np.unique(versions_N[is_known_N], return_inverse=True)
        versions_N[is_known_N] = places
        self._version_names = [self._version_names[version] for version in used.tolist()]
