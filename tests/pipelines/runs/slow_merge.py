"""jobs.merge on a disk that takes its time, for a test that stops it.

python -m tests.pipelines.runs.slow_merge OUTPUT RUN...
"""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO

from jobs import merge
from pipelines.runs.storage import LocalStorage

fast = LocalStorage.atomic_file


@contextmanager
def slow(self: LocalStorage, name: str) -> Iterator[BinaryIO]:
    time.sleep(0.1)
    with fast(self, name) as file:
        yield file


if __name__ == "__main__":
    LocalStorage.atomic_file = slow  # type: ignore[method-assign]
    merge.main(sys.argv[1:])
