"""Numbers of a run for Prometheus, through ray.util.metrics: Ray exports them on every node's metrics port under the prefix ray_."""
