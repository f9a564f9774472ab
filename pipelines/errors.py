"""What ends a run, told in one line: the thing, the rule, the value and a suggestion."""


class InputError(ValueError):
    """What the user asked for cannot be done. Raised before anything is written; jobs exit with code 2."""


class ClusterInputError(InputError):
    """What the cluster at hand cannot do, such as too few GPUs or an engine that does not start. On another one a retry is of use."""


class RunError(RuntimeError):
    """The run cannot go on, or did not do what it says. What was finished stays on disk; jobs exit with code 1."""


class Terminated(KeyboardInterrupt):
    """SIGTERM, which ends a run as Ctrl-C does; jobs exit with code 143."""


def root_cause(error: BaseException) -> str:
    """What went wrong first, in one line. An error that came through Ray is a chain of tracebacks, the first of them the remote one."""
    first, _, _ = str(error).partition("\nThe above exception was the direct cause")
    lines = [line.strip() for line in first.splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
