"""How a job ends: 0 done, 1 the run failed, 2 bad input, 130 Ctrl-C, 143 SIGTERM, 141 where nobody reads its output any more. Each failure
is one line on standard error."""

import errno
import os
import select
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from jobs.command.early_values import values_of
from pipelines.errors import InputError, RunError, Terminated
from pipelines.logs.lines import error_line, use_log_format

CLOSED_OUTPUT = 141
"""128 + SIGPIPE, by which the shell's own commands end in a pipe."""


@contextmanager
def one_line_errors(args: Sequence[str] = ()) -> Iterator[None]:
    """Turn what a user can put right into a line and an exit code; anything else is our bug and keeps its traceback.

    `args`: the command line of a job that takes --log-format; from here on all lines have it.
    """
    if values_of("--log-format", args)[-1:] == ["json"]:
        use_log_format("json")
    try:
        with closed_output_ends():
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


@contextmanager
def closed_output_ends() -> Iterator[None]:
    """`job --help | head`: once `head` has read enough, end as the shell's own commands do, without a traceback."""
    try:
        try:
            yield
        finally:
            sys.stdout.flush()  # here, and not when Python ends, which would print that it could not
    except BrokenPipeError:
        if not is_output_closed():
            raise
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(CLOSED_OUTPUT) from None


def is_output_closed() -> bool:
    """True if standard output is a pipe that nobody reads any more."""
    poll = select.poll()
    poll.register(sys.stdout.fileno(), 0)
    return any(state & select.POLLERR for _, state in poll.poll(0))


def end(line: str, code: int) -> None:
    """Say why, and leave."""
    print(error_line(" ".join(line.split())), file=sys.stderr)
    raise SystemExit(code)
