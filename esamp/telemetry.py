"""What happened to each token: kept on the device until a request ends, then read in one go.

Legend: B batch rows of one step.
"""

from dataclasses import dataclass, field, fields

from torch import Tensor


@dataclass(slots=True)
class TokenRecords:
    """Per-token record of one request, in the order of its tokens. Plain lists: it travels through any RPC."""

    behaviour_logprobs: list[float] = field(default_factory=list)
    """Log-probability under the policy the token was drawn from: after temperature, filters and fusion. 0 for greedy requests."""
    policy_logprobs: list[float] = field(default_factory=list)
    """Log-probability under the plain model at temperature 1 without filters."""
    intervened: list[bool] = field(default_factory=list)
    """True where the Distiller took part in the draw."""
    novelty: list[float] = field(default_factory=list)
    """|h - prediction| / |h| where intervened, else NaN."""
    loss: list[float] = field(default_factory=list)
    """Squared error per hidden channel in the group's latest training step, where intervened and known, else NaN."""
    lag: list[int] = field(default_factory=list)
    """Decode steps of the group, this one included, that the weights had not learned from; -1 where not intervened."""
    version: str = ""
    """Weights used last, as "incarnation:step"; empty if none."""

    def to_dict(self) -> dict[str, object]:
        """Plain fields."""
        return {f.name: getattr(self, f.name) for f in fields(self)}


@dataclass(frozen=True, slots=True)
class RecordedStep:
    """One step of the rows that are recorded."""

    tags: tuple[str, ...]
    """[B] the name each row is recorded under."""
    measures_5B: Tensor
    """[5, B] behaviour log-probability, policy log-probability, intervened (0 or 1), novelty, loss."""
    lags: tuple[int, ...]
    """[B]"""
    versions: tuple[str, ...]
    """[B]"""


class TelemetryBook:
    """Records of the requests that asked for them (extra_args["esamp_record"])."""

    def __init__(self) -> None:
        self._unread: list[RecordedStep] = []
        self._records: dict[str, TokenRecords] = {}

    def append(self, step: RecordedStep) -> None:
        """Keep a step; nothing is copied to the host."""
        self._unread.append(step)

    def pop(self, tags: list[str]) -> dict[str, TokenRecords]:
        """Records of `tags`, which are forgotten here. A tag that drew no token has an empty record."""
        for step in self._unread:
            self._read(step)
        self._unread.clear()
        return {tag: self._records.pop(tag, TokenRecords()) for tag in tags}

    def _read(self, step: RecordedStep) -> None:
        rows = zip(step.tags, zip(*step.measures_5B.tolist(), strict=True), step.lags, step.versions, strict=True)
        for tag, (behaviour, policy, intervened, novelty, loss), lag, version in rows:
            record = self._records.setdefault(tag, TokenRecords())
            record.behaviour_logprobs.append(behaviour)
            record.policy_logprobs.append(policy)
            record.intervened.append(intervened > 0)
            record.novelty.append(novelty)
            record.loss.append(loss)
            record.lag.append(lag if intervened > 0 else -1)
            record.version = version or record.version
