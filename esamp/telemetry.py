"""What happened to each token: kept on the device until a request ends, then copied to the host at once.

Legend: B batch rows of one step.
"""

from dataclasses import dataclass, field, fields

import torch
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

    def to_dict(self) -> dict[str, object]:
        """Plain fields."""
        return {f.name: getattr(self, f.name) for f in fields(self)}


@dataclass(frozen=True, slots=True, eq=False)
class PolicyMeasures:
    """How a policy took part in one step."""

    intervened_B: Tensor
    """[B] 1 where the policy took part, else 0."""
    novelty_B: Tensor
    """[B] fp32; NaN where it did not, or has no such measure. `loss_B` likewise."""
    loss_B: Tensor
    lags: tuple[int, ...]
    """[B] -1 where it did not."""
    versions: tuple[str, ...]
    """[B]"""

    @classmethod
    def none(cls, size: int, device: torch.device) -> "PolicyMeasures":
        """Of a step that no policy took part in."""
        nan_B = torch.full((size,), torch.nan, device=device)
        return cls(torch.zeros(size, device=device), nan_B, nan_B, (-1,) * size, ("",) * size)


@dataclass(frozen=True, slots=True, eq=False)
class RecordedStep:
    """One step of the rows that are recorded."""

    tags: tuple[str, ...]
    """[B] the name each row is recorded under."""
    measures_7B: Tensor
    """[7, B] behaviour and policy log-probability, candidates, flipped, intervened, novelty, loss."""
    lags: tuple[int, ...]
    """[B]"""
    versions: tuple[str, ...]
    """[B]"""


class TelemetryRecorder:
    """Records of the requests that asked for them (extra_args["esamp_record"])."""

    def __init__(self) -> None:
        self._tags: dict[str, str] = {}
        self._unread: list[RecordedStep] = []
        self._records: dict[str, TokenRecords] = {}

    def follow(self, request_id: str, tag: str) -> None:
        """Record this request from now on."""
        self._tags[request_id] = tag

    def forget(self, request_id: str) -> None:
        """The request has ended; what was recorded stays until it is popped."""
        self._tags.pop(request_id, None)

    def wants(self, step: BatchStep) -> bool:
        """True if any row of the step is recorded."""
        return bool(self._tags) and any(request_id in self._tags for request_id in step.request_ids)

    def append(self, step: BatchStep, draw: Draw, measures: PolicyMeasures) -> None:
        """Keep what happened to the recorded rows; nothing is copied to the host."""
        kept = [b for b, request_id in enumerate(step.request_ids) if step.draws_token[b] and request_id in self._tags]
        # One tensor, so that `pop` makes one copy per step and not seven.
        measures_7B = torch.stack(
            [
                draw.behaviour_logprobs_B,
                draw.policy_logprobs_B,
                draw.num_candidates_B,
                draw.is_flipped_B.float(),
                measures.intervened_B,
                measures.novelty_B,
                measures.loss_B,
            ]
        )
        self._unread.append(
            RecordedStep(
                tags=tuple(self._tags[step.request_ids[b]] for b in kept),
                measures_7B=measures_7B if len(kept) == len(step.request_ids) else measures_7B[:, kept],
                lags=tuple(measures.lags[b] for b in kept),
                versions=tuple(measures.versions[b] for b in kept),
            )
        )

    def pop(self, tags: list[str]) -> dict[str, TokenRecords]:
        """Records of `tags`, which are forgotten here. A tag that drew no token has an empty record."""
        for step in self._unread:
            self._read(step)
        self._unread.clear()
        return {tag: self._records.pop(tag, TokenRecords()) for tag in tags}

    def _read(self, step: RecordedStep) -> None:
        columns = zip(*step.measures_7B.tolist(), strict=True)
        for tag, numbers, lag, version in zip(step.tags, columns, step.lags, step.versions, strict=True):
            behaviour, policy, candidates, flipped, intervened, novelty, loss = numbers
            record = self._records.setdefault(tag, TokenRecords())
            record.behaviour_logprobs.append(behaviour)
            record.policy_logprobs.append(policy)
            record.num_candidates.append(round(candidates))
            record.flipped.append(flipped > 0)
            record.intervened.append(intervened > 0)
            record.novelty.append(novelty)
            record.loss.append(loss)
            record.lag.append(lag if intervened > 0 else -1)
            record.version = version or record.version
