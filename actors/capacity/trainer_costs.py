"""Seconds that a DistillerTrainer's work takes on one kind of machine: measured on a CPU, assumed for a GPU. Standard library only."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainerCosts:
    """Seconds of a trainer's work, and of a shard's side of the exchange, on one kind of machine."""

    machine: str
    """What was measured, and when; or what is assumed."""
    message_s: float
    """Trainer, per message: Ray, and what does not grow with its decode steps."""
    step_s: float
    """Trainer, per decode step in a message."""
    group_s: float
    """Trainer, per group in a step."""
    flop_s: float
    """Trainer, per floating-point operation of the matrix products."""
    weight_byte_s: float
    """Trainer, per byte of the weights in a step: all passes over weights, gradient and moments together."""
    row_byte_s: float
    """Trainer, per byte of hidden states in a step."""
    update_s: float
    """Trainer, per weight update."""
    update_byte_s: float
    """Trainer, per byte of a weight update: gathered, and put into the object store."""
    latency_s: float
    """Round trip of a message and its answer on an idle exchange: calls, and threads that must notice them."""
    send_s: float
    """Processor time of a shard per message."""
    send_byte_s: float
    """Processor time of a shard per byte of hidden states."""
    receive_s: float
    """Processor time of a shard per weight update."""
    receive_byte_s: float
    """Processor time of a shard per byte of weights."""


MEASURED_CPU = TrainerCosts(
    machine="one thread of an AMD EPYC with 2 cores, measured 2026-11-25",
    message_s=1.69e-3,
    step_s=0.369e-3,
    group_s=60e-6,
    flop_s=1.6e-11,
    weight_byte_s=6.87e-10,
    row_byte_s=1.3e-9,
    update_s=1.49e-3,
    update_byte_s=6.65e-10,
    latency_s=4.69e-3,
    send_s=1.6e-3,
    send_byte_s=1.66e-10,
    receive_s=0.406e-3,
    receive_byte_s=3.07e-10,
)
"""Fitted to 15 shapes (hidden 256 to 4096, width 48 to 384, 1 to 32 groups) whose messages went through a trainer's actor on a quiet
machine; torch 2.13, Ray 2.60. A message of one step is within 42% of its measurement, half of them within 7%. Weights of 75 MB and more
leave the processor's caches: there the fit is 1.4 times too low."""

ASSUMED_GPU = TrainerCosts(
    machine="a data-centre GPU, assumed: 1.5 TB/s, 20 TFLOP/s in fp32, 20 GB/s to the host, 5 GB/s into the object store",
    message_s=1.5e-3,
    step_s=0.5e-3,
    group_s=60e-6,
    flop_s=1 / 2e13,
    weight_byte_s=11 / 1.5e12,
    row_byte_s=1 / 2e10,
    update_s=0.5e-3,
    update_byte_s=1 / 2e10 + 1 / 5e9,
    latency_s=3e-3,
    send_s=1e-3,
    send_byte_s=1 / 5e9,
    receive_s=0.5e-3,
    receive_byte_s=1 / 5e9 + 1 / 2e10,
)
"""Not measured: no GPU was at hand. 11 passes: weights read by three products and Adam, gradient written, read for its norm and by Adam,
moments read and written, weights written."""
