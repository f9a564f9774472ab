"""The load of each shard, and which of them may be given more: the rule of the ShardRouter, without its waiting."""


class ShardLoads:
    """Work units running on each shard.

    Units of one problem go to one shard, for its prefix cache and a local Distiller; with `spread` they go to the least loaded shard. No
    shard runs more than `units_per_shard`.
    """

    def __init__(self, *, units_per_shard: int, spread: bool) -> None:
        self._limit = units_per_shard
        self._spread = spread
        self._units: list[int] = []
        self._live: set[int] = set()
        self._reserved: set[int] = set()
        self._home: dict[str, int] = {}

    def add(self) -> int:
        """A further shard, which is not live yet; its index."""
        self._units.append(0)
        return len(self._units) - 1

    def set_live(self, shard: int) -> None:
        """The shard may be given units."""
        self._live.add(shard)

    def set_lost(self, shard: int) -> None:
        """The shard died, and its units with it."""
        self._live.discard(shard)
        self._reserved.discard(shard)
        self._units[shard] = 0

    def is_live(self, shard: int) -> bool:
        return shard in self._live

    def num_live(self) -> int:
        return len(self._live)

    def acquire(self, problem_id: str) -> int | None:
        """The shard for the next unit of this problem; None if the unit must wait."""
        home = self._home.get(problem_id)
        if home in self._live and not self._spread:
            shard = home if self._has_room(home) else None
        else:
            shard = self._least_loaded([s for s in sorted(self._live) if self._has_room(s)], prefer=home)
        if shard is not None:
            self._home[problem_id] = shard
            self._units[shard] += 1
        return shard

    def reserve(self) -> int | None:
        """A shard that is given nothing more, so that it drains for an exclusive unit; None if all are reserved."""
        shard = self._least_loaded(sorted(self._live - self._reserved), prefer=None)
        if shard is not None:
            self._reserved.add(shard)
        return shard

    def acquire_reserved(self, shard: int) -> bool:
        """True, and the shard is acquired, once it runs nothing."""
        if self._units[shard] > 0:
            return False
        self._units[shard] += 1
        return True

    def release(self, shard: int, *, exclusive: bool) -> None:
        """A unit of a live shard is finished."""
        self._units[shard] -= 1
        if exclusive:
            self._reserved.discard(shard)

    def drop_reservation(self, shard: int) -> None:
        """No exclusive unit waits for this shard any more."""
        self._reserved.discard(shard)

    def _has_room(self, shard: int) -> bool:
        return shard not in self._reserved and self._units[shard] < self._limit

    def _least_loaded(self, shards: list[int], *, prefer: int | None) -> int | None:
        return min(shards, key=lambda shard: (self._units[shard], shard != prefer), default=None)
