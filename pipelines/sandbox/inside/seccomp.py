"""A seccomp filter: one process, one thread, no sockets, no signals to others, no sight of others' memory.

It denies by name what is known to do harm and everything newer than the kernels it was written for; a denied call fails with EPERM, so
that a program gets an exception and not a signal. Numbers: Linux 6.6, asm/unistd_64.h and asm-generic/unistd.h.
"""

import ctypes
import os
import struct

from pipelines.sandbox.inside.kernel import PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP, prctl

ARCHITECTURES = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}
"""Column of DENIED, and the kernel's AUDIT_ARCH."""
FIRST_UNKNOWN = 450
"""System calls from here on are answered ENOSYS, as by a kernel that has none: what they can do was not looked at."""

SIGNALS = {
    "kill": (62, 129),
    "tkill": (200, 130),
    "tgkill": (234, 131),
    "rt_sigqueueinfo": (129, 138),
    "rt_tgsigqueueinfo": (297, 240),
    "pidfd_send_signal": (424, 424),
}
DENIED: dict[str, tuple[int | None, int | None]] = {
    # Processes and threads.
    "fork": (57, None),
    "vfork": (58, None),
    "clone": (56, 220),
    "execve": (59, 221),
    "execveat": (322, 281),
    "setsid": (112, 157),
    "setpgid": (109, 154),
    # Other processes: their memory, files, limits and share of the machine.
    "ptrace": (101, 117),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "process_madvise": (440, 440),
    "process_mrelease": (448, 448),
    "pidfd_open": (434, 434),
    "pidfd_getfd": (438, 438),
    "kcmp": (312, 272),
    "setpriority": (141, 140),
    "ioprio_set": (251, 30),
    "sched_setaffinity": (203, 122),
    "sched_setscheduler": (144, 119),
    "sched_setparam": (142, 118),
    "sched_setattr": (314, 274),
    "migrate_pages": (256, 238),
    "move_pages": (279, 239),
    # Network.
    "socket": (41, 198),
    "bind": (49, 200),
    "connect": (42, 203),
    "listen": (50, 201),
    "accept": (43, 202),
    "accept4": (288, 242),
    # Memory that outlives its process or that its limit does not count.
    "shmget": (29, 194),
    "shmat": (30, 196),
    "shmctl": (31, 195),
    "semget": (64, 190),
    "semop": (65, 193),
    "semtimedop": (220, 192),
    "semctl": (66, 191),
    "msgget": (68, 186),
    "msgsnd": (69, 189),
    "msgrcv": (70, 188),
    "msgctl": (71, 187),
    "mq_open": (240, 180),
    "mq_unlink": (241, 181),
    "memfd_create": (319, 279),
    "memfd_secret": (447, 447),
    # Changes to files that Landlock does not know.
    "chmod": (90, None),
    "fchmod": (91, 52),
    "fchmodat": (268, 53),
    "chown": (92, None),
    "lchown": (94, None),
    "fchown": (93, 55),
    "fchownat": (260, 54),
    "setxattr": (188, 5),
    "lsetxattr": (189, 6),
    "fsetxattr": (190, 7),
    "removexattr": (197, 14),
    "lremovexattr": (198, 15),
    "fremovexattr": (199, 16),
    "utime": (132, None),
    "utimes": (235, None),
    "futimesat": (261, None),
    "utimensat": (280, 88),
    "truncate": (76, 45),
    "mknod": (133, None),
    "mknodat": (259, 33),
    "name_to_handle_at": (303, 264),
    "open_by_handle_at": (304, 265),
    # Namespaces, mounts, and the kernel's widest doors.
    "prctl": (157, 167),
    "seccomp": (317, 277),
    "personality": (135, 92),
    "unshare": (272, 97),
    "setns": (308, 268),
    "mount": (165, 40),
    "umount2": (166, 39),
    "pivot_root": (155, 41),
    "chroot": (161, 51),
    "open_tree": (428, 428),
    "move_mount": (429, 429),
    "fsopen": (430, 430),
    "fsconfig": (431, 431),
    "fsmount": (432, 432),
    "fspick": (433, 433),
    "mount_setattr": (442, 442),
    "io_uring_setup": (425, 425),
    "io_uring_enter": (426, 426),
    "io_uring_register": (427, 427),
    "bpf": (321, 280),
    "perf_event_open": (298, 241),
    "userfaultfd": (323, 282),
    "fanotify_init": (300, 262),
    "inotify_init": (253, None),
    "inotify_init1": (294, 26),
    "syslog": (103, 116),
    "add_key": (248, 217),
    "request_key": (249, 218),
    "keyctl": (250, 219),
}
DENIED_COMMANDS = {
    # fcntl and ioctl commands that send signals to whom they name, or type into a terminal.
    "fcntl": ((72, 25), (8, 10, 15)),  # F_SETOWN, F_SETSIG, F_SETOWN_EX
    "ioctl": ((16, 29), (0x8901, 0x8902, 0x5412, 0x541C)),  # FIOSETOWN, SIOCSPGRP, TIOCSTI, TIOCLINUX
}
PRLIMIT = (302, 261)
"""prlimit64, for this process only: it has no privilege to exceed what it was given, and programs of contests set their stack."""
CLONE3 = 435
"""ENOSYS, not EPERM: the C library then falls back to clone, which is denied like any other."""

LOAD, JUMP_EQUAL, JUMP_AT_LEAST, RETURN = (
    0x20,
    0x15,
    0x35,
    0x06,
)  # BPF_LD|W|ABS, BPF_JMP|JEQ|K, BPF_JMP|JGE|K, BPF_RET|K
NUMBER_AT, ARCHITECTURE_AT, FIRST_ARGUMENT_AT, SECOND_ARGUMENT_AT = (
    0,
    4,
    16,
    24,
)  # offsets in struct seccomp_data, little-endian
ALLOW, FAIL, KILL_PROCESS = 0x7FFF0000, 0x00050000, 0x80000000
EPERM, ENOSYS = 1, 38


class FilterProgram(ctypes.Structure):
    """struct sock_fprog."""

    _fields_ = (("length", ctypes.c_uint16), ("instructions", ctypes.c_char_p))


def install_filter(*, may_signal: bool = False) -> None:
    """Put the filter on this process, for good. Raises OSError where the kernel has no seccomp, KeyError on an unknown processor."""
    instructions = filter_instructions(os.uname().machine, may_signal=may_signal)
    packed = b"".join(struct.pack("HBBI", *instruction) for instruction in instructions)  # struct sock_filter
    prctl(PR_SET_NO_NEW_PRIVS, 1)
    prctl(PR_SET_SECCOMP, 2, ctypes.byref(FilterProgram(len(instructions), packed)))


def filter_instructions(machine: str, *, may_signal: bool) -> list[tuple[int, int, int, int]]:
    """The filter as (code, jump if true, jump if false, constant)."""
    column, architecture = ARCHITECTURES[machine]
    denied = DENIED | ({} if may_signal else SIGNALS)
    fail, missing = (RETURN, 0, 0, FAIL | EPERM), (RETURN, 0, 0, FAIL | ENOSYS)
    instructions = [
        (LOAD, 0, 0, ARCHITECTURE_AT),
        (JUMP_EQUAL, 1, 0, architecture),
        (RETURN, 0, 0, KILL_PROCESS),  # a call made in another processor mode, whose numbers mean something else
        (LOAD, 0, 0, NUMBER_AT),
        (JUMP_AT_LEAST, 0, 1, FIRST_UNKNOWN),
        missing,
        (JUMP_EQUAL, 0, 1, CLONE3),
        missing,
    ]
    for numbers in denied.values():
        number = numbers[column]
        if number is not None:
            instructions += [(JUMP_EQUAL, 0, 1, number), fail]
    for numbers, commands in DENIED_COMMANDS.values():
        checks = [step for command in commands for step in ((JUMP_EQUAL, 0, 1, command), fail)]
        instructions += [
            (JUMP_EQUAL, 0, len(checks) + 2, numbers[column]),
            (LOAD, 0, 0, SECOND_ARGUMENT_AT),
            *checks,
            (LOAD, 0, 0, NUMBER_AT),
        ]
    instructions += [
        (JUMP_EQUAL, 0, 4, PRLIMIT[column]),
        (LOAD, 0, 0, FIRST_ARGUMENT_AT),  # a process id, of which 0 is this process
        (JUMP_EQUAL, 1, 0, 0),
        fail,
        (LOAD, 0, 0, NUMBER_AT),
    ]
    return [*instructions, (RETURN, 0, 0, ALLOW)]
