"""Where small actors live."""

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy


def drivers_node() -> NodeAffinitySchedulingStrategy:
    """The node of this process, for actors that hold a session's state: if that node is lost, so is the driver, and no state without a
    driver is left."""
    return NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
