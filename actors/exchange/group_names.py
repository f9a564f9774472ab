"""Names of a shard's prompt groups at the trainers, and which trainer each belongs to.

A name decides who shares a Distiller: two shards that use the same name train, and sample with, the same one.
"""

import hashlib
import itertools
from typing import Protocol

from esamp.scope import SCOPES, Scope

CLUSTER_GROUP = "cluster"
"""Name of the one group of scope="cluster"."""


class GroupNames(Protocol):
    """Names for the groups of one shard."""

    def name(self, group: str) -> str:
        """Name at the trainers of the engine's group `group`; called once each time the group is opened."""
        ...


class PrivateGroups:
    """Names that no other group, shard or incarnation of this shard uses: every group has its own Distiller."""

    def __init__(self, shard: str) -> None:
        """`shard`: name and incarnation."""
        self._shard = shard
        self._serial = itertools.count()

    def name(self, group: str) -> str:
        return f"{self._shard}/{next(self._serial)}/{group}"


class SharedGroups:
    """The group's own name, the same on every shard: a problem that several shards generate samples of has one Distiller. The trainers of
    a run serve no other run, so nobody else uses the name."""

    def name(self, group: str) -> str:
        return f"shared/{group}"


class ClusterGroup:
    """One name for everything."""

    def name(self, group: str) -> str:
        return CLUSTER_GROUP


def group_names(shard: str, *, scope: Scope, spread: bool) -> GroupNames:
    """The names that a shard (name and incarnation) uses."""
    if SCOPES[scope].spans_engines:
        return ClusterGroup()
    # With scope="shard" the engine's one group is its own, wherever else the problem's samples are generated.
    return SharedGroups() if spread and not SCOPES[scope].is_shared else PrivateGroups(shard)


def trainer_of(group: str, num_trainers: int) -> int:
    """Index of the trainer that a group belongs to: the same in every process, evenly spread."""
    digest = hashlib.sha256(group.encode()).digest()
    return int.from_bytes(digest[:8], "big") % num_trainers
