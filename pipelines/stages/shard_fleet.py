"""What a session needs of its shards: actors.Fleet has this form, and so have the stand-ins of tests."""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Protocol, Self

from ray.actor import ActorHandle

from actors.config import ShardConfig
from actors.types import ShardStats, TrainerStats


class ShardFleet(Protocol):
    """The shards of a run and their trainers."""

    shards: list[ActorHandle]

    @property
    def trainers(self) -> Sequence[ActorHandle]: ...

    def grow(self, router: ActorHandle, *, other_cpus: float) -> None: ...

    def stats(self) -> list[ShardStats]: ...

    def trainer_stats(self) -> TrainerStats | None: ...


class StartFleet(Protocol):
    """Starts shards for a `with` block."""

    def __call__(
        self, config: ShardConfig, *, num_shards: int, min_shards: int | None, num_trainers: int
    ) -> AbstractContextManager[ShardFleet]: ...


class NoShards:
    """The fleet of a session that has nothing to generate: an engine would take minutes to start for verdicts that need none."""

    trainers: tuple[ActorHandle, ...] = ()

    def __init__(self) -> None:
        self.shards: list[ActorHandle] = []

    def __enter__(self) -> Self:
        return self

    def grow(self, router: ActorHandle, *, other_cpus: float) -> None:
        """It stays as it is."""

    def stats(self) -> list[ShardStats]:
        return []

    def trainer_stats(self) -> TrainerStats | None:
        return None

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None: ...
