"""Values that cross an actor boundary and more than one sub-package. Plain and frozen. The exchange's own messages:
actors/exchange/messages.py.

Legend: T answer tokens of one sample, H hidden size.
"""

from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from esamp.config import ESampConfig

WarningKind = Literal[
    "diverged_slot",
    "dropped_rows",
    "lost_rows",
    "refused_rows",
    "shard_died",
    "shard_lost",
    "shard_stalled",
    "trainer_failed",
    "vanilla_group",
]
"""What an actor may warn of; the counters in ShardStats, TrainerStats and RouterCounts tell the same in numbers."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ActorWarning:
    """What an actor has to say to the user, since its own log stays on its node. See actors/warning_log.py.

    Example: ActorWarning(source="shard-0", kind="diverged_slot", message="a Distiller met non-finite numbers ...", count=2)
    """

    source: str
    """The actor: the name of a shard, "router", or "trainer" and its incarnation."""
    kind: WarningKind
    message: str
    """The latest of this kind, one line."""
    count: int
    """Times it happened since the actor started, >= 1; for a kind that is named after rows, the rows."""


@dataclass(frozen=True, kw_only=True, slots=True)
class WorkUnit:
    """Samples to generate for one problem on one shard: what is planned, generated, written and resumed as one.

    Example: WorkUnit(unit_id="p17#0", problem_id="p17", prompt="3 5 7 -> 22\\n", sample_indices=(0, 1), seeds=(11, 12))
    """

    unit_id: str
    """Unique in a run."""
    problem_id: str
    """Also the ESamp prompt group: samples of one problem on one shard share a Distiller slot."""
    prompt: str
    """Fully formatted prompt; the chat template, where there is one, is already applied."""
    sample_indices: tuple[int, ...]
    """Index of each sample within its problem, in launch order."""
    seeds: tuple[int, ...]
    """Seed of each sample."""
    group_size: int | None = None
    """Samples of the problem that this session may generate in this extension round, in all its work units: the problem's Distiller waits
    for so many to end. None: those of this unit."""
    is_resumed: bool = False
    """True if other samples of this unit were generated before, by another call: these do not share a Distiller with them."""

    def without(self, done: Collection[int]) -> "WorkUnit":
        """What is left of this unit once the samples with the indices `done` are there; the unit itself if that is none of it.

        Example: unit.without({0}) has sample_indices (1,) and seeds (12,), and is resumed.
        """
        left = [(index, seed) for index, seed in zip(self.sample_indices, self.seeds, strict=True) if index not in done]
        if len(left) == len(self.sample_indices):
            return self
        return replace(
            self,
            sample_indices=tuple(index for index, _ in left),
            seeds=tuple(seed for _, seed in left),
            group_size=self.group_size and self.group_size - len(self.sample_indices) + len(left),
            is_resumed=True,
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Sample:
    """One generated sample, with what the policy did to each of its tokens."""

    problem_id: str
    sample_index: int
    seed: int
    prompt_token_ids: list[int]
    text: str
    token_ids: list[int]
    """[T]"""
    finish_reason: str
    """vLLM's word: "stop" or "length"."""
    behaviour_logprobs: list[float]
    """[T] log-probability of each token under the policy that it was sampled from: after temperature, filters and fusion."""
    policy_logprobs: list[float]
    """[T] log-probability of each token under the plain model at temperature 1 without filters; NaN with record="behaviour"."""
    sampling_logprobs: list[float] | None = None
    """[T] under the plain model at the same temperature and on the same kept tokens; None unless ShardConfig.record_rollouts."""
    num_candidates: list[int]
    """[T] tokens that could have been sampled: what filters and masks left."""
    flipped: list[bool]
    """[T] True where the same random numbers would have sampled another token without the policy; False with record="behaviour"."""
    intervened: list[bool]
    """[T] True where the Distiller took part in sampling the token."""
    novelty: list[float]
    """[T] |h - prediction| / |h| where intervened, else NaN (arXiv:2604.24927, section 4.2)."""
    lag: list[int]
    """[T] decode steps of the group since the newest that the Distiller's weights had learned from, where intervened, else -1."""
    loss: list[float]
    """[T] Distiller loss of the sample's group at that step: squared error per hidden channel. NaN where not
    intervened, and before the first training of the group is known."""
    distiller_version: str
    """Last weights used, as "incarnation:step:rows": optimiser steps, and the rows those learned from; empty if none."""
    shard: str
    """Name of the shard that generated it."""
    generation_seconds: float
    """From the arrival of the work unit at the shard to this sample's end."""
    kept_token_ids: list[int] | None = None
    """Tokens that filters left at each draw, one draw after the other; None if nothing was filtered, or unless
    ShardConfig.record_rollouts."""
    kept_token_offsets: list[int] | None = None
    """[T + 1] draw t kept kept_token_ids[offsets[t] : offsets[t + 1]]."""
    kept_tokens_capped: bool | None = None
    """True if some draw kept more tokens than are stored: its range is empty. None where nothing is stored."""
    weight_version: str = "0"
    """Times the model's weights had changed since the engine started; "2-3" if they changed while the sample was generated."""
    group_resumed: bool = False
    """True if its work unit was resumed: other samples of its group were generated before, without this one."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ShardStats:
    """Counters of one shard since it started."""

    shard: str
    samples: int
    decode_tokens: int
    """Tokens sampled in decode steps: all tokens but the first of each sample."""
    intervened_tokens: int
    """Tokens that the Distiller took part in sampling."""
    trained_rows: int
    """Hidden-state rows the Distiller has learned from (local) or has handed to the trainer (actor)."""
    optimiser_steps: int
    """Slot updates; with a trainer actor: the steps of the versions received."""
    dropped_rows: int
    """Rows not sent because the trainer was behind."""
    lost_rows: int
    """Rows in messages that failed because a trainer was lost."""
    vanilla_groups: int
    """Prompt groups that stayed vanilla because every slot was taken."""
    nonfinite_rows: int
    """Rows that stayed vanilla because a prediction was not finite."""
    broken_slots: int
    """Distiller slots that diverged: their weights became non-finite, and their groups stayed vanilla from then on."""
    stale_rows: int
    """Rows whose beta was lowered because the weights were older than half of max_staleness."""
    versions_received: int
    """Weight sets received from the trainer actor."""
    trainer_failures: int
    """Messages to the trainer actor that failed because it was lost."""
    cancelled_samples: int
    """Samples that were aborted because their problem was cancelled."""
    cancelled_tokens: int
    """Tokens that had been generated of them."""
    restored_groups: int
    """Groups that a restarted trainer continued from the weights that this shard held."""
    restarted_groups: int
    """Groups that a restarted trainer reset to initial weights, because this shard held no trained ones yet."""
    generation_seconds: float
    """Time in which the engine had work."""
    warnings: tuple[ActorWarning, ...] = ()
    """Of this shard; the one field that is no counter."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ShardActivity:
    """What one shard is doing now, for the progress line. Read without waiting for the engine or its device, unlike ShardStats."""

    shard: str
    running: int
    """Samples in the engine's batch."""
    waiting: int
    """Samples that the engine has taken and that are not in its batch."""
    kv_cache_share: float
    """Share of the KV cache in use, in [0, 1]."""
    preemptions: int
    """Times a sample was taken out of the batch for want of KV cache; its tokens are read again later."""
    finished: int
    """Samples that ended by themselves or at max_tokens, since the shard started."""
    truncated: int
    """Those of them that were cut off at max_tokens or at the model's length."""
    tokens: int
    """Tokens generated since the shard started, of samples under way too. It never falls while the shard lives."""
    tokens_under_way: int
    """Those of samples that have not ended."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RouterCounts:
    """Counters of a ShardRouter since it started."""

    shards: int = 0
    live_shards: int = 0
    """Shards that may be given work units now."""
    shard_restarts: int = 0
    """Times a shard came back as another process."""
    units_run_again: int = 0
    """Calls that did not return, because their shard or the actor that made them was lost."""
    warnings: tuple[ActorWarning, ...] = ()
    """Of the router: shards that were lost or died for good."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainerSpec:
    """What a DistillerTrainer needs to start."""

    config: ESampConfig
    output_gain: np.ndarray
    """[H] fp32, initial output gain: the weights of the model's final norm."""
    max_groups: int
    """Distiller slots: at least the groups that its shards can have registered at the same time."""
    device: str = "cpu"
    """torch device."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainerStats:
    """Counters of one trainer incarnation, or of several trainers together."""

    incarnation: str
    groups: int
    """Groups with a slot now."""
    trained_rows: int
    refused_rows: int
    """Rows of groups that were not registered: see Reply.unknown_groups."""
    restored_groups: int
    """Groups that continued from weights that a shard sent."""
    abandoned_groups: int
    """Groups that were removed because the last shard that had them registered was lost."""
    busy_seconds: float
    """Time spent on messages."""
    publications: int
    """Replies with weights."""
    published_bytes: int
    """Of those weights."""
    warnings: tuple[ActorWarning, ...] = ()
    """Of the trainers; no counter."""

    @classmethod
    def total(cls, of: "list[TrainerStats]") -> "TrainerStats":
        """Of several trainers."""
        return cls(
            incarnation=" ".join(stats.incarnation for stats in of),
            groups=sum(stats.groups for stats in of),
            trained_rows=sum(stats.trained_rows for stats in of),
            refused_rows=sum(stats.refused_rows for stats in of),
            restored_groups=sum(stats.restored_groups for stats in of),
            abandoned_groups=sum(stats.abandoned_groups for stats in of),
            busy_seconds=sum(stats.busy_seconds for stats in of),
            publications=sum(stats.publications for stats in of),
            published_bytes=sum(stats.published_bytes for stats in of),
            warnings=tuple(warning for stats in of for warning in stats.warnings),
        )
