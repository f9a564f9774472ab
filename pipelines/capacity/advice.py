"""What a capacity plan comes to, in words."""

from dataclasses import replace

from actors.capacity.inputs import CapacityInputs
from actors.capacity.model import plan_capacity
from actors.capacity.trainer_costs import TrainerCosts

COMFORTABLE_LOAD = 0.8
"""Load up to which waits stay short."""
MOST_TRAINERS = 2
"""Per shard: more than these would cost more than they are worth."""
MAX_STALENESS = 256
"""Default of ESampConfig.max_staleness: beta fades from half of it on."""


def carries(inputs: CapacityInputs, costs: TrainerCosts) -> bool:
    """True if no row is dropped and beta does not fade."""
    capacity = plan_capacity(inputs, costs)
    return capacity.dropped_share == 0 and capacity.lag <= MAX_STALENESS / 2


def verdict(inputs: CapacityInputs, costs: TrainerCosts) -> str:
    """The plan in a sentence, with the way out."""
    capacity = plan_capacity(inputs, costs)
    if inputs.trainer == "local":
        return f"fits; a decode step takes at most {capacity.slowdown - 1:.0%} longer"
    told = f"fits; the {capacity.bottleneck} is {capacity.load:.0%} busy"
    if capacity.dropped_share > 0:
        told = f"the {capacity.bottleneck} is {times(capacity.load)} too slow, {capacity.dropped_share:.0%} of rows are dropped"
    if capacity.lag > MAX_STALENESS / 2:
        told = (
            f"{told}, beta fades"
            if capacity.dropped_share > 0
            else "nothing is dropped, but beta fades: weights come too seldom"
        )
    elif capacity.dropped_share == 0:
        return told
    return f"{told}: {way_out(inputs, costs)}"


def way_out(inputs: CapacityInputs, costs: TrainerCosts) -> str:
    """What to change."""
    trainers = trainers_needed(inputs, costs)
    if trainers is not None:
        return f"use --trainers {trainers}, or trainer local"
    if inputs.scope == "cluster":
        return "use scope shard with trainer local"
    return "more trainers do not help, use trainer local"


def trainers_needed(inputs: CapacityInputs, costs: TrainerCosts) -> int | None:
    """Few trainers with which the load is comfortable and beta does not fade; None if no number will do."""
    trainers = inputs.trainers
    while trainers <= MOST_TRAINERS * inputs.shards:
        capacity = plan_capacity(replace(inputs, trainers=trainers), costs)
        if capacity.load <= COMFORTABLE_LOAD and capacity.lag <= MAX_STALENESS / 2:
            return trainers
        trainers = max(trainers + 1, trainers * 9 // 8)
    return None


def times(factor: float) -> str:
    """A factor of 3.21 as 3.2x, one of 321 as 321x."""
    return f"{factor:.1f}x" if factor < 10 else f"{factor:,.0f}x"
