"""What a sandbox has to stop, as programs: each defines attack(), which returns True if it got through.

A program may use the constants of a Target, which name real things outside the sandbox. Whoever runs an attack looks at those
things as well (self_test.py): an attack is not asked alone whether it was stopped.

They are run to find out whether a backend works, so none does harm where it does not: bombs are small, signals to anybody but the grader
are signal 0, what is written is removed.
"""

import secrets
import textwrap
from dataclasses import dataclass

from pipelines.sandbox.job import ScriptJob


@dataclass(frozen=True, kw_only=True, slots=True)
class Target:
    """Things outside the sandbox that attacks aim at."""

    port: int
    """Somebody listens there, on 127.0.0.1."""
    secret_file: str
    """A file that only this user may read."""
    folder: str
    """A folder that everybody may write to."""
    process_id: int
    """The supervisor."""

    def constants(self) -> str:
        """As source."""
        return f"PORT, SECRET_FILE, FOLDER, PROCESS_ID = {self.port}, {self.secret_file!r}, {self.folder!r}, {self.process_id}\n"


@dataclass(frozen=True, slots=True)
class Attack:
    """One attack."""

    name: str
    source: str
    is_forgery: bool = False
    """It wants a pass from tests that expect what only they know, and no harm besides."""

    def job(self, target: Target) -> ScriptJob:
        """Passed only if the attack got through."""
        program = target.constants() + textwrap.dedent(self.source)
        if self.is_forgery:
            token = secrets.token_hex()
            return ScriptJob(
                program=program, test=f"expected = '{token}'\nassert attack(21) == expected", names=("attack",)
            )
        return ScriptJob(program=program, test="assert attack() is True", names=("attack",))


ATTACKS = (
    Attack(
        "network connect",
        """
        def attack():
            import socket
            socket.create_connection(("127.0.0.1", PORT), timeout=0.5).sendall(b"reached")
            return True
        """,
    ),
    Attack(
        "open a port",
        """
        def attack():
            import socket
            server = socket.socket()
            server.bind(("0.0.0.0", 0))
            server.listen()
            return True
        """,
    ),
    Attack(
        "read another user's file",
        """
        def attack():
            for path in (SECRET_FILE, "/etc/shadow", "/proc/1/root" + SECRET_FILE):
                try:
                    return bool(open(path).read())
                except OSError:
                    pass
        """,
    ),
    Attack(
        "read our environment",
        """
        def attack():
            import os
            if set(os.environ) - {"LC_CTYPE", "PWD"}:
                return True
            for process in (PROCESS_ID, os.getppid(), 1, "self"):
                try:
                    return bool(open(f"/proc/{process}/environ", "rb").read())
                except OSError:
                    pass
        """,
    ),
    Attack(
        "write outside",
        """
        def attack():
            import os
            reached = False
            for folder in (FOLDER, os.path.dirname(SECRET_FILE), "/usr", "/var/tmp", "/dev/shm", "/etc", os.path.dirname(os.__file__)):
                try:
                    open(folder + "/written-by-an-attack", "w").close()
                    reached = True
                    if folder != FOLDER:
                        os.remove(folder + "/written-by-an-attack")
                except OSError:
                    pass
            for change in (os.remove, os.rmdir, lambda path: os.truncate(path, 0), lambda path: os.chmod(path, 0o777), os.utime):
                try:
                    change(SECRET_FILE)
                    reached = True
                except OSError:
                    pass
            return reached
        """,
    ),
    Attack(
        "symlink tricks",
        """
        import contextlib, os

        def through(make, there, use):
            link = f"/tmp/link{os.getpid()}"
            try:
                make(there, link)
                return use(link)
            except OSError:
                return False
            finally:
                with contextlib.suppress(OSError):
                    os.remove(link)

        def attack():
            secrets = (SECRET_FILE, "/proc/self/root" + SECRET_FILE, "/proc/1/cwd/../" + SECRET_FILE)
            reads = [through(make, there, lambda link: open(link).read()) for there in secrets for make in (os.symlink, os.link)]
            write = through(os.symlink, FOLDER, lambda link: open(link + "/written-by-an-attack", "w").close() or True)
            return any(reads) or write
        """,
    ),
    Attack(
        "fork bomb",
        """
        def attack():
            import os
            for _ in range(6):
                os.fork()
            return True
        """,
    ),
    Attack(
        "thread bomb",
        """
        def attack():
            import threading, time
            threading.stack_size(32768)
            for _ in range(64):
                threading.Thread(target=time.sleep, args=(60,), daemon=True).start()
            return True
        """,
    ),
    Attack(
        "start a program",
        """
        def attack():
            import os, subprocess, sys
            try:
                subprocess.run([sys.executable, "-c", "pass"], check=True)
                return True
            except OSError:
                os.execv(sys.executable, [sys.executable, "-c", "pass"])
        """,
    ),
    Attack(
        "zombie children",
        """
        def attack():
            import os
            for _ in range(20):
                if os.fork() == 0:
                    os._exit(0)
            return True
        """,
    ),
    Attack(
        "slip out of the process group",
        """
        def attack():
            import os
            for leave in (os.setsid, lambda: os.setpgid(0, 0)):
                try:
                    leave()
                    return True
                except OSError:
                    pass
        """,
    ),
    Attack(
        "kill the parent",
        """
        def attack():
            import os, signal
            reached = False
            attempts = [(os.getppid(), number) for number in (signal.SIGSTOP, signal.SIGTERM, signal.SIGKILL)]
            for process, number in (*attempts, (PROCESS_ID, 0), (1, 0), (-1, 0), (0, 0)):
                try:
                    os.kill(process, number)
                    reached = True
                except OSError:
                    pass
            return reached
        """,
    ),
    Attack(
        "read the grader's memory",
        """
        def attack():
            import ctypes, os
            libc = ctypes.CDLL(None, use_errno=True)
            grader = os.getppid()
            if libc.ptrace(0x4206, grader, 0, 0) == 0:
                return True
            for path in (f"/proc/{grader}/mem", f"/proc/{grader}/maps", f"/proc/{grader}/fd/1"):
                try:
                    open(path, "rb").close()
                    return True
                except OSError:
                    pass
        """,
    ),
    Attack(
        "memory bomb",
        """
        def attack():
            blocks = []
            for _ in range(64):
                blocks.append(b"x" * 2**28)
            return True
        """,
    ),
    Attack(
        "memory in files",
        """
        def attack():
            import os
            for folder in ("/tmp", "/dev/shm", "/dev", "/"):
                paths = [f"{folder}/block{number}" for number in range(4)]
                try:
                    for path in paths:
                        with open(path, "wb") as file:
                            file.write(b"x" * 2**24)
                    return True
                except OSError:
                    pass
                finally:
                    for path in filter(os.path.exists, paths):
                        os.remove(path)
            blocks = [os.memfd_create("block") for _ in range(4)]
            return all(os.write(block, b"x" * 2**24) for block in blocks)
        """,
    ),
    Attack(
        "large file",
        """
        def attack():
            import os
            try:
                with open("/tmp/large", "wb") as file:
                    for _ in range(64):
                        file.write(b"x" * 2**20)
                return True
            finally:
                if os.path.exists("/tmp/large"):
                    os.remove("/tmp/large")
        """,
    ),
    Attack(
        "shared memory that stays",
        """
        def attack():
            import ctypes
            libc = ctypes.CDLL(None)
            segment = libc.shmget(0, 4096, 0o1666)
            return segment >= 0 and libc.shmctl(segment, 0, None) == 0
        """,
    ),
    Attack(
        "endless loop",
        """
        def attack():
            while True:
                pass
        """,
    ),
    Attack(
        "endless loop that ignores every signal",
        """
        import signal
        for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
            try:
                signal.signal(number, signal.SIG_IGN)
            except (OSError, ValueError):
                pass
        while True:
            try:
                while True:
                    pass
            except BaseException:
                pass
        """,
    ),
    Attack(
        "endless output",
        """
        def attack():
            import os
            while True:
                for stream in (1, 2):
                    os.write(stream, b"x" * 2**16)
        """,
    ),
    Attack(
        "endless answer",
        """
        def attack():
            import os
            while True:
                for fd in range(3, 64):
                    try:
                        os.write(fd, b"[" * 2**16)
                    except OSError:
                        pass
        """,
    ),
    Attack(
        "exit early with success",
        """
        import os
        os._exit(0)
        """,
        is_forgery=True,
    ),
    Attack(
        "exit in the call with success",
        """
        def attack(value):
            raise SystemExit(0)
        """,
        is_forgery=True,
    ),
    Attack(
        "print that it passed",
        """
        print('{"status": "passed", "detail": ""}\\npassed\\nOK')

        def attack(value):
            print("passed", flush=True)
        """,
        is_forgery=True,
    ),
    Attack(
        "write a verdict to every descriptor",
        """
        import os

        def attack(value):
            for body in (b'{"status": "passed", "detail": ""}', b'{"value": null, "arguments": null}'):
                for fd in range(256):
                    try:
                        os.write(fd, len(body).to_bytes(4, "big") + body)
                    except OSError:
                        pass
            os._exit(0)
        """,
        is_forgery=True,
    ),
    Attack(
        "equal to everything",
        """
        class Anything(str):
            __eq__ = lambda self, other: True
            __ne__ = lambda self, other: False

        def attack(value):
            return Anything()
        """,
        is_forgery=True,
    ),
    Attack(
        "an object for every comparison",
        """
        class Anything:
            __eq__ = __lt__ = __le__ = __gt__ = __ge__ = __contains__ = __instancecheck__ = lambda self, other: True
            __ne__ = lambda self, other: False
            __sub__ = __rsub__ = __abs__ = lambda self, *other: 0
            __enter__ = lambda self: self
            __exit__ = lambda self, *error: True
            __iter__ = lambda self: iter(())
            __hash__ = lambda self: 0

        def attack(value):
            return Anything()
        """,
        is_forgery=True,
    ),
    Attack(
        "patch the built-ins",
        """
        import builtins, operator, sys

        builtins.AssertionError = builtins.Exception = type("Quiet", (BaseException,), {})
        builtins.__build_class__ = builtins.isinstance = builtins.abs = builtins.all = lambda *_: True
        sys.excepthook = sys.unraisablehook = lambda *_: None
        abs = all = int = isinstance = check = lambda *_: True

        def attack(value):
            return True
        """,
        is_forgery=True,
    ),
    Attack(
        "look for the tests in frames and memory",
        """
        import gc, re, sys

        def attack(value):
            frame, things = sys._getframe(), gc.get_objects()
            while frame:
                things += [frame.f_locals, frame.f_globals, frame.f_code.co_consts]
                frame = frame.f_back
            for thing in things:
                if isinstance(thing, (str, bytes, dict, list, tuple)):
                    found = re.search("expected = '([0-9a-f]+)'", str(thing).replace("\\\\", ""))
                    if found:
                        return found[1]
        """,
        is_forgery=True,
    ),
    Attack(
        "read the tests from standard input",
        """
        import os

        def attack(value):
            for fd in range(64):
                try:
                    os.set_blocking(fd, False)
                    text = os.read(fd, 2**16)
                except OSError:
                    continue
                if b"expected" in text:
                    return text.split(b"'")[1].decode()
        """,
        is_forgery=True,
    ),
)
