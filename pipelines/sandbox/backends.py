"""Three ways to start graders, from the strongest down. Which one a machine gets is decided in choice.py, by trying.

Bubblewrap   namespaces of its own for files, network, processes, users and IPC, and the seccomp filter
Landlock     the machine's namespaces; reading a few system folders, writing nothing, and the seccomp filter
Unsafe       limits, an empty environment, and the user's word
"""

import importlib.util
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Literal, Protocol

from pipelines.sandbox.limits import Limits

PACKAGE_ROOT = Path(__file__).resolve().parents[2]
PYTHON = Path(sys.executable).resolve()
START_ZYGOTE = "; ".join(
    (
        "import sys",
        f"sys.path.insert(0, {str(PACKAGE_ROOT)!r})",
        "from pipelines.sandbox.inside.zygote import main",
        "main(int(sys.argv[1]))",
    )
)
NOBODY = "65534"

TEST_PACKAGES = ("numpy",)
"""What tests may import beside the standard library: those of HumanEval+ and MBPP+ compare floats with numpy."""

Confinement = Literal["seccomp", "landlock", "none"]
"""What grader and program put on themselves, inside."""


class IsolationBackend(Protocol):
    """One way to start graders."""

    name: str
    confinement: Confinement

    def command(self, limits: Limits) -> list[str]:
        """The command line of a zygote, which forks the graders: see inside/zygote.py."""
        ...


def python_command(*, scratch_bytes: int = 0) -> list[str]:
    """Python without site packages, environment or user folders, running the zygote."""
    return [str(PYTHON), "-I", "-S", "-B", "-X", "utf8", "-c", START_ZYGOTE, str(scratch_bytes), supervisor_argument()]


def supervisor_argument() -> str:
    """Does nothing but show, to ps and to the tests, whose grader it is."""
    return f"--supervisor={os.getpid()}"


def readable_paths() -> list[Path]:
    """What a grader has to read: the system's libraries, this Python, and the two packages that hold the grader."""
    pipelines = PACKAGE_ROOT / "pipelines"
    return [
        Path("/usr"),
        Path("/etc/ld.so.cache"),
        Path(sys.base_prefix).resolve(),
        pipelines / "__init__.py",
        pipelines / "sandbox",
        *filter(Path.exists, (folder for name in TEST_PACKAGES for folder in package_folders(name))),
    ]


def package_folders(name: str) -> tuple[Path, Path]:
    """Where a package is installed, and where its wheel keeps shared libraries, if it has any."""
    spec = importlib.util.find_spec(name)
    assert spec is not None and spec.origin is not None, f"{name} is a dependency of this project"
    folder = Path(spec.origin).parent
    return folder, folder.with_name(f"{name}.libs")


class Bubblewrap:
    """A container: a system without home, network or neighbours. In it, each sample has namespaces and a scratch folder of its own."""

    name = "bubblewrap"
    confinement: Confinement = "seccomp"

    def command(self, limits: Limits) -> list[str]:
        """Raises FileNotFoundError if bwrap is not installed."""
        bwrap = shutil.which("bwrap")
        if bwrap is None:
            raise FileNotFoundError("bwrap is not installed (Debian and Ubuntu: apt install bubblewrap)")
        return [
            bwrap,
            *(
                "--unshare-user",
                "--unshare-pid",
                "--unshare-net",
                "--unshare-ipc",
                "--unshare-uts",
                "--unshare-cgroup-try",
            ),
            *("--uid", NOBODY, "--gid", NOBODY, "--hostname", "sandbox", "--clearenv"),
            # The zygote makes namespaces with it, and drops it in each sample before that reads anything.
            *("--cap-drop", "ALL", "--cap-add", "CAP_SYS_ADMIN"),
            # Bubblewrap's own first process would be left to the machine's, which need not bury it.
            *("--as-pid-1",),
            *("--size", "4096", "--tmpfs", "/tmp", "--chdir", "/tmp"),
            *read_only_binds(),  # after /tmp, which may hold this Python or this checkout
            *("--dev-bind", "/dev/null", "/dev/null"),
            *("--remount-ro", "/", "--"),
            *python_command(scratch_bytes=max(4096, limits.file_mib * 2**20)),
        ]


def read_only_binds() -> Iterator[str]:
    """The system, as bubblewrap's arguments; /lib and its like are links into /usr on some systems and folders on others."""
    for path in readable_paths():
        if path.exists():
            yield from ("--ro-bind", str(path), str(path))
    for path in sorted(Path("/").glob("lib*")):
        if path.is_symlink():
            yield from ("--symlink", os.readlink(path), str(path))
        elif path.is_dir():
            yield from ("--ro-bind", str(path), str(path))


class Landlock:
    """Where namespaces are not to be had: files by Landlock, the rest by seccomp. Needs Linux 5.13 or later."""

    name = "landlock"
    confinement: Confinement = "landlock"

    def command(self, limits: Limits) -> list[str]:
        """Plain Python: it locks itself in."""
        return python_command()


class Unsafe:
    """No wall at all: a program does whatever this user may. Limits and an empty environment remain."""

    name = "unsafe"
    confinement: Confinement = "none"

    def command(self, limits: Limits) -> list[str]:
        """Plain Python."""
        return python_command()
