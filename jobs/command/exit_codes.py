"""How a job ends: 0 done, 1 the run failed, 2 bad input, 130 Ctrl-C, 143 SIGTERM. Each failure is one line on standard error."""

import errno
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from pipelines.errors import InputError, RunError, Terminated


@contextmanager
def one_line_errors() -> Iterator[None]:
    """Turn what a user can put right into a line and an exit code; anything else is our bug and keeps its traceback."""
    try:
        yield
    except InputError as error:
        end(f"error: {error}", 2)
    except RunError as error:
        end(f"error: {error}", 1)
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        end(
            f"error: the disk is full: {error.filename or error}. Free some space; the same command goes on from there.",
            1,
        )
    except Terminated as stop:
        end(str(stop) or "stopped.", 143)
    except KeyboardInterrupt as stop:
        end(str(stop) or "stopped.", 130)


def end(line: str, code: int) -> None:
    """Say why, and leave."""
    print(" ".join(line.split()), file=sys.stderr)
    raise SystemExit(code)
