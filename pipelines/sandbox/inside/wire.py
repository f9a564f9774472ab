"""Frames on a pipe: four bytes of length, most significant first, then that much JSON, or bytes as they are."""

import json
import os
from typing import Any

MAX_FRAME_BYTES = 16 * 2**20
"""What one call may hand over. Bounds what a program can make its grader read."""
MAX_TRUSTED_BYTES = 2**32 - 1
"""The same on the way to the program, where whoever sends is trusted: as much as four bytes can say."""


class WireError(Exception):
    """The other side closed the pipe, or sent what is no frame."""


def send(fd: int, message: object, *, max_bytes: int = MAX_FRAME_BYTES) -> None:
    """Write one message. Raises WireError if it is too long, BrokenPipeError if nobody reads."""
    send_bytes(fd, json.dumps(message).encode("ascii"), max_bytes=max_bytes)


def receive(fd: int, *, max_bytes: int = MAX_FRAME_BYTES) -> Any:
    """Read one message. Raises WireError at the end of the pipe or at anything that is no frame."""
    try:
        return json.loads(receive_bytes(fd, max_bytes=max_bytes))
    except (ValueError, RecursionError) as error:
        raise WireError(f"a frame that is not JSON: {type(error).__name__}") from error


def send_bytes(fd: int, body: bytes, *, max_bytes: int = MAX_FRAME_BYTES) -> None:
    """Write one frame as it is. Raises as `send`."""
    if len(body) > max_bytes:
        raise WireError(f"{len(body)} bytes at once; at most {max_bytes} can be handed over")
    view = memoryview(len(body).to_bytes(4, "big") + body)
    while view:
        view = view[os.write(fd, view) :]


def receive_bytes(fd: int, *, max_bytes: int = MAX_FRAME_BYTES) -> bytes:
    """Read one frame as it is. Raises WireError as `receive`."""
    length = int.from_bytes(read_exactly(fd, 4), "big")
    if length > max_bytes:
        raise WireError(f"a frame of {length} bytes; at most {max_bytes} can be handed over")
    return read_exactly(fd, length)


def read_exactly(fd: int, length: int) -> bytes:
    """`length` bytes, or WireError if the pipe ends before."""
    parts = []
    while length:
        part = os.read(fd, min(length, 2**20))
        if not part:
            raise WireError("the pipe was closed")
        parts.append(part)
        length -= len(part)
    return b"".join(parts)
