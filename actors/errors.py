"""Errors of actors that callers in other processes distinguish. Imports no engine."""

from ray.exceptions import NodeDiedError, ObjectLostError, OutOfMemoryError, RayActorError


class EngineStartError(RuntimeError):
    """An engine did not start; the message is the engine's own last line."""


class EngineFailed(RuntimeError):
    """The engine failed and generates no more samples."""


class NotJoined(RuntimeError):
    """The shard was restarted, and does not know yet who trains its Distillers."""


class NoShardLeft(RuntimeError):
    """Every shard is dead for good; the message says why."""


class UnitGivenUp(RuntimeError):
    """A work unit was running on too many engines that died."""


SHARD_LOST = (RayActorError, NodeDiedError, ObjectLostError, OutOfMemoryError, EngineFailed, NotJoined)
"""What a call to a shard raises if the shard, and not the work unit, failed: another shard may generate the unit."""


def last_line(error: BaseException) -> str:
    """The reason at the end of a remote traceback."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__


class TrainerStartError(RuntimeError):
    """A DistillerTrainer did not start; the message is its own last line."""
