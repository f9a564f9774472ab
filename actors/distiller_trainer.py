"""The dedicated trainer: owns the Distillers of the shards that send it hidden states.

    LLMShard 0 --rows (object refs)--> DistillerTrainer --weights (object refs)--> LLMShard 0
    LLMShard 1 --rows--------------->                   --weights-------------->   LLMShard 1

One Distiller per prompt group, keyed by the shard's own name for the group, which it never uses twice; or one that all shards name
alike (scope="cluster"). A trainer that was restarted knows no group: it begins each anew under a new incarnation, so an old step count is
never mistaken for a newer one.
"""

import logging
import uuid

import numpy as np
import ray
import torch

from actors.types import GroupWeights, Publication, RowBatch, TrainerSpec, TrainerStats
from esamp.distiller import DistillerBank
from esamp.hidden_rows import HiddenRows
from esamp.prior import PriorBank

logger = logging.getLogger(__name__)


class DistillerTrainer:
    """Trains Distillers on rows that arrive, publishes their weights when asked. Runs as a Ray actor, one call at a time."""

    def __init__(self, spec: TrainerSpec) -> None:
        self.incarnation = uuid.uuid4().hex[:8]
        gain_H = torch.from_numpy(spec.output_gain.copy()).to(spec.device)
        bank_type = PriorBank if spec.config.scope == "prior" else DistillerBank
        self._bank = bank_type(spec.config, gain_H, num_slots=spec.max_groups, device=gain_H.device)
        self._slots: dict[str, int] = {}
        self._free = list(range(spec.max_groups))
        self._steps: dict[str, int] = {}
        self._rows: dict[str, int] = {}
        self._learned: dict[tuple[str, str], int] = {}
        """(group, shard) -> the shard's last decode step that the group has learned from."""
        self._published: dict[tuple[str, str], int] = {}
        """(group, shard) -> the optimiser step that the shard has the weights of."""
        self._trained_rows = 0
        self._refused_rows = 0

    def ping(self) -> str:
        """The incarnation, once the bank stands."""
        return self.incarnation

    def train(self, batch: RowBatch) -> None:
        """Learn from one decode step of a shard: one optimiser step of every group in it."""
        slots = [self._slot_of(group) for group in batch.groups]
        keep = [row for row, index in enumerate(batch.group_of_row) if slots[index] is not None]
        self._refused_rows += len(batch.group_of_row) - len(keep)
        if not keep:
            return
        row_slots = tuple(slot for row in keep if (slot := slots[batch.group_of_row[row]]) is not None)
        device = self._bank.theta_SP.device
        source, target = (torch.from_numpy(rows[keep]).to(device) for rows in (batch.source, batch.target))
        self._bank.train(HiddenRows.of(source, target, row_slots))
        for index, (group, slot, step) in enumerate(zip(batch.groups, slots, batch.steps, strict=True)):
            if slot is not None:
                self._steps[group] += 1
                self._rows[group] += batch.group_of_row.count(index)
                self._learned[group, batch.shard] = step
        self._trained_rows += len(keep)

    def publish(self, groups: list[str], shard: str) -> Publication:
        """Weights of those of `groups` that learned since they were last published to `shard`."""
        changed = [
            group
            for group in groups
            if group in self._slots and self._published.get((group, shard)) != self._steps[group]
        ]
        if not changed:
            return Publication(versions=[], weights=[])
        slots = [self._slots[group] for group in changed]
        losses, errors = self._bank.loss_S[slots].tolist(), self._bank.relative_error_S[slots].tolist()
        versions = []
        for group, loss, relative_error in zip(changed, losses, errors, strict=True):
            self._published[group, shard] = self._steps[group]
            versions.append(
                GroupWeights(
                    group=group,
                    incarnation=self.incarnation,
                    step=self._steps[group],
                    rows=self._rows[group],
                    learned=self._learned.get((group, shard), 0),
                    loss=loss,
                    relative_error=relative_error,
                )
            )
        weights: np.ndarray = self._bank.theta_SP[slots].cpu().numpy()
        return Publication(versions=versions, weights=[ray.put(weights)])

    def close(self, groups: list[str], shard: str) -> None:
        """Forget groups of `shard` that ended; their slots are free."""
        for group in groups:
            slot = self._slots.pop(group, None)
            if slot is not None:
                self._free.append(slot)
                self._free.sort()
                self._steps.pop(group, None)
                self._rows.pop(group, None)
                self._learned.pop((group, shard), None)
                self._published.pop((group, shard), None)

    def stats(self) -> TrainerStats:
        """Counters since this incarnation began."""
        return TrainerStats(
            incarnation=self.incarnation,
            groups=len(self._slots),
            trained_rows=self._trained_rows,
            refused_rows=self._refused_rows,
        )

    def _slot_of(self, group: str) -> int | None:
        if group not in self._slots:
            if not self._free:
                return None
            slot = self._free.pop(0)
            self._bank.reset(slot)
            self._slots[group] = slot
            self._steps[group] = self._rows[group] = 0
        return self._slots[group]
