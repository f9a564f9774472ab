"""What goes wrong with shards, where other processes must tell one from another. Imports no engine."""

from ray.exceptions import NodeDiedError, ObjectLostError, OutOfMemoryError, RayActorError


class EngineStartError(RuntimeError):
    """An engine did not start; the message is the engine's own last line."""


class EngineFailed(RuntimeError):
    """The engine broke and draws no more samples."""


class NotJoined(RuntimeError):
    """The shard was started again, and nobody has told it yet who trains its Distillers."""


class NoShardLeft(RuntimeError):
    """Every shard ended for good; the message says how."""


class UnitGivenUp(RuntimeError):
    """A unit was under way on too many engines that ended."""


SHARD_LOST = (RayActorError, NodeDiedError, ObjectLostError, OutOfMemoryError, EngineFailed, NotJoined)
"""What a call to a shard raises if the shard, and not the unit, is to blame: the unit may be drawn elsewhere."""


def last_line(error: BaseException) -> str:
    """The reason at the end of a remote traceback."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
