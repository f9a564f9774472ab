"""How a run is going, as its driver writes it to progress.json for whoever sees the run folder (python -m jobs.watch)."""

import json
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal

from pipelines.runs.storage import Storage

PROGRESS = "progress.json"
MANY_TRUNCATED = 0.05
"""Share of samples cut off at max_tokens from which on progress and summary say what to do."""

Phase = Literal["loading", "generating", "ended"]
"""Of a session: engines start; samples are generated or scored; the driver has ended, however it did."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ShardProgress:
    """One shard in the table of a progress panel."""

    shard: str
    running: int
    waiting: int
    kv_cache_share: float
    preemptions: int
    finished: int
    tokens_per_s: float
    """Over the last interval."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Eta:
    """When the last sample will be there, in seconds from now."""

    seconds: float
    low: float
    high: float
    """`low` to `high`: two standard deviations of the answers' lengths; the speed is taken as it is."""
    is_lower_bound: bool
    """True while more samples run than have finished: the shortest answers finish first."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RunProgress:
    """A run at one moment: this session and what earlier ones left."""

    phase: Phase
    at: float
    """Unix time."""
    seconds: float
    """Since the phase began."""
    problems: int = 0
    """Problems all of whose samples have a verdict, or that stopped early."""
    problems_planned: int = 0
    """0 where problems are not counted."""
    samples: int = 0
    """Samples that have ended."""
    samples_planned: int = 0
    running: int = 0
    waiting: int = 0
    """Samples that engines have taken and that are not in their batches."""
    solved: int = 0
    errors: int = 0
    """Samples of this session that could not be generated, or not be scored."""
    truncated: int = 0
    timeouts: int = 0
    """Samples whose verifier was stopped for time."""
    preemptions: int = 0
    """Of this session."""
    kv_cache_share: float = 0.0
    """Of the fullest shard."""
    tokens: int = 0
    """Generated in this session, of samples under way too."""
    tokens_per_s: float = 0.0
    """Over the last interval."""
    average_tokens_per_s: float = 0.0
    """Over this session."""
    eta: Eta | None = None
    """None while nothing can be said."""
    live_shards: int = 0
    wanted_shards: int = 0
    shard_restarts: int = 0
    """Times a shard came back as another process, in this session."""
    units_run_again: int = 0
    """Work units that a lost shard or stage had under way, in this session."""
    shards: tuple[ShardProgress, ...] = field(default=())
    warnings: tuple[str, ...] = field(default=())
    """What actors warned of so far."""

    @property
    def truncated_share(self) -> float:
        """Of the samples that have ended."""
        return self.truncated / self.samples if self.samples else 0.0

    def to_json(self) -> str:
        """The text of progress.json."""
        return json.dumps(asdict(self) | {"time": datetime.fromtimestamp(self.at, UTC).isoformat(timespec="seconds")})

    @classmethod
    def from_json(cls, text: str) -> "RunProgress":
        """What `to_json` gave."""
        plain: dict[str, Any] = json.loads(text)
        del plain["time"]
        return cls(
            **{
                **plain,
                "eta": Eta(**plain["eta"]) if plain["eta"] else None,
                "shards": tuple(ShardProgress(**shard) for shard in plain["shards"]),
                "warnings": tuple(plain["warnings"]),
            }
        )


def write_progress(storage: Storage, progress: RunProgress) -> None:
    """Replace progress.json as a whole."""
    storage.write(PROGRESS, progress.to_json().encode())


def read_progress(storage: Storage) -> RunProgress | None:
    """What the driver wrote last; None if no session has begun to generate here."""
    return RunProgress.from_json(storage.read(PROGRESS).decode()) if storage.is_file(PROGRESS) else None
