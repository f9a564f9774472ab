"""The command that makes a run, from its config: the settings that differ from RunConfig's, and all of sampling.

Sampling has defaults of its own for each task and model, which jobs.passk looks up: what the run has is said, so that it does not depend on
the files that a cluster finds.
"""

import shlex
from itertools import chain
from typing import Any

from pipelines.config.run import RunConfig
from pipelines.config.yaml_flags import flatten
from pipelines.deploy.commented_yaml import CommandLine


def run_flags(run: RunConfig, *, prefix: str = "") -> list[list[str]]:
    """The flags that give the run, each with its values; `prefix` stands before every name, as in `--run.samples`. Without stop sequences
    there is no flag for them."""
    defaults = flatten(RunConfig().to_dict())
    given = flatten(run.to_dict())
    return [
        flag(f"{prefix}{name}", value)
        for name, value in given.items()
        if value != defaults.get(name) or (name.startswith("sampling.") and value != [])
    ]


def flag(name: str, value: Any) -> list[str]:
    """One setting as words of a command line."""
    *parents, last = name.replace("_", "-").split(".")
    if isinstance(value, bool):
        return ["--" + ".".join([*parents, last if value else f"no-{last}"])]
    return ["--" + ".".join([*parents, last]), *(map(str, value) if isinstance(value, list) else [str(value)])]


def command_line(job: str, flags: list[list[str]], *, raw: tuple[str, ...] = ()) -> CommandLine:
    """`python -m job` with its flags, quoted for a shell; `raw` lines go in as they are, for what the shell is to expand."""
    return CommandLine((f"python -m {job}", *(shlex.join(words) for words in flags), *raw))


def words(flags: list[list[str]]) -> list[str]:
    """All flags as one list."""
    return list(chain.from_iterable(flags))
