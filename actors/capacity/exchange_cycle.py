"""The rhythm that letters and weights between shards and a trainer settle in, and how old weights are in it. Standard library only."""

import math
from dataclasses import dataclass

from actors.capacity.inputs import FP32, CapacityInputs
from actors.capacity.trainer_costs import TrainerCosts
from esamp.scope import SCOPES

MOST_STEPS = 32
"""Decode steps that one letter may carry."""
LEAST_STEPS = 4
"""The same once rows are dropped."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Cycle:
    """The rhythm of one shard's letters to one trainer."""

    letter_s: float
    """T: time between two letters."""
    answer_s: float
    """From a letter to its answer."""
    weights_s: float
    """From a letter with rows to weights that have learned from them."""
    publication_s: float
    """T_w: time between two publications."""
    steps: float
    """k: decode steps in a letter."""
    learned: float
    """Share of steps that a letter carries."""


def step_seconds(inputs: CapacityInputs, costs: TrainerCosts) -> float:
    """One optimiser step of each group in a letter's part of a decode step; with scope="prior" one more of the prior on the same rows."""
    flops = 14 * inputs.num_blocks * inputs.hidden_size * inputs.inner_width * inputs.rows
    twice, prior = (2, 1) if SCOPES[inputs.scope].learns_init else (1, 0)
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
        needed_s, answer_s, publication_s = cycle_needs(inputs, costs, cycle_s, steps=d * cycle_s)
        if needed_s <= cycle_s * (1 + 1e-6):
            break
        cycle_s = needed_s
        if d * cycle_s > MOST_STEPS:
            return overloaded_cycle(inputs, costs)
    asking_s = pace_seconds(inputs, costs, d * cycle_s)[0] if asks_apart(inputs, costs, cycle_s) else 0.0
    return Cycle(
        letter_s=cycle_s,
        answer_s=answer_s,
        weights_s=asking_s + answer_s,
        publication_s=publication_s,
        steps=d * cycle_s,
        learned=1.0,
    )


def overloaded_cycle(inputs: CapacityInputs, costs: TrainerCosts) -> Cycle:
    """The rhythm while rows are dropped, LEAST_STEPS a letter: the shortest cycle that leaves the trainer time for its answers."""
    low = high = LEAST_STEPS / inputs.steps_per_s
    while cycle_needs(inputs, costs, high, steps=LEAST_STEPS)[0] > high:
        low, high = high, 2 * high
    for _ in range(50):
        middle = (low + high) / 2
        needed_s, _, _ = cycle_needs(inputs, costs, middle, steps=LEAST_STEPS)
        low, high = (low, middle) if needed_s <= middle else (middle, high)
    _, answer_s, publication_s = cycle_needs(inputs, costs, high, steps=LEAST_STEPS)
    learned = min(1.0, LEAST_STEPS / (inputs.steps_per_s * high))
    return Cycle(
        letter_s=high,
        answer_s=answer_s,
        weights_s=answer_s,
        publication_s=publication_s,
        steps=LEAST_STEPS,
        learned=learned,
    )


def cycle_needs(
    inputs: CapacityInputs, costs: TrainerCosts, cycle_s: float, *, steps: float
) -> tuple[float, float, float]:
    """With a letter of so many steps every `cycle_s`: the least cycle that a shard's steps, its pace and the trainer's answers take, the
    time to an answer, and that between publications."""
    letters_s, weights_s = pace_seconds(inputs, costs, steps)
    # As if every letter brought weights: the wait for those that do.
    way_s = min(cycle_s, answer_seconds(inputs, costs, cycle_s, cycle_s, steps=steps))
    publication_s = publication_seconds(inputs, cycle_s, way_s + weights_s)
    answer_s = answer_seconds(inputs, costs, cycle_s, publication_s, steps=steps)
    return max(1 / inputs.steps_per_s, letters_s, answer_s), answer_s, publication_s


def publication_seconds(inputs: CapacityInputs, cycle_s: float, due_s: float) -> float:
    """Between two publications, if weights are due so long after the letter that brought the last ones: their way, and the shard's rest
    from their arrival on. They come with letters, of which one is always under way or resting, unless letters wait for the next step: then
    one without rows asks for them."""
    if due_s <= cycle_s * (1 + 1e-6):
        return cycle_s
    return due_s if waits_for_steps(inputs, cycle_s) else cycle_s * math.ceil(due_s / cycle_s - 1e-6)


def waits_for_steps(inputs: CapacityInputs, cycle_s: float) -> bool:
    """True if a letter goes out with every decode step."""
    return inputs.steps_per_s * cycle_s <= 1 + 1e-6


def asks_apart(inputs: CapacityInputs, costs: TrainerCosts, cycle_s: float) -> bool:
    """True if letters without rows ask for weights. A letter that goes out with its step leaves just after the step has taken over the
    weights of the one before, while the shard rests from that: then it cannot ask, and another follows that does."""
    _, weights_s = pace_seconds(inputs, costs, steps=1)
    return waits_for_steps(inputs, cycle_s) and weights_s > costs.send_s


def trainer_seconds(
    inputs: CapacityInputs, costs: TrainerCosts, cycle_s: float, publication_s: float, *, steps: float
) -> float:
    """What a letter with rows takes a trainer on average, with its part of the publications and of the letters that ask for them."""
    publications = cycle_s / max(cycle_s, publication_s)
    asking_s = costs.letter_s if asks_apart(inputs, costs, cycle_s) else 0.0
    step_s, publish_s = step_seconds(inputs, costs), publish_seconds(inputs, costs)
    return costs.letter_s + steps * step_s + publications * (asking_s + publish_s)


def answer_seconds(
    inputs: CapacityInputs, costs: TrainerCosts, cycle_s: float, publication_s: float, *, steps: float
) -> float:
    """From a letter to its answer, where every shard sends one each `cycle_s` and weights come no oftener than each `publication_s`."""
    n, part = inputs.senders, inputs.part
    publications = cycle_s / max(cycle_s, publication_s)
    work_s = trainer_seconds(inputs, costs, cycle_s, publication_s, steps=steps)
    rows_s = part * steps * inputs.row_bytes / inputs.network_bytes_per_s
    weights_s = part * publications * inputs.publication_bytes / inputs.network_bytes_per_s
    slowest_s = max(work_s, rows_s, weights_s)
    load = n * slowest_s / cycle_s
    queue_s = load * slowest_s / (2 * (1 - load)) if load < 1 else math.inf
    return costs.way_s + rows_s + work_s + weights_s + min(queue_s, (n - 1) * slowest_s)


def least_lag(inputs: CapacityInputs, cycle: Cycle) -> float:
    """Of weights at the first step after their arrival, in decode steps, on average. A letter that did not wait for a step leaves at any
    time between two."""
    way = inputs.steps_per_s * cycle.weights_s
    return max(1.0, 0.5 + way) if waits_for_steps(inputs, cycle.letter_s) else 1 + way


def mean_lag(inputs: CapacityInputs, cycle: Cycle) -> float:
    """Decode steps. Weights are as old as their letter's answer when they come, and one step older with each step until the next; a group
    that lives `answer_tokens` steps has none before its first, and lags by its own age."""
    lag = least_lag(inputs, cycle) + max(0.0, inputs.steps_per_s * cycle.publication_s - 1) / 2
    if not inputs.is_per_prompt:
        return lag
    life = inputs.answer_tokens
    return max(1.0, lag - lag * lag / (2 * life)) if lag < life else max(1.0, life / 2)


def lag_quantile(inputs: CapacityInputs, cycle: Cycle, share: float) -> float:
    """Decode steps that weights are behind in `share` of all steps at most: the lag grows evenly from one publication to the next."""
    d, life = inputs.steps_per_s, inputs.answer_tokens
    least, growth = least_lag(inputs, cycle), max(0.0, d * cycle.publication_s - 1)
    lag = least + share * growth
    if not inputs.is_per_prompt:
        return lag
    # Of a group that is younger than its weights would be old the lag is its age, evenly spread over its life.
    low, high = 0.0, life
    for _ in range(50):
        lag = (low + high) / 2
        older = 1.0 if lag < least else 1 - (lag - least) / growth if lag < least + growth else 0.0
        low, high = (lag, high) if 1 - (1 - lag / life) * older < share else (low, lag)
    return max(1.0, lag)


def trainer_busy(inputs: CapacityInputs, costs: TrainerCosts, cycle: Cycle) -> float:
    """Share of its time that a trainer works."""
    letter_s = trainer_seconds(inputs, costs, cycle.letter_s, cycle.publication_s, steps=cycle.steps)
    return min(1.0, inputs.senders * letter_s / cycle.letter_s)


def exchange_time(inputs: CapacityInputs, costs: TrainerCosts, cycle: Cycle) -> float:
    """Share of a shard's time that its exchange with all trainers takes."""
    rest = 2 / inputs.exchange_share
    letters_s, weights_s = pace_seconds(inputs, costs, cycle.steps)
    asking_s = rest * costs.send_s if asks_apart(inputs, costs, cycle.letter_s) else 0.0
    return (letters_s / cycle.letter_s + (asking_s + weights_s) / cycle.publication_s) / rest / inputs.part


def stored_bytes(inputs: CapacityInputs, costs: TrainerCosts, cycle: Cycle) -> float:
    """Of one shard's letters, until they are answered, and of publications to it, until it has copied them."""
    letters = inputs.steps_per_s * cycle.learned * inputs.row_bytes * cycle.answer_s
    fetching_s = costs.way_s / 2 + inputs.part * inputs.publication_bytes * costs.take_byte_s
    return letters + inputs.publication_bytes * min(1.0, fetching_s / cycle.publication_s)
