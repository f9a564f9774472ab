"""vLLM's asynchronous scheduling on a CPU, where vLLM switches it off because there is nothing to overlap.

It is switched on again, and CUDA's streams and events, which only order copies, are stand-ins that do nothing. Steps then run in the order
they would on a GPU: step t+1 is scheduled, and its forward pass and draw made, before the scheduler has seen the tokens of step t.
"""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import pytest
import torch
from vllm.platforms.cpu import CpuPlatform


class NoStream:
    """A stream, or an event, on which everything is done already."""

    def __init__(self, *args: object, **kwargs: object) -> None:
        self.device = torch.device("cpu")

    def wait_stream(self, stream: object) -> None: ...

    def record(self, *args: object) -> None: ...

    def synchronize(self) -> None: ...


@contextmanager
def scheduling_ahead() -> Iterator[None]:
    """Engines that start inside, and run inside, schedule asynchronously."""
    check = CpuPlatform.check_and_update_config.__func__

    def check_and_schedule_ahead(cls: type[CpuPlatform], config: Any) -> None:
        check(cls, config)
        config.scheduler_config.async_scheduling = True

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(CpuPlatform, "check_and_update_config", classmethod(check_and_schedule_ahead))
        for name in ("Stream", "Event", "current_stream"):
            patch.setattr(torch.cuda, name, NoStream)
        patch.setattr(torch.cuda, "stream", lambda stream: nullcontext())
        yield
