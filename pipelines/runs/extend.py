"""More samples for a run that is there: `--extend 128` makes n 128.

    run of 16              samples 0-15: a group of siblings
    extended to 128        samples 0-15 stay, 16-127 are a second group: they learn from each other, and not from the first

Promise: nothing that was generated is generated again or changed, and an extension is done once, however often it is asked for.
"""

from dataclasses import replace

from pipelines.config.run import RunConfig
from pipelines.errors import InputError
from pipelines.runs.folder import RunFolder


def extended(config: RunConfig, samples: int) -> tuple[RunConfig, tuple[int, ...]]:
    """The config of the run with so many samples per problem, and its sizes before each extension, as its manifest has them.

    Raises InputError if there is no run to extend, if it has more samples already, or if `config` is of another number of samples.
    """
    folder = RunFolder(config.run_folder)
    if not folder.has_run:
        raise InputError(
            f"--extend adds samples to a run, and {folder.path} holds none; make the run first, without --extend."
        )
    held = folder.manifest()
    if held.config.stopping_rule is not None:
        raise InputError(
            f"the run in {folder.path} stops problems early, and where follows from its number of samples; instead of --extend make "
            "another run with more --samples."
        )
    if samples < held.config.samples:
        raise InputError(
            f"the run in {folder.path} has {held.config.samples} samples per problem; --extend must be at least that, got {samples}."
        )
    if config.samples not in (*held.rounds, samples):
        raise InputError(
            f"the run in {folder.path} has {held.rounds[0]} samples per problem, not {config.samples}; leave --samples out with --extend."
        )
    extended_from = held.extended_from if samples == held.config.samples else held.rounds
    return replace(config, samples=samples), extended_from
