"""Where small actors live."""

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy


def drivers_node() -> NodeAffinitySchedulingStrategy:
    """The node of this process, for actors that hold what a session knows: a node that takes them away takes their driver as well."""
    return NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
