"""How far DistillerTrainers carry: bytes, load, lag and memory of the exchange, from its shape alone. Standard library only.

    n shards     d decode steps/s each, R rows of hidden size H a step, in G groups
        | letter: the k steps since the last one, 8 R H bytes each (two fp32 states a row); one under way per shard and trainer
        v
    trainer      letter_s + k step_s, and publish_s if the letter wants weights; one letter at a time
        | weights: 4 P G bytes, P parameters a Distiller
        v
    shard        spends at most `share` of its time on the exchange: half on letters, half on weights

So a letter is sent every T seconds and weights come every T_w >= T. Each is the longest of what the pace asks for and of what the
trainer needs to answer; k = d T. A trainer that falls behind gets longer letters, over which a publication is spread; beyond
MOST_STEPS rows are dropped, and letters shrink to LEAST_STEPS, so that what is learned is new. Means are derived for letters of equal
length (`exchange_cycle` has the formulas). Constants of time are measured or assumed (actors/capacity/trainer_costs.py), and
docs/scaling.md compares the model with a simulation.
"""

import math
from dataclasses import dataclass

from actors.capacity.exchange_cycle import (
    MOST_STEPS,
    exchange_cycle,
    exchange_time,
    lag_quantile,
    mean_lag,
    pace_seconds,
    publish_seconds,
    step_seconds,
    stored_bytes,
    trainer_busy,
)
from actors.capacity.inputs import CapacityInputs
from actors.capacity.trainer_costs import TrainerCosts
from esamp.scope import SCOPES


@dataclass(frozen=True, kw_only=True, slots=True)
class Capacity:
    """What a plan comes to."""

    rows_per_s: float
    """Drawn, by all shards."""
    trainer_rows_per_s: float
    """That all trainers can learn from."""
    load: float
    """Least time that the busiest part needs for the rows of a second, in seconds: above 1 rows are dropped. With trainer="local", of a
    shard's device: nothing is dropped, and decoding takes longer."""
    dropped_share: float
    """Of rows, that no trainer learns from."""
    hidden_bytes_per_s: float
    """Hidden states sent by one shard."""
    total_hidden_bytes_per_s: float
    """By all shards."""
    steps_per_letter: float
    """k."""
    trainer_busy: float
    """Share of its time that a trainer works."""
    exchange_time: float
    """Share of its time that a shard's exchange takes."""
    publications_per_s: float
    """To all shards, by all trainers."""
    publication_s: float
    """Time between two publications to one shard; 0 where nothing is published."""
    publication_bytes_per_s: float
    """Of all weights sent, to all shards."""
    lag: float
    """Mean decode steps that weights are behind, the present one included: 1 is the least."""
    lag_median: float
    lag_95: float
    """The same, of which 5% of steps have more."""
    slowdown: float
    """Factor on the time of a decode step, at most."""
    step_s: float
    """Training from one decode step of one shard."""
    publish_s: float
    """One publication, at the trainer."""
    trainer_bytes: float
    """Memory of one trainer's slots."""
    shard_bytes: float
    """Memory of one shard's slots, on its device."""
    object_store_bytes: float
    """In all object stores together, on average: letters until they are answered, and publications until they are fetched."""
    bottleneck: str
    """What is busiest: "trainer", "network in", "network out" (of a trainer's node), "pace" (a shard's share of time for the exchange), or
    "shard" (its device, with trainer="local")."""


def plan_capacity(inputs: CapacityInputs, costs: TrainerCosts) -> Capacity:
    """The model. `costs`: of the trainer's machine, or of the shard's device with trainer="local"."""
    return local_capacity(inputs, costs) if inputs.trainer == "local" else actor_capacity(inputs, costs)


def actor_capacity(inputs: CapacityInputs, costs: TrainerCosts) -> Capacity:
    """trainer="actor"."""
    d = inputs.steps_per_s
    cycle = exchange_cycle(inputs, costs)
    loads = least_loads(inputs, costs)
    bottleneck = max(loads, key=lambda name: loads[name])
    sent = d * cycle.learned * inputs.row_bytes
    published = inputs.shards * inputs.publication_bytes / cycle.publication_s
    slots = trainer_slots(inputs)
    return Capacity(
        rows_per_s=inputs.shards * d * inputs.rows,
        trainer_rows_per_s=inputs.shards * d * inputs.rows / loads["trainer"],
        load=loads[bottleneck],
        dropped_share=1 - cycle.learned,
        hidden_bytes_per_s=sent,
        total_hidden_bytes_per_s=inputs.shards * sent,
        steps_per_letter=cycle.steps,
        trainer_busy=trainer_busy(inputs, costs, cycle),
        exchange_time=exchange_time(inputs, costs, cycle),
        publications_per_s=inputs.shards / inputs.part / cycle.publication_s,
        publication_s=cycle.publication_s,
        publication_bytes_per_s=published,
        lag=mean_lag(inputs, cycle),
        lag_median=lag_quantile(inputs, cycle, 0.5),
        lag_95=lag_quantile(inputs, cycle, 0.95),
        slowdown=1 / (1 - min(0.5, inputs.exchange_share)),
        step_s=step_seconds(inputs, costs),
        publish_s=publish_seconds(inputs, costs),
        trainer_bytes=slots * inputs.slot_bytes,
        shard_bytes=inputs.slots * inputs.slot_bytes,
        object_store_bytes=inputs.shards * stored_bytes(inputs, costs, cycle),
        bottleneck=bottleneck,
    )


def least_loads(inputs: CapacityInputs, costs: TrainerCosts) -> dict[str, float]:
    """Load of a trainer, of its node's network each way, and of a shard's pace, with letters of MOST_STEPS: the least work there can be."""
    d, n = inputs.steps_per_s, inputs.senders
    letters_s, weights_s = pace_seconds(inputs, costs, MOST_STEPS)
    letters, publications = d / MOST_STEPS, 1 / max(MOST_STEPS / d, weights_s)
    moved = n * inputs.part / inputs.network_bytes_per_s
    return {
        "trainer": n
        * (letters * costs.letter_s + d * step_seconds(inputs, costs) + publications * publish_seconds(inputs, costs)),
        "network in": moved * d * inputs.row_bytes,
        "network out": moved * publications * inputs.publication_bytes,
        "pace": letters * letters_s,
    }


def trainer_slots(inputs: CapacityInputs) -> int:
    """Of one trainer; as actors.trainers.pool.slots_per_trainer, which leaves slack for groups that are spread unevenly."""
    everyone = (inputs.max_groups if inputs.is_per_prompt else 1) * SCOPES[inputs.scope].num_banks(inputs.shards)
    each = everyone if inputs.trainers == 1 else min(everyone, math.ceil(1.5 * everyone / inputs.trainers) + 8)
    return each + SCOPES[inputs.scope].learns_init


def local_capacity(inputs: CapacityInputs, costs: TrainerCosts) -> Capacity:
    """trainer="local": nothing travels and nothing is dropped; training shares the shard's device."""
    step_s = step_seconds(inputs, costs)
    load = inputs.steps_per_s * step_s
    return Capacity(
        rows_per_s=inputs.shards * inputs.steps_per_s * inputs.rows / (1 + load),
        trainer_rows_per_s=inputs.shards * inputs.rows / step_s,
        load=load,
        dropped_share=0.0,
        hidden_bytes_per_s=0.0,
        total_hidden_bytes_per_s=0.0,
        steps_per_letter=0.0,
        trainer_busy=0.0,
        exchange_time=0.0,
        publications_per_s=0.0,
        publication_s=0.0,
        publication_bytes_per_s=0.0,
        lag=1.0,
        lag_median=1.0,
        lag_95=1.0,
        slowdown=1 + load,
        step_s=step_s,
        publish_s=0.0,
        trainer_bytes=0.0,
        shard_bytes=inputs.slots * inputs.slot_bytes,
        object_store_bytes=0.0,
        bottleneck="shard",
    )
