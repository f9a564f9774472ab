"""Models that an exchange is planned for: hidden sizes, and decode steps a second that are published or assumed, never measured here."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelShape:
    """What an exchange must know of a model, and how fast one shard of it decodes."""

    name: str
    hidden_size: int
    steps_per_s: float
    """Decode steps of one shard a second, with a full batch."""
    source: str
    """Where steps_per_s comes from."""
    gpus: int = 1
    """Of one shard."""


MODEL_SHAPES = {
    "7b": ModelShape(
        name="7b",
        hidden_size=3584,
        steps_per_s=41.0,
        source="Qwen2.5-7B on an RTX 4090: 5,305 tokens/s with 128 rows (tLLM's published figure)",
    ),
    "32b": ModelShape(
        name="32b",
        hidden_size=5120,
        steps_per_s=64.0,
        gpus=2,
        source="assumed: Qwen2.5-32B, bf16 weights read once a step at 6.7 TB/s (2 H100), times the 0.63 of that bound that 7B reaches",
    ),
    "70b": ModelShape(
        name="70b",
        hidden_size=8192,
        steps_per_s=60.0,
        gpus=4,
        source="assumed: Llama-3.1-70B, bf16 weights read once a step at 13.4 TB/s (4 H100), times the same 0.63",
    ),
}
