"""Frames on a pipe: four bytes of length, most significant first, then that much JSON."""

import json
import os
from typing import Any

MAX_FRAME_BYTES = 16 * 2**20
"""What one call may hand over. Bounds what a program can make its grader read."""


class WireError(Exception):
    """The other side closed the pipe, or sent what is no frame."""


def send(fd: int, message: object) -> None:
    """Write one message. Raises WireError if it is too long, BrokenPipeError if nobody reads."""
    body = json.dumps(message).encode("ascii")
    if len(body) > MAX_FRAME_BYTES:
        raise WireError(f"{len(body)} bytes at once; at most {MAX_FRAME_BYTES} can be handed over")
    view = memoryview(len(body).to_bytes(4, "big") + body)
    while view:
        view = view[os.write(fd, view) :]


def receive(fd: int) -> Any:
    """Read one message. Raises WireError at the end of the pipe or at anything that is no frame."""
    length = int.from_bytes(read_exactly(fd, 4), "big")
    if length > MAX_FRAME_BYTES:
        raise WireError(f"a frame of {length} bytes; at most {MAX_FRAME_BYTES} can be handed over")
    try:
        return json.loads(read_exactly(fd, length))
    except (ValueError, RecursionError) as error:
        raise WireError(f"a frame that is not JSON: {type(error).__name__}") from error


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
