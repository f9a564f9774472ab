"""Names of actors, for Ray's dashboard, its state API (`ray list actors`) and the labels of its metrics."""

import uuid


def actor_name(role: str) -> str:
    """`role`, such as "shard-0", with a few random letters: Ray refuses a name twice in a namespace, and a run that follows another in one
    driver may start its actors before Ray has forgotten the former's."""
    return f"{role}-{uuid.uuid4().hex[:6]}"


def shard_name(index: int) -> str:
    """The shard that a fleet started as its `index`-th, everywhere: its actor, its samples, its metrics, and what is logged of it."""
    return f"shard-{index}"
