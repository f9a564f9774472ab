"""A Ray for the tests of a package, in this process, and what must not outlive it."""

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

import ray

PACKAGES = frozenset({"esamp", "actors", "pipelines", "jobs"})
WITHOUT_RAY = frozenset({"engine", "distiller"})
"""Threads of an engine in this process. They never call Ray, and end with the process."""


@contextmanager
def local_ray(*, num_cpus: int) -> Iterator[None]:
    """Ray for the block. AssertionError if a thread of the project's is left at its end: what such a thread asks of Ray next would meet
    another Ray or none, and Ray ends the process without a word where that goes wrong."""
    ray.init(
        address="local",
        num_cpus=num_cpus,
        object_store_memory=256 * 2**20,
        include_dashboard=False,
        log_to_driver=False,
    )
    try:
        yield
        left = own_threads()
        assert left == [], f"threads {left} go on after the tests that started them: end them there"
    finally:
        ray.shutdown()


def own_threads() -> list[str]:
    """Names of the threads that run functions of the project's packages and may call Ray."""
    frames = sys._current_frames()
    others = [thread for thread in threading.enumerate() if thread is not threading.main_thread()]
    own = [thread.name for thread in others if thread.ident in frames and is_own(frames[thread.ident])]
    return sorted(name for name in own if name not in WITHOUT_RAY)


def is_own(frame: FrameType | None) -> bool:
    """Whether a function of the project's is under way in a frame or below it."""
    while frame is not None:
        if frame.f_globals.get("__name__", "").partition(".")[0] in PACKAGES:
            return True
        frame = frame.f_back
    return False
