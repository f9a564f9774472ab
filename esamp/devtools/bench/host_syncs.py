"""How often a decode step makes the host wait for the GPU: a cost that shows only on a fast GPU."""

from collections.abc import Callable

import torch

WAITS = ("cudaStreamSynchronize", "cudaDeviceSynchronize", "cudaEventSynchronize", "cudaMemcpy")
"""CUDA runtime calls that return when the device is done; cudaMemcpyAsync is not one."""


def host_syncs(run: Callable[[], int]) -> float | None:
    """Waits per step while `run` makes some steps and returns how many; None without a GPU, where there is nothing to wait for."""
    if not torch.cuda.is_available():
        return None
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profile:
        steps = run()
    return sum(event.count for event in profile.key_averages() if event.key in WAITS) / steps
