"""Does a trainer actor keep up? Load, bytes, memory and lag of the exchange, in closed form.

    n shards     d decode steps/s each, R rows of hidden size H a step, in G groups
        | message: the k steps since the last one, 8 R H bytes each (two fp32 states a row); one in flight per shard and trainer
        v
    trainer      message_s + k step_s, and update_s if the answer carries weights; one message at a time
        | weight update: 4 P G bytes, P parameters a Distiller
        v
    shard        spends at most `exchange_share` of its time on the exchange: half on messages, half on weight updates

Each part of the exchange (`Usage`) needs A seconds per message, B per decode step in it, and a share C of all time. With a message every T
seconds, k = d T steps are in it, and A + B d T + C T <= T must hold for every part:

    T = max(1/d, max over parts of A / (1 - C - d B))

So a slow trainer gets longer messages. Above send_queue.MAX_STEPS steps the exchange drops rows, and its messages shrink to MIN_STEPS,
so that what is learned is recent; then T = max (A + MIN_STEPS B) / (1 - C). Weight updates come with answers, every T_w >= T, no more
often than the rate limit allows. Messages wait at the trainer as in an M/D/1 queue. Constants of time: actors/capacity/trainer_costs.py.
docs/scaling.md compares the model with a simulation.
"""

import math
from dataclasses import dataclass, replace

from actors.capacity.inputs import FP32, CapacityInputs
from actors.capacity.trainer_costs import TrainerCosts
from actors.exchange import send_queue
from actors.trainers import pool
from esamp.scope import SCOPES

ROUNDING = 1 + 1e-9
"""A trainer that is busy all the time answers after exactly one period: rounding must not make that two."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Capacity:
    """What the model says of some inputs."""

    load: float
    """Least time, in seconds, that the busiest part needs for the rows of a second: above 1 rows are dropped. With trainer="local", of a
    shard's device: nothing is dropped, and decoding takes longer."""
    bottleneck: str
    """The busiest part: "trainer", "rate limit" (ExchangeConfig.share), "round trip" (one message in flight per shard and trainer),
    "network in" or "network out" (of a trainer's node); "shard" (its device) with trainer="local"."""
    keeps_up: bool
    """No row is dropped, and beta is not lowered because weights are old."""
    trained_rows_per_s: float
    """Rows that are learned from, of all shards."""
    dropped_share: float = 0.0
    """Of rows, that no trainer learns from."""
    lag: float = 1.0
    """Mean decode steps that weights are behind, the present one included: 1 is the least."""
    slowdown: float
    """Factor on the time of a decode step, at most."""
    hidden_bytes_per_s: float = 0.0
    """Hidden states sent by one shard."""
    steps_per_message: float = 0.0
    """k."""
    updates_per_s: float = 0.0
    """Weight updates to all shards, by all trainers."""
    update_bytes_per_s: float = 0.0
    """Of all weights sent, to all shards."""
    trainer_busy: float = 0.0
    """Share of its time that a trainer works."""
    exchange_time: float = 0.0
    """Share of its time that a shard's exchange takes."""
    trainer_bytes: float = 0.0
    """Memory of one trainer's slots."""
    shard_bytes: float
    """Memory of one shard's slots, on its device."""
    object_store_bytes: float = 0.0
    """In all object stores together, on average: messages until they are answered, and weight updates until they are fetched."""


@dataclass(frozen=True, slots=True)
class Usage:
    """What one part of the exchange is used for."""

    message_s: float = 0.0
    """A: seconds per message."""
    step_s: float = 0.0
    """B: seconds per decode step in a message."""
    share: float = 0.0
    """C: share of all time."""

    def period(self, steps_per_s: float) -> float:
        """Least T, in seconds, if a message carries every step since the last; inf if no T is long enough."""
        left = 1 - self.share - steps_per_s * self.step_s
        return self.message_s / left if left > 0 else math.inf

    def period_of(self, steps: int) -> float:
        """Least T, in seconds, of messages with this many steps; inf if no T is long enough."""
        return (self.message_s + steps * self.step_s) / (1 - self.share) if self.share < 1 else math.inf

    def load(self, steps_per_s: float) -> float:
        """Seconds per second, with the longest messages: the least work there can be."""
        return steps_per_s * (self.message_s / send_queue.MAX_STEPS + self.step_s) + self.share


@dataclass(frozen=True, kw_only=True, slots=True)
class Rhythm:
    """How often one shard and one trainer exchange something."""

    usages: dict[str, Usage]
    message_s: float
    """T: between two messages."""
    update_s: float
    """T_w: between two weight updates."""
    steps: float
    """k: decode steps in a message."""


def estimate_capacity(inputs: CapacityInputs, costs: TrainerCosts) -> Capacity:
    """The model. `costs`: of the trainer's machine, or of the shard's device with trainer="local"."""
    return local_capacity(inputs, costs) if inputs.trainer == "local" else actor_capacity(inputs, costs)


def local_capacity(inputs: CapacityInputs, costs: TrainerCosts) -> Capacity:
    """trainer="local": nothing is sent and nothing is dropped; training shares the shard's device."""
    load = inputs.steps_per_s * training_seconds(inputs, costs)
    return Capacity(
        load=load,
        bottleneck="shard",
        keeps_up=True,
        trained_rows_per_s=inputs.shards * inputs.steps_per_s * inputs.rows / (1 + load),
        slowdown=1 + load,
        shard_bytes=inputs.slots * inputs.slot_bytes,
    )


def actor_capacity(inputs: CapacityInputs, costs: TrainerCosts) -> Capacity:
    """trainer="actor"."""
    d, rhythm = inputs.steps_per_s, exchange_rhythm(inputs, costs)
    loads = {name: usage.load(d) for name, usage in rhythm.usages.items()}
    bottleneck = max(loads, key=lambda name: loads[name])
    learned = min(1.0, rhythm.steps / (d * rhythm.message_s))
    answer_s = answer_seconds(inputs, costs, rhythm)
    lag = mean_lag(inputs, rhythm, answer_s)
    send_s, receive_s = shard_seconds(inputs, costs, rhythm.steps)
    return Capacity(
        load=loads[bottleneck],
        bottleneck=bottleneck,
        keeps_up=loads[bottleneck] <= 1 and lag <= inputs.max_staleness / 2,
        trained_rows_per_s=inputs.shards * d * inputs.rows * learned,
        dropped_share=1 - learned,
        lag=lag,
        # The decode loop shares its processor with at most this much; on a GPU most of it runs beside the model.
        slowdown=1 / (1 - min(0.5, inputs.exchange_share)),
        hidden_bytes_per_s=d * learned * inputs.row_bytes,
        steps_per_message=rhythm.steps,
        updates_per_s=inputs.shards / inputs.part / rhythm.update_s,
        update_bytes_per_s=inputs.shards * inputs.update_bytes / rhythm.update_s,
        trainer_busy=trainer_busy(rhythm),
        exchange_time=(send_s / rhythm.message_s + receive_s / rhythm.update_s) / inputs.part,
        trainer_bytes=trainer_slots(inputs) * inputs.slot_bytes,
        shard_bytes=inputs.slots * inputs.slot_bytes,
        object_store_bytes=inputs.shards * stored_bytes(inputs, costs, rhythm, answer_s),
    )


def training_seconds(inputs: CapacityInputs, costs: TrainerCosts) -> float:
    """One optimiser step of each group in one trainer's part of a decode step; with scope="prior" one more, of the prior."""
    flops = 14 * inputs.num_blocks * inputs.hidden_size * inputs.inner_width * inputs.rows
    passes, priors = (2, 1) if SCOPES[inputs.scope].learns_init else (1, 0)
    per_group_s = costs.group_s + FP32 * inputs.parameters * costs.weight_byte_s
    return (
        costs.step_s
        + (inputs.groups * inputs.part + priors) * per_group_s
        + inputs.part * passes * (flops * costs.flop_s + inputs.row_bytes * costs.row_byte_s)
    )


def shard_seconds(inputs: CapacityInputs, costs: TrainerCosts, steps: float) -> tuple[float, float]:
    """Processor time of a shard for a message of so many steps to one trainer, and for a weight update from it."""
    return (
        costs.send_s + steps * inputs.part * inputs.row_bytes * costs.send_byte_s,
        costs.receive_s + inputs.part * inputs.update_bytes * costs.receive_byte_s,
    )


def exchange_rhythm(inputs: CapacityInputs, costs: TrainerCosts) -> Rhythm:
    """How often messages and weight updates go."""
    usages = exchange_usages(inputs, costs, update_s=None)
    message_s, steps = message_period(usages, inputs.steps_per_s)
    rhythm = Rhythm(usages=usages, message_s=message_s, update_s=message_s, steps=steps)
    if (due_s := update_due_seconds(inputs, costs, rhythm)) <= message_s * ROUNDING:
        return rhythm
    # The rate limit makes weight updates rarer than messages, which leaves the trainer more time for these.
    usages = exchange_usages(inputs, costs, update_s=due_s)
    message_s, steps = message_period(usages, inputs.steps_per_s)
    rhythm = Rhythm(usages=usages, message_s=message_s, update_s=due_s, steps=steps)
    messages = math.ceil(update_due_seconds(inputs, costs, rhythm) / (message_s * ROUNDING))
    return replace(rhythm, update_s=message_s * messages)


def update_due_seconds(inputs: CapacityInputs, costs: TrainerCosts, rhythm: Rhythm) -> float:
    """Least time between two messages that ask for weights: the answer to the first, and the shard's rest after it by the rate limit."""
    rest_s = rate_limit(inputs) * shard_seconds(inputs, costs, steps=0)[1]
    return rest_s + min(rhythm.message_s, answer_seconds(inputs, costs, rhythm))


def rate_limit(inputs: CapacityInputs) -> float:
    """Seconds that must pass per second of a shard's work for one trainer: a shard's share of time is split evenly over its trainers, and
    half of each part is for messages, half for weight updates (ActorLearner, TrainerLink)."""
    return 2 * inputs.trainers / inputs.exchange_share


def exchange_usages(inputs: CapacityInputs, costs: TrainerCosts, *, update_s: float | None) -> dict[str, Usage]:
    """Of every part, with a weight update each `update_s`; None: with every message."""
    n, part = inputs.senders, inputs.part
    limit = rate_limit(inputs)
    rows_s = part * inputs.row_bytes / inputs.network_bytes_per_s
    weights_s = part * inputs.update_bytes / inputs.network_bytes_per_s
    training_s = training_seconds(inputs, costs)
    updating_s = costs.update_s + part * inputs.update_bytes * costs.update_byte_s
    per_message, share = (1, 0.0) if update_s is None else (0, n / update_s)
    return {
        "trainer": Usage(n * (costs.message_s + per_message * updating_s), n * training_s, share * updating_s),
        "rate limit": Usage(limit * costs.send_s, limit * part * inputs.row_bytes * costs.send_byte_s),
        "round trip": Usage(
            costs.latency_s + costs.message_s + per_message * (updating_s + weights_s), training_s + rows_s
        ),
        "network in": Usage(0.0, n * rows_s),
        "network out": Usage(n * per_message * weights_s, 0.0, share * weights_s),
    }


def message_period(usages: dict[str, Usage], steps_per_s: float) -> tuple[float, float]:
    """T, and the decode steps in a message."""
    period_s = max(1 / steps_per_s, *(usage.period(steps_per_s) for usage in usages.values()))
    if steps_per_s * period_s <= send_queue.MAX_STEPS:
        return period_s, steps_per_s * period_s
    return max(usage.period_of(send_queue.MIN_STEPS) for usage in usages.values()), send_queue.MIN_STEPS


def trainer_busy(rhythm: Rhythm) -> float:
    """Share of its time that a trainer works."""
    usage = rhythm.usages["trainer"]
    return min(1.0, (usage.message_s + rhythm.steps * usage.step_s) / rhythm.message_s + usage.share)


def answer_seconds(inputs: CapacityInputs, costs: TrainerCosts, rhythm: Rhythm) -> float:
    """From a message to its answer. It waits for the messages of other shards: M/D/1, but never for more than one of each."""
    busy = trainer_busy(rhythm)
    work_s = busy * rhythm.message_s / inputs.senders
    queue_s = busy * work_s / (2 * (1 - busy)) if busy < 1 else math.inf
    moved_bytes = rhythm.steps * inputs.row_bytes + inputs.update_bytes * rhythm.message_s / rhythm.update_s
    network_s = inputs.part * moved_bytes / inputs.network_bytes_per_s
    return costs.latency_s + network_s + work_s + min(queue_s, max(0.0, inputs.senders - 1) * work_s)


def mean_lag(inputs: CapacityInputs, rhythm: Rhythm, answer_s: float) -> float:
    """Decode steps. Weights are as old as their message's answer when they arrive, and one step older with each step until the next; a
    group that lives `answer_tokens` steps has none before its first, and lags by its own age."""
    d = inputs.steps_per_s
    # A message that carries one step leaves with it; a longer one leaves at any time between two steps.
    arrival = max(1.0, 0.5 + d * answer_s) if rhythm.steps <= 1 else 1 + d * answer_s
    lag = arrival + max(0.0, d * rhythm.update_s - 1) / 2
    if not inputs.is_per_prompt:
        return lag
    life = inputs.answer_tokens
    return max(1.0, lag - lag * lag / (2 * life)) if lag < life else max(1.0, life / 2)


def stored_bytes(inputs: CapacityInputs, costs: TrainerCosts, rhythm: Rhythm, answer_s: float) -> float:
    """Of one shard's messages, until they are answered, and of weight updates to it, until it has copied them."""
    messages = rhythm.steps / rhythm.message_s * inputs.row_bytes * answer_s
    fetching_s = costs.latency_s / 2 + inputs.part * inputs.update_bytes * costs.receive_byte_s
    return messages + inputs.update_bytes * min(1.0, fetching_s / rhythm.update_s)


def trainer_slots(inputs: CapacityInputs) -> int:
    """Of one trainer."""
    groups = (inputs.max_groups if inputs.is_per_prompt else 1) * SCOPES[inputs.scope].num_banks(inputs.shards)
    return pool.slots_per_trainer(groups, inputs.trainers) + SCOPES[inputs.scope].learns_init
