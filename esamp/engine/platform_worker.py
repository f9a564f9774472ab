"""vLLM's own worker for this platform: the class that ours extends."""

from vllm.platforms import current_platform
from vllm.v1.core.sched.output import SchedulerOutput
from vllm.v1.worker.gpu_worker import Worker

__all__ = ["IS_CPU", "PlatformWorker", "SchedulerOutput"]

IS_CPU: bool = current_platform.is_cpu()

PlatformWorker: type[Worker] = Worker
if IS_CPU:
    from vllm.v1.worker.cpu_worker import CPUWorker

    PlatformWorker = CPUWorker
