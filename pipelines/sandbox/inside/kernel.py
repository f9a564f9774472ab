"""The few Linux calls that Python has no function for, through ctypes."""

import ctypes
import os

LIBC = ctypes.CDLL(None, use_errno=True)

PR_SET_PDEATHSIG = 1
PR_SET_DUMPABLE = 4
PR_SET_SECCOMP = 22
PR_SET_CHILD_SUBREAPER = 36
PR_SET_NO_NEW_PRIVS = 38
CAPSET = {"x86_64": 126, "aarch64": 91}


def prctl(option: int, argument: int, pointer: object = None) -> None:
    """prctl(2). Raises OSError."""
    if LIBC.prctl(option, ctypes.c_ulong(argument), pointer or ctypes.c_ulong(0), ctypes.c_ulong(0), ctypes.c_ulong(0)):
        raise failed("prctl")


def syscall(number: int, *arguments: object) -> int:
    """syscall(2). Raises OSError."""
    result: int = LIBC.syscall(ctypes.c_long(number), *arguments)
    if result < 0:
        raise failed(f"system call {number}")
    return result


def drop_capabilities() -> None:
    """Give up what root may do beyond what its files allow, for good."""
    header = (ctypes.c_uint32 * 2)(0x20080522, 0)  # _LINUX_CAPABILITY_VERSION_3, this thread
    none = (ctypes.c_uint32 * 6)()
    syscall(CAPSET[os.uname().machine], ctypes.byref(header), ctypes.byref(none))


def failed(what: str) -> OSError:
    """The error of the call just made."""
    number = ctypes.get_errno()
    return OSError(number, f"{what}: {os.strerror(number)}")
