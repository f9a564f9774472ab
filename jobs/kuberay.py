"""Manifests for KubeRay 1.7, from the settings of a run: a job on a cluster of its own, in a queue or every night; a cluster for many jobs.

    python -m jobs.kuberay render --run.model Qwen/Qwen2.5-7B-Instruct --run.task math500 --run.samples 64 --run.shards 8 \\
      --run.engine.num-gpus 1 --run.esamp.trainer local --file rayjob.yaml
    kubectl apply -f rayjob.yaml

The dry run of the job is made first, since bad input would fail on each of its clusters. Pods are sized by the model's shape and the
capacity model (python -m jobs.capacity).
"""

import sys
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import tyro

from jobs import passk, rollouts
from jobs.command.exit_codes import one_line_errors
from pipelines.config.renamed import check_options
from pipelines.config.run import RunConfig
from pipelines.deploy.config import DeployConfig
from pipelines.errors import InputError


@dataclass(frozen=True, kw_only=True)
class RenderCommand:
    """Write a manifest."""

    kind: Literal["rayjob", "rollouts", "kueue", "raycronjob", "raycluster", "rayservice"] = "rayjob"
    """rayjob, rollouts, kueue: one run on a cluster of its own; raycronjob: one every night; raycluster: a cluster for many jobs, with
    pods for shards such as the run's; rayservice: a server with the run's model, sampler and engine, one on each shard."""
    file: Path | None = None
    """File to write; by default standard output."""
    dry_run: bool = True
    """Make the job's dry run first. Leave it out (--no-dry-run) where problems can be read on the cluster only."""
    deploy: DeployConfig = field(default_factory=DeployConfig)
    """Where and how it is placed."""
    run: RunConfig = field(default_factory=RunConfig)
    """The run, as in jobs.passk."""


@dataclass(frozen=True, kw_only=True)
class CheckCommand:
    """Check manifests by the rules that the operator applies after `kubectl apply` accepted them."""

    file: tyro.conf.Positional[Path]
    """YAML file with RayJobs, RayClusters, RayServices or RayCronJobs."""


def main(args: list[str]) -> None:
    """Parse, check, write."""
    with one_line_errors():
        check_options(args)
        command = parse(args)
        if isinstance(command, CheckCommand):
            check(command)
        else:
            render_manifest(command, args)


def render_manifest(command: RenderCommand, args: list[str]) -> None:
    """Write the manifest, with the job's dry run before it."""
    # Imported late: torch and transformers take seconds that --help and a mistyped flag need not wait for.
    from rich.console import Console

    from pipelines.deploy.kinds import KINDS
    from pipelines.deploy.render import render
    from pipelines.prepare.dry_run import dry_run

    console = Console(stderr=True)
    rendered = render(
        command.kind, command.run, command.deploy, arguments=args, file=str(command.file or "manifest.yaml")
    )
    if rendered.warning is not None:
        console.print(f"warning: {rendered.warning}", style="yellow", highlight=False, soft_wrap=True)
    if command.dry_run and KINDS[command.kind].is_run:
        dry_run(rendered.run, console)
    if command.file is None:
        print(rendered.text, end="")
    else:
        command.file.write_text(rendered.text)


def check(command: CheckCommand) -> None:
    """Say that the operator would take the file. Raises InputError with what it would refuse."""
    from pipelines.deploy.render import check_manifests

    if refused := check_manifests(command.file):
        raise InputError(f"KubeRay 1.7 would refuse {command.file}: {' '.join(refused)}")
    print(f"{command.file}: KubeRay 1.7 would take it")


def parse(args: list[str]) -> RenderCommand | CheckCommand:
    """The command."""
    commands: dict[str, Callable[..., Any]] = {"render": RenderCommand, "check": CheckCommand}
    command: RenderCommand | CheckCommand = tyro.extras.subcommand_cli_from_dict(
        commands, prog="python -m jobs.kuberay", description=__doc__, args=args
    )
    if isinstance(command, CheckCommand):
        return command
    return replace(command, run=run_of_job(command.kind, args))


def run_of_job(kind: str, args: list[str]) -> RunConfig:
    """The run as its job would make it on the cluster: with the defaults of the task and the model."""
    if kind == "rollouts":
        return rollouts.parse_with_defaults(["--output", "rollouts.parquet", *run_arguments(args, prefix="--run.")])[
            0
        ].run
    return passk.parse(run_arguments(args)).run


def run_arguments(args: list[str], *, prefix: str = "--") -> list[str]:
    """The words of --run.*, as jobs.passk has them: ["--run.samples", "4", "--kind", "kueue"] -> ["--samples", "4"]."""
    words: list[str] = []
    is_of_run = False
    for word in args:
        if word.startswith("--"):
            is_of_run = word.startswith("--run.")
        if is_of_run:
            words.append(prefix + word.removeprefix("--run.") if word.startswith("--run.") else word)
    return words


if __name__ == "__main__":
    main(sys.argv[1:])
