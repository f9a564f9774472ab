"""vLLM's own metrics of a shard's engine, through Ray: every node exports them beside its others, as ray_vllm_*, with the label `engine`.

vLLM observes the time between two tokens for each running request in each step; with a full batch that is most of what its metrics cost,
and `ray_vllm_request_time_per_output_token_seconds` has the same per request. The histogram of single gaps is left out.
"""

from typing import Any

from vllm.config import VllmConfig
from vllm.v1.metrics import ray_wrappers
from vllm.v1.metrics.ray_wrappers import RayPrometheusStatLogger
from vllm.v1.metrics.stats import IterationStats, MultiModalCacheStats, SchedulerStats

from actors.config import EngineConfig


def exports_metrics(config: EngineConfig) -> bool:
    """True if they are asked for and can be had: vLLM's wrappers of Ray's metrics need the packages of Ray Serve, also where nothing is
    served."""
    return config.vllm_metrics and ray_wrappers.ray_metrics is not None


def engine_metrics(shard: str) -> type[RayPrometheusStatLogger]:
    """A stat logger for the engine of one shard. A class, since vLLM makes its loggers itself, and takes one that is no class for another
    kind."""

    class ShardMetrics(RayPrometheusStatLogger):
        """Its engine has the shard's name: vLLM's own would be "0" on every shard."""

        def __init__(self, vllm_config: VllmConfig, engine_indexes: list[int] | None = None) -> None:
            super().__init__(vllm_config, [shard])

        def record(
            self,
            scheduler_stats: SchedulerStats | None,
            iteration_stats: IterationStats | None,
            mm_cache_stats: MultiModalCacheStats | None = None,
            engine_idx: Any = 0,
        ) -> None:
            """As vLLM's, after each step, without the gaps between tokens."""
            if iteration_stats is not None:
                iteration_stats.inter_token_latencies_iter.clear()
            super().record(scheduler_stats, iteration_stats, mm_cache_stats, engine_idx=shard)

    return ShardMetrics
