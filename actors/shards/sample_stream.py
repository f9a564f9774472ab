"""Finished samples of one work unit, on their way from the engine's thread to the event loop that asked for them."""

import asyncio
from collections.abc import AsyncIterator

from actors.types import Sample


class SampleStream:
    """Written by the engine's thread, read once by a coroutine. Unbounded: a reader that is slow, or gone, never holds the engine up."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        """`loop`: the reader's. asyncio's queue belongs to it, so the engine's thread hands everything over through it."""
        self._loop = loop
        self._queue: asyncio.Queue[Sample | BaseException | None] = asyncio.Queue()

    def put(self, sample: Sample) -> None:
        """A sample is finished. Engine's thread."""
        self._send(sample)

    def end(self) -> None:
        """There will be no further one. Engine's thread."""
        self._send(None)

    def fail(self, error: BaseException) -> None:
        """There will be no further one, for this reason. Engine's thread."""
        self._send(error)

    async def __aiter__(self) -> AsyncIterator[Sample]:
        """The samples as they finish. Raises what `fail` was given."""
        while (item := await self._queue.get()) is not None:
            if isinstance(item, BaseException):
                raise item
            yield item

    def _send(self, item: Sample | BaseException | None) -> None:
        self._loop.call_soon_threadsafe(self._queue.put_nowait, item)
