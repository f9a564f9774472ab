"""What shards and trainers send each other. Plain and frozen; a Transport (actors/exchange/transport.py) moves them.

    shard -> trainer    ShardMessage: RegisterGroup | StepRows | UnregisterGroup, in the order in which they happened
    trainer -> shard    Reply: which groups were registered, and the weights that changed

Legend: R hidden-state rows of one decode step, G prompt groups in it, H hidden size, P parameters of a Distiller.
"""

from dataclasses import dataclass

import numpy as np
from ray import ObjectRef

Payload = np.ndarray
"""Hidden states or weights as they travel: with the object store a numpy array, which a reader maps without a copy."""


@dataclass(frozen=True, kw_only=True, slots=True)
class GroupWeights:
    """Version of one group's published weights. The newer of two versions has the larger `order`."""

    group: str
    incarnation: str
    """Of the trainer; each restart makes another."""
    registration: int
    """Number of the group's latest registration that the trainer knew; see RegisterGroup."""
    step: int
    """Optimiser steps of the group, those before a restart of the trainer included."""
    rows: int
    """Hidden-state rows those steps learned from."""
    learned: int
    """Newest decode step of the receiving shard that these weights have learned from."""
    loss: float
    """Squared error per hidden channel at the latest step, before that step was learned."""
    relative_error: float
    """|y - f(x)|^2 / |y|^2 of that step."""

    @property
    def order(self) -> tuple[int, int]:
        """Sorts the versions of a group by age. `incarnation` has no part in it: a restarted trainer continues the step count."""
        return self.registration, self.step


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class RestoreGroup:
    """Weights that a shard holds of a group, for a trainer that lost them."""

    version: GroupWeights
    weights: Payload
    """[P] fp32"""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class RegisterGroup:
    """A shard starts to send rows of a group, or does so again."""

    group: str
    registration: int
    """Larger than every number of this group that the shard has seen: versions with a smaller one are out of date from now on."""
    restore: RestoreGroup | None = None
    """None for a group that the shard holds no trained weights of."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class StepRows:
    """Hidden states of one decode step of one shard: one optimiser step for each group in it.

    Example: groups=["s0/ab12/7/p17", "s0/ab12/9/p4"], group_of_row=[0, 0, 1], steps=[12, 3]
    """

    source: Payload
    """[R, H] fp32 residual stream after the shallow layer."""
    target: Payload
    """[R, H] fp32 input of lm_head."""
    groups: list[str]
    """[G] names, as registered."""
    group_of_row: list[int]
    """[R] index into groups."""
    steps: list[int]
    """[G] decode steps of the group on this shard, up to and including this one."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class UnregisterGroup:
    """A shard has no more rows of a group."""

    group: str


MessageItem = RegisterGroup | StepRows | UnregisterGroup


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class ShardMessage:
    """All that a shard sends a trainer in one call."""

    shard: str
    """The sender as "name/incarnation": a shard that was started again has another incarnation."""
    items: list[MessageItem]
    """In the order in which they happened; empty in a heartbeat."""
    wants_weights: bool
    """Reply with the weights that changed."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Reply:
    """A trainer's reply to a ShardMessage, after it has learned from its rows."""

    incarnation: str
    new_groups: list[str]
    """Groups that the message registered and that started from initial weights."""
    joined_groups: list[str]
    """Groups that it registered without weights and that other shards had registered before."""
    restored_groups: list[str]
    """Groups that it registered with weights: they continue from those, or from newer ones of another shard."""
    unknown_groups: list[str]
    """Groups with rows in the message that the shard has not registered here: the trainer was restarted, or has no free slot."""
    refused_rows: int
    """Rows of those groups."""
    versions: list[GroupWeights]
    """[G] groups whose weights changed since they were last sent to the shard; empty if it wants none."""
    weights: list[ObjectRef]
    """One reference to an fp32 array [G, P], or none. In a list, because Ray resolves a reference that is a field of its own."""


def rows_in(items: list[MessageItem]) -> int:
    """Hidden-state rows among the items of a message."""
    return sum(len(item.group_of_row) for item in items if isinstance(item, StepRows))


def bytes_in(items: list[MessageItem]) -> int:
    """Bytes of hidden states among the items of a message."""
    return sum(item.source.nbytes + item.target.nbytes for item in items if isinstance(item, StepRows))
