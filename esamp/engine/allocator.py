"""Settings of glibc's memory allocator that make it keep what torch frees.

A decode step allocates and frees arrays of batch x vocabulary numbers. By default glibc gives such blocks back to the system and gets them
again, zeroed page by page, in every step: milliseconds on a CPU, and now more, now less, by chance.
"""

import ctypes
import logging

logger = logging.getLogger(__name__)

M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_THRESHOLD = -1, -2, -3
LARGEST_KEPT_BLOCK = 32 * 2**20
"""Larger blocks still come from the system: glibc accepts no higher threshold."""
KEPT_AT_THE_TOP = 2**30
HEADROOM = 64 * 2**20


def keep_freed_memory() -> bool:
    """Let this process keep up to 1 GiB of freed memory. False, with a line in the log, where the C library is not glibc."""
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except AttributeError:
        logger.info("esamp: no mallopt in this C library; large arrays cost page faults in every step")
        return False
    settings = (
        (M_MMAP_THRESHOLD, LARGEST_KEPT_BLOCK),
        (M_TRIM_THRESHOLD, KEPT_AT_THE_TOP),
        (M_TOP_PAD, HEADROOM),
    )
    return all(mallopt(name, value) == 1 for name, value in settings)
