"""The compiled kernel.c: the one an installation carries, or one that is built when it is first needed, or none.

Installing the package builds it where there is a C compiler (an optional extension in pyproject.toml), so wheels carry it. A checkout that
was never installed, or whose kernel.c is newer, has none that fits: it is built into the user's cache folder, under a name made of the
source's hash.
"""

import ctypes
import hashlib
import logging
import os
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

logger = logging.getLogger(__name__)

FOLDER = Path(__file__).parent
SOURCES = (FOLDER / "kernel.c", FOLDER / "kernel_rows.h")
COMPILER_FLAGS = ("-O3", "-fopenmp", "-ffp-contract=off", "-fno-trapping-math", "-fno-math-errno")
"""As in pyproject.toml. OpenMP's runtime is the one torch has loaded already (both ask for libgomp.so.1): rows are shared among torch's own
threads, on the cores that vLLM bound them to. Threads of our own would all inherit the one core of the thread that starts them. No
contraction: z + beta (z - z_dist) must be rounded as torch rounds it. No traps, no errno: else GCC leaves the exponentials scalar."""
SHARED_LIBRARY_FLAGS = ("-fPIC", "-shared")
INTERFACE = 3
"""As in kernel.c."""
BUILD_TIMEOUT_S = 120.0
INSTALLATION_S = 60.0
"""pip unpacks a wheel's files in any order, each with the time it was written: a library may be a moment older than its source."""


class LogitsStruct(ctypes.Structure):
    """`struct logits` of kernel.c."""

    _fields_: ClassVar = [("data", ctypes.c_void_p), ("row_stride", ctypes.c_int64), ("is_bf16", ctypes.c_int64)]


class DrawStruct(ctypes.Structure):
    """`struct draw` of kernel.c."""

    _fields_: ClassVar = [
        ("num_rows", ctypes.c_int64),
        ("vocabulary", ctypes.c_int64),
        ("num_threads", ctypes.c_int64),
        ("logits", LogitsStruct),
        ("temperature", ctypes.c_void_p),
        ("plain", LogitsStruct),
        ("adjustment", ctypes.c_int64),
        ("other", LogitsStruct),
        ("adjustment_row", ctypes.c_void_p),
        ("adjustment_temperature", ctypes.c_void_p),
        ("beta", ctypes.c_void_p),
        ("seeds", ctypes.c_void_p),
        ("is_greedy", ctypes.c_void_p),
        ("uniform", ctypes.c_void_p),
        ("fill", ctypes.c_void_p),
        ("tokens", ctypes.c_void_p),
        ("unadjusted_tokens", ctypes.c_void_p),
        ("logprobs", ctypes.c_void_p),
        ("plain_logprobs", ctypes.c_void_p),
        ("unadjusted_logprobs", ctypes.c_void_p),
        ("remainder", ctypes.c_void_p),
        ("num_candidates", ctypes.c_void_p),
    ]


class NoKernel(RuntimeError):
    """No compiled kernel can be had here; the message says why."""


def load_library() -> ctypes.CDLL:
    """The kernel. Raises NoKernel."""
    for path in shipped_libraries():
        library = opened(path)
        if library is not None:
            return library
    return opened_or_raise(built_library())


def shipped_libraries() -> Iterator[Path]:
    """What the installation carries, unless the source has been changed since."""
    changed = max(path.stat().st_mtime for path in SOURCES)
    return (path for path in FOLDER.glob("kernel.*.so") if path.stat().st_mtime > changed - INSTALLATION_S)


def opened(path: Path) -> ctypes.CDLL | None:
    """The library at `path`; None if it does not load or is of another version."""
    try:
        library = ctypes.CDLL(str(path))
        library.esamp_draw_interface.restype = ctypes.c_int64
        library.esamp_draw_best_isa.restype = ctypes.c_int64
        interface = library.esamp_draw_interface()
    except (OSError, AttributeError) as error:
        logger.warning("esamp: %s cannot be loaded: %s", path, error)
        return None
    library.esamp_draw.argtypes = [ctypes.POINTER(DrawStruct), ctypes.c_int64]
    library.esamp_draw.restype = None
    return library if interface == INTERFACE else None


def opened_or_raise(path: Path) -> ctypes.CDLL:
    """The library at `path`. Raises NoKernel."""
    library = opened(path)
    if library is None:
        raise NoKernel(
            f"{path} was built from kernel.c and does not load or fit; remove it, or its folder, to build it again"
        )
    return library


def built_library() -> Path:
    """Where the kernel of this very source lies in the user's cache; compiles it if it is not there. Raises NoKernel."""
    digest = hashlib.sha256(
        b"".join(path.read_bytes() for path in SOURCES) + " ".join(COMPILER_FLAGS).encode()
    ).hexdigest()
    target = cache_folder() / f"draw-{digest[:16]}.so"
    if not target.exists():
        compile_to(target)
    return target


def cache_folder() -> Path:
    """Folder of kernels that were built at first use."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "esamp-kernels"


def compile_to(target: Path) -> None:
    """Compile kernel.c with $CC, or cc. Raises NoKernel with what the compiler said."""
    compiler = shlex.split(os.environ.get("CC", "cc"))
    if shutil.which(compiler[0]) is None:
        raise NoKernel(f"there is no C compiler {compiler[0]!r}; install one, or point CC to it")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        # Several workers may build at once: each into a file of its own, and the last to finish replaces the same with the same.
        with tempfile.TemporaryDirectory(dir=target.parent) as folder:
            built = Path(folder) / target.name
            command = [*compiler, *COMPILER_FLAGS, *SHARED_LIBRARY_FLAGS, str(SOURCES[0]), "-o", str(built), "-lm"]
            result = subprocess.run(command, capture_output=True, text=True, timeout=BUILD_TIMEOUT_S)
            if result.returncode != 0:
                raise NoKernel(f"{shlex.join(command)} failed: {result.stderr.strip()}")
            built.replace(target)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise NoKernel(f"kernel.c could not be compiled into {target.parent}: {error}") from error
    logger.info("esamp: built %s", target)
