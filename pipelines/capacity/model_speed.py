"""How fast a model decodes, from its shape: orders of magnitude, made without an engine."""

from typing import Any

from pipelines.config.run import RunConfig

CPU_FLOPS_PER_CORE = 2e10
GPU_FLOPS = 2e14
GPU_BYTES_PER_S = 1.5e12
STEP_OVERHEAD_S = {"cpu": 0.02, "gpu": 0.006}
"""Per decode step: the engine's own work, sampling and the Distiller. These four are orders of magnitude, not measurements of your
machine: the estimate is for telling minutes from days."""


def tokens_per_s(config: RunConfig, parameters: float) -> float:
    """Of one shard with a full batch: two floating-point operations per parameter and token, or one pass over the weights per step
    where that takes longer."""
    engine = config.engine
    batch = engine.max_num_seqs
    if engine.num_gpus:
        arithmetic_s = 2 * parameters * batch / GPU_FLOPS
        weights_s = 2 * parameters / GPU_BYTES_PER_S
        return batch / (max(arithmetic_s, weights_s) + STEP_OVERHEAD_S["gpu"])
    return batch / (2 * parameters * batch / (CPU_FLOPS_PER_CORE * engine.num_cpus) + STEP_OVERHEAD_S["cpu"])


def num_parameters(model_config: Any) -> float:
    """Roughly: embeddings, and per layer attention and a gated MLP of the width the config states."""
    hidden, layers = model_config.hidden_size, model_config.num_hidden_layers
    # GPT-2 and its kin do not name the width of their feed-forward layers.
    width = model_config.to_dict().get("intermediate_size") or 4 * hidden
    return model_config.vocab_size * hidden + layers * (4 * hidden**2 + 3 * hidden * width)
