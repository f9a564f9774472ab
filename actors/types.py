"""Values that cross an actor boundary. Plain and frozen; arrays are numpy, which the object store reads without a copy.

Legend: T answer tokens of one sample, R hidden-state rows of one decode step, G prompt groups in it, H hidden size, P parameters of a
Distiller.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from ray import ObjectRef

from esamp.config import ESampConfig

WarningKind = Literal[
    "diverged_slot",
    "dropped_rows",
    "lost_rows",
    "refused_rows",
    "shard_died",
    "shard_lost",
    "trainer_failed",
    "vanilla_group",
]
"""What an actor may warn of; see the counters of these names in ShardStats, TrainerStats and RotationCounts."""


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
    """Samples to draw for one problem on one shard: the unit that is planned, generated, written and resumed.

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


@dataclass(frozen=True, kw_only=True, slots=True)
class Sample:
    """One finished answer, with what the sampler did to it."""

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
    """[T] log-probability of each token under the policy it was drawn from: after temperature, filters and fusion."""
    policy_logprobs: list[float]
    """[T] log-probability of each token under the plain model at temperature 1 without filters; NaN with record="behaviour"."""
    num_candidates: list[int]
    """[T] tokens that could have been drawn: what filters and masks left."""
    flipped: list[bool]
    """[T] True where the same random numbers would have drawn another token without the policy; False with record="behaviour"."""
    intervened: list[bool]
    """[T] True where the Distiller took part in the draw."""
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
    """Name of the shard that drew it."""
    generation_seconds: float
    """From the unit's arrival at the shard to this sample's end."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ShardStats:
    """Counters of one shard since it started."""

    shard: str
    samples: int
    decode_tokens: int
    """Tokens sampled in decode steps (all answer tokens but the first of each sample)."""
    intervened_tokens: int
    """Tokens the Distiller took part in drawing."""
    trained_rows: int
    """Hidden-state rows the Distiller has learned from (local) or has handed to the trainer (actor)."""
    optimiser_steps: int
    """Slot updates; with a trainer actor: the steps of the versions received."""
    dropped_rows: int
    """Rows not sent because the trainer was behind."""
    lost_rows: int
    """Rows in calls that failed because a trainer was gone."""
    vanilla_groups: int
    """Prompt groups that stayed vanilla because every slot was taken."""
    nonfinite_rows: int
    """Rows that stayed vanilla because a prediction was not finite."""
    broken_slots: int
    """Distiller slots that met non-finite numbers of their own making and stayed vanilla from then on."""
    stale_rows: int
    """Rows whose beta was lowered because the weights were older than half of max_staleness."""
    versions_received: int
    """Weight sets received from the trainer actor."""
    trainer_failures: int
    """Calls to the trainer actor that failed because it was gone."""
    cancelled_samples: int
    """Samples that were not finished, since their problem was cancelled."""
    cancelled_tokens: int
    """Answer tokens that had been drawn of them."""
    restored_groups: int
    """Groups that a restarted trainer went on with from the weights this shard had."""
    restarted_groups: int
    """Groups that a restarted trainer began anew, since this shard had no weights of them yet."""
    generation_seconds: float
    """Time in which the engine had work."""
    warnings: tuple[ActorWarning, ...] = ()
    """What the shard warns of; no counter."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RouterCounts:
    """What a ShardRouter has seen of its shards."""

    shards: int = 0
    live_shards: int = 0
    """Shards that may be given units now."""
    shard_restarts: int = 0
    """Times a shard came back as another process."""
    units_run_again: int = 0
    """Calls that did not come back, since their shard or the actor that made them was lost."""
    warnings: tuple[ActorWarning, ...] = ()
    """What the router warns of: shards that were lost."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainerSpec:
    """What a DistillerTrainer needs to start."""

    config: ESampConfig
    output_gain: np.ndarray
    """[H] fp32, initial output gain: the weights of the model's final norm."""
    max_groups: int
    """Distiller slots: at least the groups that its shards can have open together."""
    device: str = "cpu"
    """torch device."""


@dataclass(frozen=True, kw_only=True, slots=True)
class GroupWeights:
    """Version of one group's published weights. What is newer has the larger `order`."""

    group: str
    incarnation: str
    """Of the trainer: another after each restart."""
    registration: int
    """The latest opening of the group that the trainer knew; see Opening."""
    step: int
    """Optimiser steps of the group, those before a restart included."""
    rows: int
    """Hidden-state rows those steps learned from."""
    learned: int
    """Newest decode step of the asking shard's that these weights have learned from."""
    loss: float
    """Squared error per hidden channel at the latest step, before it was learned."""
    relative_error: float
    """|y - f(x)|^2 / |y|^2 of that step."""

    @property
    def order(self) -> tuple[int, int]:
        """Sorts the versions of a group by age, whichever incarnation they are of."""
        return self.registration, self.step


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class RestoreGroup:
    """Weights that a shard has of a group, for a trainer that does not know it (any more)."""

    version: GroupWeights
    weights: np.ndarray
    """[P] fp32"""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class RegisterGroup:
    """A shard begins, or begins again, to work on a group."""

    group: str
    registration: int
    """Larger than any opening of the group that the shard has heard of: versions of earlier ones are out of date from now on."""
    offer: RestoreGroup | None = None
    """None for a group that the shard has no weights of."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class StepRows:
    """Hidden states of one decode step of one shard, to be learned from in one optimiser step of each group.

    Example: groups=["s0/ab12/7/p17", "s0/ab12/9/p4"], group_of_row=[0, 0, 1], steps=[12, 3]
    """

    source: np.ndarray
    """[R, H] fp32 residual stream after the shallow layer."""
    target: np.ndarray
    """[R, H] fp32 what lm_head consumes."""
    groups: list[str]
    """[G] names, as opened."""
    group_of_row: list[int]
    """[R] index into groups."""
    steps: list[int]
    """[G] decode steps of the group on this shard, up to and including this one."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class UnregisterGroup:
    """A shard has no more rows of a group."""

    group: str


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class ShardMessage:
    """What a shard tells a trainer in one call; in the object store."""

    shard: str
    """Who sends it, as "name/life": a shard that was started again has another life."""
    items: list[RegisterGroup | StepRows | UnregisterGroup]
    """In the order in which they happened."""
    wants_weights: bool
    """Answer with the weights that changed."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Reply:
    """A trainer's answer to a letter, after it has learned from it."""

    incarnation: str
    new_groups: list[str]
    """Groups that the letter opened and that began with initial weights."""
    joined_groups: list[str]
    """Groups that it opened, without an offer, and that other shards had open already."""
    restored_groups: list[str]
    """Groups that it opened with an offer: they went on from it, or from a better one of another shard."""
    unknown_groups: list[str]
    """Groups with rows in the letter that are not open for the shard: the trainer was restarted, or every slot is taken."""
    refused_rows: int
    """Rows of those groups."""
    versions: list[GroupWeights]
    """[G] groups whose weights changed since they were last sent to the shard; empty if it wants none."""
    weights: list[ObjectRef]
    """One reference to an fp32 array [G, P], or none; in a list, so that the answer holds the reference and not the array."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainerStats:
    """Counters of one trainer incarnation, or of several trainers together."""

    incarnation: str
    groups: int
    """Groups with a slot now."""
    trained_rows: int
    refused_rows: int
    """Rows of groups that were not open: see Reply.unknown_groups."""
    restored_groups: int
    """Groups that went on from weights a shard offered."""
    abandoned_groups: int
    """Groups that were given up since the last shard that had them open was lost."""
    busy_seconds: float
    """Time spent on letters."""
    publications: int
    """Answers with weights."""
    published_bytes: int
    """Of those weights."""
    warnings: tuple[ActorWarning, ...] = ()
    """What the trainers warn of; no counter."""

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
