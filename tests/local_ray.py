"""A Ray for the tests of a package, in this process, and what must not outlive it."""

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

import ray

PACKAGES = frozenset({"esamp", "actors", "pipelines", "jobs"})


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
        assert own_threads() == [], "these threads go on after the tests that started them: end them there"
    finally:
        ray.shutdown()


def own_threads() -> list[str]:
    """Names of the threads, but the main one, that run functions of the project's packages."""
    frames = sys._current_frames()
    others = [thread for thread in threading.enumerate() if thread is not threading.main_thread()]
    return sorted(thread.name for thread in others if thread.ident in frames and is_own(frames[thread.ident]))


def is_own(frame: FrameType | None) -> bool:
    """Whether a function of the project's is under way in a frame or below it."""
    while frame is not None:
        if frame.f_globals.get("__name__", "").partition(".")[0] in PACKAGES:
            return True
        frame = frame.f_back
    return False
