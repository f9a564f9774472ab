"""Attacks that reach what is outside: the network, files, other processes and their memory, programs."""

from pipelines.sandbox.attacks.attack import Attack

ESCAPES = (
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
        "shared memory that stays",
        """
        def attack():
            import ctypes
            libc = ctypes.CDLL(None)
            segment = libc.shmget(0, 4096, 0o1666)
            return segment >= 0 and libc.shmctl(segment, 0, None) == 0
        """,
    ),
)
