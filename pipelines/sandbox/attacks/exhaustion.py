"""Attacks that take more than their part: processes, memory, disk, time, output."""

from pipelines.sandbox.attacks.attack import Attack

EXHAUSTION = (
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
)
