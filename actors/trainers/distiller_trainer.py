"""The dedicated trainer: owns the Distillers of the shards that send it hidden states.

    LLMShard 0 --messages: rows (object refs)--> DistillerTrainer 0 --replies: weights (object refs)--> LLMShard 0
    LLMShard 1 --------------------------------> DistillerTrainer 1 ----------------------------------> LLMShard 1

One Distiller per group name; shards that use the same name share the Distiller (actors/exchange/group_names.py). A trainer keeps nothing on
disk: one that was restarted knows no group, replies so, and continues from the newest weights that shards send it. Adam's moments are not
exchanged, so they are reset; step and row counts continue.
"""

import logging
import time
import uuid
from collections import Counter
from dataclasses import dataclass, field, replace

import torch
from ray import ObjectRef

from actors.exchange.messages import (
    GroupWeights,
    RegisterGroup,
    Reply,
    RestoreGroup,
    ShardMessage,
    StepRows,
    UnregisterGroup,
)
from actors.exchange.transport import Transport
from actors.trainers.group_table import GroupTable, OpenGroup
from actors.types import TrainerSpec, TrainerStats
from actors.warning_log import warnings_of
from esamp.distiller.hidden_rows import HiddenRows
from esamp.distiller.interface import build_distillers

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class RegisteredGroups:
    """Groups that one message registered; as in Reply."""

    new: list[str] = field(default_factory=list)
    joined: list[str] = field(default_factory=list)
    restored: list[str] = field(default_factory=list)


class DistillerTrainer:
    """Trains Distillers on the rows of messages, and replies with their weights. Runs as a Ray actor, one call at a time."""

    def __init__(self, spec: TrainerSpec, transport: Transport | None = None) -> None:
        """`transport`: the object store by default; the shards must use the same."""
        self._transport = transport or Transport()
        self.incarnation = uuid.uuid4().hex[:8]
        gain_H = torch.from_numpy(spec.output_gain.copy()).to(spec.device)
        self._bank = build_distillers(spec.config, gain_H, num_slots=spec.max_groups)
        self._table = GroupTable(spec.max_groups)
        self._trained_rows = 0
        self._refused_rows = 0
        self._restored_groups = 0
        self._busy_seconds = 0.0
        self._publications = self._published_bytes = 0

    def ping(self) -> str:
        """The incarnation, once the bank is built."""
        return self.incarnation

    def exchange(self, message: ShardMessage) -> Reply:
        """Learn from a message, item by item."""
        started = time.monotonic()
        self._table.heartbeat(message.shard, started)
        opened = RegisteredGroups()
        unknown: set[str] = set()
        refused_before = self._refused_rows
        for item in message.items:
            if isinstance(item, RegisterGroup):
                self._open(message.shard, item, opened)
            elif isinstance(item, StepRows):
                unknown |= self.train(message.shard, item)
            else:
                self._table.leave(message.shard, item.group)
        versions, weights = self.publish(message.shard) if message.wants_weights else ([], [])
        ended = {item.group for item in message.items if isinstance(item, UnregisterGroup)}
        self._busy_seconds += time.monotonic() - started
        return Reply(
            incarnation=self.incarnation,
            new_groups=opened.new,
            joined_groups=opened.joined,
            restored_groups=opened.restored,
            unknown_groups=sorted(unknown - ended),
            refused_rows=self._refused_rows - refused_before,
            versions=versions,
            weights=weights,
        )

    def train(self, shard: str, step: StepRows) -> set[str]:
        """One optimiser step of each group in the decode step that the shard has registered; the names of the others, whose rows are
        refused."""
        groups = [self._table.held(name, shard) for name in step.groups]
        keep = [row for row, index in enumerate(step.group_of_row) if groups[index] is not None]
        self._refused_rows += len(step.group_of_row) - len(keep)
        if keep:
            slots = tuple(group.slot for row in keep if (group := groups[step.group_of_row[row]]) is not None)
            device = self._bank.device
            source, target = (self._transport.to_tensor(rows, device, keep) for rows in (step.source, step.target))
            self._bank.train(HiddenRows.of(source, target, slots))
            self._trained_rows += len(keep)
        rows_of = Counter(step.group_of_row)
        for index, (group, count) in enumerate(zip(groups, step.steps, strict=True)):
            if group is not None:
                group.step += 1
                group.rows += rows_of[index]
                group.holders[shard].learned = count
        return {name for name, group in zip(step.groups, groups, strict=True) if group is None}

    def publish(self, shard: str) -> tuple[list[GroupWeights], list[ObjectRef]]:
        """Versions and weights of the shard's groups that changed since it was last sent them, by whichever shard's rows."""
        changed = [
            group
            for group in self._table.held_by(shard)
            if group.step > 0 and group.holders[shard].sent_step != group.step
        ]
        if not changed:
            return [], []
        slots = [group.slot for group in changed]
        losses, errors = self._bank.loss_S[slots].tolist(), self._bank.relative_error_S[slots].tolist()
        versions = [
            self._version(group, shard, loss, relative_error)
            for group, loss, relative_error in zip(changed, losses, errors, strict=True)
        ]
        for group in changed:
            group.holders[shard].sent_step = group.step
        weights, num_bytes = self._transport.put_weights(self._bank.theta_SP[slots])
        self._publications += 1
        self._published_bytes += num_bytes
        return versions, weights

    def stats(self) -> TrainerStats:
        """Counters since this incarnation started."""
        stats = TrainerStats(
            incarnation=self.incarnation,
            groups=len(self._table),
            trained_rows=self._trained_rows,
            refused_rows=self._refused_rows,
            restored_groups=self._restored_groups,
            abandoned_groups=self._table.abandoned_groups,
            busy_seconds=self._busy_seconds,
            publications=self._publications,
            published_bytes=self._published_bytes,
        )
        return replace(stats, warnings=warnings_of(stats))

    def _version(self, group: OpenGroup, shard: str, loss: float, relative_error: float) -> GroupWeights:
        return GroupWeights(
            group=group.name,
            incarnation=self.incarnation,
            registration=group.registration,
            step=group.step,
            rows=group.rows,
            learned=group.holders[shard].learned,
            loss=loss,
            relative_error=relative_error,
        )

    def _open(self, shard: str, registration: RegisterGroup, opened: RegisteredGroups) -> None:
        """Register a group for the shard. Of the weights that its shards send those with the most steps win."""
        is_new = registration.group not in self._table
        group = self._table.join(shard, registration)
        if group is None:
            return  # its rows will be refused, and the reply names the group
        if is_new:
            self._bank.reset(group.slot)
        restore = registration.restore
        if restore is None:
            (opened.new if is_new else opened.joined).append(group.name)
            return
        opened.restored.append(group.name)
        if restore.version.step > group.step:
            self._restore(group, restore)
            holder = group.holders[shard]
            holder.learned, holder.sent_step = restore.version.learned, group.step

    def _restore(self, group: OpenGroup, restore: RestoreGroup) -> None:
        version = restore.version
        # Adam's moments are zero again, so its bias correction must count from here (steps=0), not from the group's first step.
        self._bank.reset(group.slot)
        self._bank.load(
            group.slot,
            self._transport.to_tensor(restore.weights, self._bank.device),
            steps=0,
            loss=version.loss,
            relative_error=version.relative_error,
        )
        group.step, group.rows = version.step, version.rows
        self._restored_groups += 1
