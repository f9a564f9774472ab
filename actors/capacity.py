"""How far a DistillerTrainer carries: bytes, load, lag and memory of an exchange, from its shape alone. Standard library only.

    shard 1..n   d decode steps/s, R rows of hidden size H each, in G groups
        | rows     8 R H bytes a step (two fp32 states a row)               at most IN_FLIGHT steps under way per shard
        v
    trainer      train_s a step, publish_s a publication                    one call at a time
        | weights  4 P G bytes a publication, P parameters a Distiller      at most one under way per shard
        v
    shard

Let n shards share a trainer, and k be the training calls per publication. A trainer's time per step of a shard is
s(k) = train_s + publish_s / k, and three things can happen:

    keeps up         n d s(1) <= 1   every step is learned from and published
    publishes less   n d s(k)  = 1   the queue grows until k steps share a publication, k up to IN_FLIGHT
    drops rows       n d s(IN_FLIGHT) > 1   every shard has IN_FLIGHT steps under way, and the oldest waiting step makes room

A lag is one wait for training and one for publication, each a pass of the trainer's queue; `expected_lag` has the formulas. Constants of
time are measured or assumed (actors/trainer_costs.py). docs/scaling.md says how the model compares with a simulation.
"""

import math
from dataclasses import asdict, dataclass, replace
from typing import Literal

from actors.trainer_costs import TrainerCosts
from esamp.config import Scope

Placement = Literal["local", "actor"]

IN_FLIGHT = 4
"""Decode steps of one shard on their way to the trainer; as many wait behind them. As MAX_IN_FLIGHT of actors/exchange.py."""
FP32 = 4
"""Bytes of a number: rows, weights, gradients and moments all travel and rest as fp32."""
NUMBERS_PER_PARAMETER = 4
"""A slot's weights, gradient and two moments."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CapacityInputs:
    """An exchange to be planned. Raises ValueError on a value outside its range."""

    hidden_size: int
    """H of the model."""
    steps_per_s: float
    """Decode steps of one shard a second."""
    shards: int = 8
    """LLM shards."""
    prompts: int = 8
    """Prompts in one shard's batch at a time: as many Distillers are at work."""
    samples: int = 16
    """Rows of each prompt in the batch; prompts x samples rows are learned from in a step."""
    answer_tokens: float = 512.0
    """Decode steps a prompt's Distiller lives: the length of its longest answer."""
    scope: Scope = "prompt"
    """Who shares a Distiller."""
    trainer: Placement = "actor"
    """Where Distillers learn."""
    trainers: int = 1
    """DistillerTrainer actors; groups are spread over them."""
    max_groups: int = 32
    """Distiller slots of one shard."""
    inner_width: int = 384
    """Distiller width."""
    num_blocks: int = 1
    """Distiller blocks."""
    network_bytes_per_s: float = math.inf
    """Of a trainer's node, each way; inf if shards and trainer share a node."""

    def __post_init__(self) -> None:
        for name in (
            "hidden_size",
            "shards",
            "prompts",
            "samples",
            "trainers",
            "max_groups",
            "inner_width",
            "num_blocks",
        ):
            value = asdict(self)[name]
            if value < 1:
                raise ValueError(f"{name} must be >= 1; got {value}.")
        for name in ("steps_per_s", "answer_tokens", "network_bytes_per_s"):
            value = asdict(self)[name]
            if not value > 0:
                raise ValueError(f"{name} must be > 0; got {value}.")
        if self.scope == "cluster" and self.trainer == "local":
            raise ValueError('scope "cluster" needs a trainer actor; got trainer local.')
        if self.scope in ("prompt", "prior") and self.prompts > self.max_groups:
            raise ValueError(
                f"prompts must be at most max_groups, or some stay vanilla; got {self.prompts} and {self.max_groups}."
            )

    @property
    def rows(self) -> int:
        """R: rows of one decode step."""
        return self.prompts * self.samples

    @property
    def groups(self) -> int:
        """G: Distillers one shard's step trains."""
        return self.prompts if self.scope in ("prompt", "prior") else 1

    @property
    def parameters(self) -> int:
        """P: of one Distiller (esamp.distiller.SlotLayout)."""
        return 3 * self.num_blocks * self.inner_width * self.hidden_size + self.hidden_size

    @property
    def row_bytes(self) -> int:
        """Of the hidden states of one step: shallow and deep."""
        return 2 * FP32 * self.rows * self.hidden_size

    @property
    def publication_bytes(self) -> int:
        """Of the weights one publication carries."""
        return FP32 * self.parameters * self.groups

    @property
    def shards_per_trainer(self) -> int:
        """n, of the busiest trainer. The one group of a cluster cannot be spread."""
        return self.shards if self.scope == "cluster" else math.ceil(self.shards / self.trainers)


@dataclass(frozen=True, kw_only=True, slots=True)
class Capacity:
    """What a plan comes to."""

    rows_per_s: float
    """Drawn, by all shards."""
    hidden_bytes_per_s: float
    """Hidden states sent by one shard."""
    total_hidden_bytes_per_s: float
    """By all shards."""
    train_s: float
    """One training call."""
    publish_s: float
    """One publication."""
    trainer_rows_per_s: float
    """That all trainers can learn from, publishing as seldom as the exchange lets them."""
    load: float
    """Work asked of the busiest trainer by the time it has, publishing every step. trainer="local": training time by decode time."""
    steps_per_publication: float
    """k."""
    dropped_share: float
    """Of rows, that no trainer learns from."""
    publications_per_s: float
    """To one shard."""
    publication_bytes_per_s: float
    """To all shards."""
    lag: float
    """Mean decode steps that weights are behind, the present one included: 1 is the least."""
    blind_share: float
    """Of a group's decode steps, that pass before its first weights arrive."""
    slowdown: float
    """Factor on the time of a decode step, at most: only trainer="local" shares the shard's device."""
    trainer_bytes: float
    """Memory of one trainer's slots."""
    shard_bytes: float
    """Memory of one shard's slots, on its device."""
    object_store_bytes: float
    """Resident in all object stores together: rows under way, and publications until they are fetched."""
    bottleneck: str
    """What limits first: "trainer", "network in", "network out", or "shard"."""


def plan_capacity(inputs: CapacityInputs, costs: TrainerCosts) -> Capacity:
    """The model. `costs`: of the trainer's machine, or of the shard's device with trainer="local"."""
    return local_capacity(inputs, costs) if inputs.trainer == "local" else actor_capacity(inputs, costs)


def train_seconds(inputs: CapacityInputs, costs: TrainerCosts) -> float:
    """One training call: one optimiser step of each group, and with scope="prior" one more of the prior on the same rows."""
    flops = 14 * inputs.num_blocks * inputs.hidden_size * inputs.inner_width * inputs.rows
    twice, extra = (2, 1) if inputs.scope == "prior" else (1, 0)
    groups = inputs.groups + extra
    return (
        costs.call_s
        + groups * (costs.group_s + FP32 * inputs.parameters * costs.weight_byte_s)
        + twice * (flops * costs.flop_s + inputs.row_bytes * costs.row_byte_s)
    )


def publish_seconds(inputs: CapacityInputs, costs: TrainerCosts) -> float:
    """One publication to one shard."""
    return costs.publish_call_s + inputs.publication_bytes * costs.publish_byte_s


def actor_capacity(inputs: CapacityInputs, costs: TrainerCosts) -> Capacity:
    """trainer="actor"."""
    d, n = inputs.steps_per_s, inputs.shards_per_trainer
    train_s, publish_s = train_seconds(inputs, costs), publish_seconds(inputs, costs)
    service = service_times(inputs, train_s, publish_s)
    busiest = max(service, key=lambda name: service[name](1))
    pace = max(time(IN_FLIGHT) for time in service.values())
    learned = min(1.0, 1 / (n * d * pace))
    k = steps_per_publication(n * d, service)
    lag = expected_lag(inputs, costs, train_s, publish_s, k=k, learned=learned)
    publications = d * learned / k
    slots = inputs.max_groups * inputs.shards / inputs.trainers + (inputs.scope == "prior")
    return Capacity(
        rows_per_s=inputs.shards * d * inputs.rows,
        hidden_bytes_per_s=d * learned * inputs.row_bytes,
        total_hidden_bytes_per_s=inputs.shards * d * learned * inputs.row_bytes,
        train_s=train_s,
        publish_s=publish_s,
        trainer_rows_per_s=inputs.shards / n * inputs.rows / pace,
        load=n * d * service[busiest](1),
        steps_per_publication=k,
        dropped_share=1 - learned,
        publications_per_s=publications,
        publication_bytes_per_s=inputs.shards * publications * inputs.publication_bytes,
        lag=mean_over_life(lag, inputs),
        blind_share=min(1.0, lag / inputs.answer_tokens) if inputs.groups > 1 else 0.0,
        slowdown=1.0,
        trainer_bytes=slots * slot_bytes(inputs),
        shard_bytes=inputs.max_groups * slot_bytes(inputs),
        object_store_bytes=inputs.shards * store_bytes(inputs, lag),
        bottleneck=busiest,
    )


def local_capacity(inputs: CapacityInputs, costs: TrainerCosts) -> Capacity:
    """trainer="local": nothing travels and nothing is dropped; training shares the shard's device."""
    on_device = replace(costs, call_s=costs.group_s, row_byte_s=0.0)
    train_s = train_seconds(inputs, on_device)
    load = inputs.steps_per_s * train_s
    rows_per_s = inputs.shards * inputs.steps_per_s * inputs.rows / (1 + load)
    slots = inputs.max_groups + (inputs.scope == "prior")
    return Capacity(
        rows_per_s=rows_per_s,
        hidden_bytes_per_s=0.0,
        total_hidden_bytes_per_s=0.0,
        train_s=train_s,
        publish_s=0.0,
        trainer_rows_per_s=inputs.shards * inputs.rows / train_s,
        load=load,
        steps_per_publication=1.0,
        dropped_share=0.0,
        publications_per_s=0.0,
        publication_bytes_per_s=0.0,
        lag=1.0,
        blind_share=0.0,
        slowdown=1 + load,
        trainer_bytes=0.0,
        shard_bytes=slots * slot_bytes(inputs),
        object_store_bytes=0.0,
        bottleneck="shard",
    )


class ServiceTime:
    """A resource's time per decode step of one shard, as a function of k."""

    def __init__(self, per_step_s: float, per_publication_s: float) -> None:
        self.per_step_s = per_step_s
        self.per_publication_s = per_publication_s

    def __call__(self, k: float) -> float:
        return self.per_step_s + self.per_publication_s / k


def service_times(inputs: CapacityInputs, train_s: float, publish_s: float) -> dict[str, ServiceTime]:
    """What the shards of one trainer share: its time, and its node's network, each way."""
    return {
        "trainer": ServiceTime(train_s, publish_s),
        "network in": ServiceTime(inputs.row_bytes / inputs.network_bytes_per_s, 0.0),
        "network out": ServiceTime(0.0, inputs.publication_bytes / inputs.network_bytes_per_s),
    }


def steps_per_publication(steps_per_s: float, service: dict[str, ServiceTime]) -> float:
    """k in [1, IN_FLIGHT]: the least at which every resource keeps up with `steps_per_s` of all its shards; IN_FLIGHT if none does."""
    needed = 1.0
    for time in service.values():
        left = 1 / steps_per_s - time.per_step_s
        needed = max(needed, time.per_publication_s / left if left > 0 else math.inf)
    return min(needed, IN_FLIGHT)


def expected_lag(
    inputs: CapacityInputs, costs: TrainerCosts, train_s: float, publish_s: float, *, k: float, learned: float
) -> float:
    """Mean lag of a group that lives for ever, in decode steps.

    A step's rows wait for the trainer and are learned from; their weights wait for it again, are published and fetched. Between two
    publications, k steps apart, the lag grows by one a step. A queue that keeps up is taken as M/D/1, whose wait never exceeds a pass of
    the full queue. One that does not holds IN_FLIGHT steps and one publication of every shard: a pass takes IN_FLIGHT / learned steps, and
    IN_FLIGHT steps wait outside.
    """
    d, n = inputs.steps_per_s, inputs.shards_per_trainer
    moved = inputs.row_bytes + inputs.publication_bytes
    own = d * (
        costs.exchange_s + moved * costs.exchange_byte_s + train_s + publish_s + moved / inputs.network_bytes_per_s
    )
    if learned < 1:
        queue_pass, waiting = IN_FLIGHT / learned, IN_FLIGHT
    else:
        queue_pass, waiting = k, 0
    load = n * d * (train_s + publish_s / k)
    wait_s = load * (train_s + publish_s) / 2 / (2 * (1 - load)) if load < 1 else math.inf
    delay = waiting + min(own + 2 * d * wait_s, max(own, 2 * queue_pass))
    between = queue_pass if learned < 1 else k
    return max(1.0, 0.5 + delay) + (between - 1) / 2


def mean_over_life(lag: float, inputs: CapacityInputs) -> float:
    """Of a group that lives `answer_tokens` steps: its first weights arrive after `lag` steps, and until then it lags by its own age."""
    if inputs.groups == 1:
        return lag
    life = inputs.answer_tokens
    return max(1.0, lag - lag * lag / (2 * life)) if lag < life else max(1.0, life / 2)


def slot_bytes(inputs: CapacityInputs) -> int:
    """Memory of one Distiller slot."""
    return NUMBERS_PER_PARAMETER * FP32 * inputs.parameters


def store_bytes(inputs: CapacityInputs, lag: float) -> float:
    """Of one shard, resident: its steps under way (at most IN_FLIGHT, on average no more than the lag) and one publication."""
    return min(IN_FLIGHT, lag) * inputs.row_bytes + inputs.publication_bytes
