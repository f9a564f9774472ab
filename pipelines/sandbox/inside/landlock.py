"""Landlock: this process and its children may read what is named, and write nothing but /dev/null.

Linux 5.13 and later (Documentation/userspace-api/landlock.rst). What a kernel's version of it does not cover, the seccomp filter denies.
"""

import ctypes
import os
from collections.abc import Sequence

from pipelines.sandbox.inside.kernel import PR_SET_NO_NEW_PRIVS, prctl, syscall

CREATE_RULESET, ADD_RULE, RESTRICT_SELF = 444, 445, 446
VERSION_FLAG = 1
PATH_BENEATH = 1
EXECUTE, WRITE_FILE, READ_FILE, READ_DIR = 1 << 0, 1 << 1, 1 << 2, 1 << 3
FILE_RIGHTS = {1: 13, 2: 14, 3: 15, 5: 16}
"""Version -> how many rights over files there are from then on, counted from bit 0."""
NET_VERSION, NET_RIGHTS = 4, 0b11  # bind and connect TCP
SCOPE_VERSION, SCOPES = 6, 0b11  # abstract sockets and signals


class Ruleset(ctypes.Structure):
    """struct landlock_ruleset_attr."""

    _fields_ = (("files", ctypes.c_uint64), ("net", ctypes.c_uint64), ("scoped", ctypes.c_uint64))


class PathRule(ctypes.Structure):
    """struct landlock_path_beneath_attr."""

    _pack_ = 1
    _fields_ = (("allowed", ctypes.c_uint64), ("parent", ctypes.c_int32))


def landlock_version() -> int:
    """The kernel's Landlock version, 1 or more. Raises OSError where it has none or has it switched off."""
    return syscall(CREATE_RULESET, None, ctypes.c_size_t(0), ctypes.c_uint32(VERSION_FLAG))


def allow_reading_only(paths: Sequence[str]) -> None:
    """Restrict this process, for good. Paths that do not exist are left out. Raises OSError where the kernel cannot."""
    version = landlock_version()
    handled = (1 << max(count for since, count in FILE_RIGHTS.items() if since <= version)) - 1
    ruleset = Ruleset(handled, NET_RIGHTS if version >= NET_VERSION else 0, SCOPES if version >= SCOPE_VERSION else 0)
    # An older kernel knows a shorter struct and accepts ours, as long as the rest of it is zero.
    ruleset_fd = syscall(
        CREATE_RULESET, ctypes.byref(ruleset), ctypes.c_size_t(ctypes.sizeof(ruleset)), ctypes.c_uint32(0)
    )
    for path in filter(os.path.exists, paths):
        allow(ruleset_fd, path, EXECUTE | READ_FILE | (READ_DIR if os.path.isdir(path) else 0))
    allow(ruleset_fd, os.devnull, READ_FILE | WRITE_FILE)
    prctl(PR_SET_NO_NEW_PRIVS, 1)
    syscall(RESTRICT_SELF, ctypes.c_int(ruleset_fd), ctypes.c_uint32(0))
    os.close(ruleset_fd)


def allow(ruleset_fd: int, path: str, rights: int) -> None:
    """Add a rule: these rights at and under the path."""
    path_fd = os.open(path, os.O_PATH | os.O_CLOEXEC)
    rule = PathRule(rights, path_fd)
    syscall(ADD_RULE, ctypes.c_int(ruleset_fd), ctypes.c_int(PATH_BENEATH), ctypes.byref(rule), ctypes.c_uint32(0))
    os.close(path_fd)
