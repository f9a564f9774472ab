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
length (`exchange_cycle` has the formulas). Constants of time are measured or assumed (actors/trainer_costs.py), and docs/scaling.md
compares the model with a simulation.
"""

import math
from dataclasses import asdict, dataclass
from typing import Literal

from actors.trainer_costs import TrainerCosts
from esamp.config import Scope

Placement = Literal["local", "actor"]

MOST_STEPS = 32
"""Decode steps that one letter may carry."""
LEAST_STEPS = 4
"""The same once rows are dropped."""
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
    """d: decode steps of one shard a second."""
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
    """DistillerTrainer actors; groups are spread over them by name."""
    max_groups: int = 32
    """Distiller slots of one shard."""
    inner_width: int = 384
    """Distiller width."""
    num_blocks: int = 1
    """Distiller blocks."""
    exchange_share: float = 0.02
    """Largest share of a shard's time that its exchange with one trainer may take."""
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
        for name in ("steps_per_s", "answer_tokens", "network_bytes_per_s", "exchange_share"):
            value = asdict(self)[name]
            if not value > 0:
                raise ValueError(f"{name} must be > 0; got {value}.")
        if self.scope == "cluster" and self.trainer == "local":
            raise ValueError('scope "cluster" needs a trainer actor; got trainer local.')
        if self.is_per_prompt and self.prompts > self.max_groups:
            raise ValueError(
                f"prompts must be at most max_groups, or some stay vanilla; got {self.prompts} and {self.max_groups}."
            )

    @property
    def is_per_prompt(self) -> bool:
        """Every prompt has a Distiller of its own."""
        return self.scope in ("prompt", "prior")

    @property
    def rows(self) -> int:
        """R: rows of one decode step."""
        return self.prompts * self.samples

    @property
    def groups(self) -> int:
        """G: Distillers one shard's step trains."""
        return self.prompts if self.is_per_prompt else 1

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
        """Of the weights of all of a shard's groups."""
        return FP32 * self.parameters * self.groups

    @property
    def slot_bytes(self) -> int:
        """Memory of one Distiller slot."""
        return NUMBERS_PER_PARAMETER * FP32 * self.parameters

    @property
    def part(self) -> float:
        """Of a shard's groups, rows and weights: what one trainer has to do with. At least one group."""
        return 1.0 if self.trainer == "local" else max(1 / self.groups, 1 / self.trainers)

    @property
    def senders(self) -> float:
        """n: shards that one trainer hears of, on average. A cluster's one group has one trainer, whatever the others do."""
        return self.shards if self.scope == "cluster" else self.shards / self.trainers / self.part


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
    publication_s: float
    """Time between two publications to one shard; 0 where nothing is published."""
    publication_bytes_per_s: float
    """Of all weights sent, to all shards."""
    lag: float
    """Mean decode steps that weights are behind, the present one included: 1 is the least."""
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
    """Resident in all object stores together: letters under way, and publications until they are fetched."""
    bottleneck: str
    """What is busiest: "trainer", "network in", "network out" (of a trainer's node), "pace" (a shard's share of time for the exchange), or
    "shard" (its device, with trainer="local")."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Cycle:
    """The rhythm of one shard's letters to one trainer."""

    letter_s: float
    """T: time between two letters."""
    answer_s: float
    """From a letter to its weights."""
    publication_s: float
    """T_w: time between two publications."""
    steps: float
    """k: decode steps in a letter."""
    learned: float
    """Share of steps that a letter carries."""


def plan_capacity(inputs: CapacityInputs, costs: TrainerCosts) -> Capacity:
    """The model. `costs`: of the trainer's machine, or of the shard's device with trainer="local"."""
    return local_capacity(inputs, costs) if inputs.trainer == "local" else actor_capacity(inputs, costs)


def step_seconds(inputs: CapacityInputs, costs: TrainerCosts) -> float:
    """One optimiser step of each group in a letter's part of a decode step; with scope="prior" one more of the prior on the same rows."""
    flops = 14 * inputs.num_blocks * inputs.hidden_size * inputs.inner_width * inputs.rows
    twice, prior = (2, 1) if inputs.scope == "prior" else (1, 0)
    per_group_s = costs.group_s + FP32 * inputs.parameters * costs.weight_byte_s
    return (
        costs.step_s
        + (inputs.groups * inputs.part + prior) * per_group_s
        + inputs.part * twice * (flops * costs.flop_s + inputs.row_bytes * costs.row_byte_s)
    )


def publish_seconds(inputs: CapacityInputs, costs: TrainerCosts) -> float:
    """One publication to one shard."""
    return costs.publish_s + inputs.part * inputs.publication_bytes * costs.publish_byte_s


def pace_seconds(inputs: CapacityInputs, costs: TrainerCosts, steps: float) -> tuple[float, float]:
    """Least time between letters of so many steps, and between publications, by the pace: each may take half of the share."""
    rest = 2 / inputs.exchange_share
    sending_s = costs.send_s + steps * inputs.part * inputs.row_bytes * costs.send_byte_s
    taking_s = costs.take_s + inputs.part * inputs.publication_bytes * costs.take_byte_s
    return rest * sending_s, rest * taking_s


def exchange_cycle(inputs: CapacityInputs, costs: TrainerCosts) -> Cycle:
    """The rhythm that letters settle in.

    A letter waits for those of other shards: an M/D/1 queue at the load that the letters make, but never more than one letter of each.
    Longer letters make less load, so the cycle is found by stretching it from what the pace asks for until trainer and letter agree. If it
    would have to be longer than MOST_STEPS, rows are dropped and every letter has LEAST_STEPS.
    """
    d = inputs.steps_per_s
    cycle_s = 1 / d
    for _ in range(10_000):
        letters_s, weights_s = pace_seconds(inputs, costs, d * cycle_s)
        answer_s = answer_seconds(inputs, costs, cycle_s, weights_s, steps=d * cycle_s)
        needed_s = max(1 / d, letters_s, answer_s)
        if needed_s <= cycle_s * (1 + 1e-6):
            break
        cycle_s = needed_s
        if d * cycle_s > MOST_STEPS:
            return overloaded_cycle(inputs, costs)
    publication_s = max(cycle_s, weights_s)
    return Cycle(letter_s=cycle_s, answer_s=answer_s, publication_s=publication_s, steps=d * cycle_s, learned=1.0)


def overloaded_cycle(inputs: CapacityInputs, costs: TrainerCosts) -> Cycle:
    """The rhythm while rows are dropped: LEAST_STEPS a letter, and one letter of every shard in the trainer's queue."""
    letters_s, weights_s = pace_seconds(inputs, costs, LEAST_STEPS)
    cycle_s = LEAST_STEPS / inputs.steps_per_s
    for _ in range(100):
        cycle_s = max(cycle_s, letters_s, answer_seconds(inputs, costs, cycle_s, weights_s, steps=LEAST_STEPS))
    learned = min(1.0, LEAST_STEPS / (inputs.steps_per_s * cycle_s))
    return Cycle(
        letter_s=cycle_s,
        answer_s=answer_seconds(inputs, costs, cycle_s, weights_s, steps=LEAST_STEPS),
        publication_s=max(cycle_s, weights_s),
        steps=LEAST_STEPS,
        learned=learned,
    )


def answer_seconds(
    inputs: CapacityInputs, costs: TrainerCosts, cycle_s: float, publication_s: float, *, steps: float
) -> float:
    """From a letter to its answer, where every shard sends one each `cycle_s` and weights come no oftener than each `publication_s`."""
    n, part = inputs.senders, inputs.part
    step_s, publish_s = step_seconds(inputs, costs), publish_seconds(inputs, costs)
    publications = cycle_s / max(cycle_s, publication_s)
    work_s = costs.letter_s + steps * step_s + publications * publish_s
    rows_s = part * steps * inputs.row_bytes / inputs.network_bytes_per_s
    weights_s = part * publications * inputs.publication_bytes / inputs.network_bytes_per_s
    slowest_s = max(work_s, rows_s, weights_s)
    load = n * slowest_s / cycle_s
    queue_s = load * slowest_s / (2 * (1 - load)) if load < 1 else math.inf
    return costs.way_s + rows_s + work_s + weights_s + min(queue_s, (n - 1) * slowest_s)


def actor_capacity(inputs: CapacityInputs, costs: TrainerCosts) -> Capacity:
    """trainer="actor"."""
    d = inputs.steps_per_s
    cycle = exchange_cycle(inputs, costs)
    loads = least_loads(inputs, costs)
    bottleneck = max(loads, key=lambda name: loads[name])
    sent = d * cycle.learned * inputs.row_bytes
    published = inputs.shards * inputs.publication_bytes / cycle.publication_s
    slots = trainer_slots(inputs)
    stored = inputs.shards * (d * cycle.answer_s * cycle.learned * inputs.row_bytes + inputs.publication_bytes)
    return Capacity(
        rows_per_s=inputs.shards * d * inputs.rows,
        trainer_rows_per_s=inputs.shards * d * inputs.rows / loads["trainer"],
        load=loads[bottleneck],
        dropped_share=1 - cycle.learned,
        hidden_bytes_per_s=sent,
        total_hidden_bytes_per_s=inputs.shards * sent,
        steps_per_letter=cycle.steps,
        publication_s=cycle.publication_s,
        publication_bytes_per_s=published,
        lag=mean_lag(inputs, cycle),
        slowdown=1 / (1 - min(0.5, inputs.exchange_share)),
        step_s=step_seconds(inputs, costs),
        publish_s=publish_seconds(inputs, costs),
        trainer_bytes=slots * inputs.slot_bytes,
        shard_bytes=inputs.max_groups * inputs.slot_bytes,
        object_store_bytes=stored,
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
    """Of one trainer; as actors.trainer_pool.slots_per_trainer, which leaves slack for groups that are spread unevenly."""
    everyone = inputs.max_groups * inputs.shards
    each = everyone if inputs.trainers == 1 else min(everyone, math.ceil(1.5 * everyone / inputs.trainers) + 8)
    return each + (inputs.scope == "prior")


def mean_lag(inputs: CapacityInputs, cycle: Cycle) -> float:
    """Decode steps. Weights are as old as their letter's answer when they come, and one step older with each step until the next; a group
    that lives `answer_tokens` steps has none before its first, and lags by its own age."""
    d = inputs.steps_per_s
    first = max(1.0, 0.5 + d * cycle.answer_s)
    lag = first + max(0.0, d * cycle.publication_s - 1) / 2
    if not inputs.is_per_prompt:
        return lag
    life = inputs.answer_tokens
    return max(1.0, lag - lag * lag / (2 * life)) if lag < life else max(1.0, life / 2)


def local_capacity(inputs: CapacityInputs, costs: TrainerCosts) -> Capacity:
    """trainer="local": nothing travels and nothing is dropped; training shares the shard's device."""
    step_s = step_seconds(inputs, costs)
    load = inputs.steps_per_s * step_s
    slots = inputs.max_groups + (inputs.scope == "prior")
    return Capacity(
        rows_per_s=inputs.shards * inputs.steps_per_s * inputs.rows / (1 + load),
        trainer_rows_per_s=inputs.shards * inputs.rows / step_s,
        load=load,
        dropped_share=0.0,
        hidden_bytes_per_s=0.0,
        total_hidden_bytes_per_s=0.0,
        steps_per_letter=0.0,
        publication_s=0.0,
        publication_bytes_per_s=0.0,
        lag=1.0,
        slowdown=1 + load,
        step_s=step_s,
        publish_s=0.0,
        trainer_bytes=0.0,
        shard_bytes=slots * inputs.slot_bytes,
        object_store_bytes=0.0,
        bottleneck="shard",
    )
