"""The lockstep study of docs/esamp-study.md: what each setting and control of ESamp does to pass@k of the embedded model, with no engine.

    python -m jobs.devtools.lockstep --problems 100 --samples 32
    python -m jobs.devtools.lockstep --conditions vanilla esamp "rate 0.003, 8 rounds, 4 steps" --seeds 0 1 2

Conditions whose file is in --output are not sampled again. All conditions of a seed share their random numbers; the first is the baseline.
"""

import sys
from dataclasses import dataclass
from pathlib import Path

import tyro

from jobs.command.exit_codes import one_line_errors
from jobs.command.renamed import refuse_options
from pipelines.errors import InputError


@dataclass(frozen=True, kw_only=True)
class LockstepCommand:
    """The command line of this job."""

    conditions: tuple[str, ...] = ()
    """Conditions by name; all by default."""
    problems: int = 100
    """Countdown problems."""
    samples: int = 32
    """Samples per problem; a multiple of 8."""
    seeds: tuple[int, ...] = (0,)
    """Seeds; every condition is sampled with each."""
    output: Path = Path("runs/lockstep")
    """Folder of the conditions' files."""
    mechanism: bool = False
    """Print what the Distiller did in each condition as well."""


def main(args: list[str]) -> None:
    """Parse, sample, print."""
    with one_line_errors():
        refuse_options(args, {"--arms": "--conditions"})
        command = tyro.cli(LockstepCommand, prog="python -m jobs.devtools.lockstep", description=__doc__, args=args)
        from pipelines.devtools.lockstep.conditions import CONDITIONS
        from pipelines.devtools.lockstep.study import sample_condition
        from pipelines.devtools.lockstep.tables import mechanism_table, pass_at_k_table

        names = command.conditions or tuple(CONDITIONS)
        for name in names:
            if name not in CONDITIONS:
                raise InputError(f"conditions must be among {'; '.join(CONDITIONS)}; got {name!r}.")
        paths = {
            name: [command.output / f"{name.replace(' ', '_')}-{seed}.npz" for seed in command.seeds] for name in names
        }
        for name, files in paths.items():
            for seed, path in zip(command.seeds, files, strict=True):
                sample_condition(path, CONDITIONS[name], problems=command.problems, samples=command.samples, seed=seed)
                print(f"{path}", flush=True)
        print(pass_at_k_table(paths))
        if command.mechanism:
            print(mechanism_table(paths))


if __name__ == "__main__":
    main(sys.argv[1:])
