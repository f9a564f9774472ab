"""Will it carry? What the Distillers of a cluster cost in bandwidth, trainers, lag and memory, before anything is started.

    python -m jobs.plan                                                       # 8, 64, 1,024 shards x 7B, 32B, 70B, every scope
    python -m jobs.plan --model-shape 7b --shards 64 --scope prompt --trainer actor
    python -m jobs.plan --model-shape 7b --shards 64 --trainers 8 --trainer-device gpu --network-gb 12.5
    python -m jobs.plan --run run.yaml                                        # a run of yours: settings as for jobs.passk --config
    python -m jobs.plan --simulate                                            # the model against 64 shards that pretend, some minutes
    python -m jobs.plan --simulate --points quiet busy saturated              # points of docs/scaling.md
    python -m jobs.plan --calibrate --calibration here.json                   # measure this machine, some minutes; then
    python -m jobs.plan --calibration here.json

A load above 1 means that the trainer is asked for more than it can do. Up to a point it then publishes less often and the lag grows; beyond
that rows are dropped (counted, and never waited for). "fits" means neither. A trainer actor runs on one CPU core unless --trainer-device
says gpu; shards decode on GPUs. The models' steps per second are published or assumed, the GPU's constants assumed, and the CPU's
measured: docs/scaling.md has the assumptions, and the model against a simulation.
"""

import json
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import tyro

from actors.capacity.inputs import CapacityInputs, Placement
from actors.capacity.model_shapes import MODEL_SHAPES
from actors.capacity.trainer_costs import ASSUMED_GPU, CALIBRATION, TrainerCosts
from actors.devtools.simulation.config import SIMULATED_POINTS, SimulationConfig
from esamp.config import Scope
from jobs.exit_codes import one_line_errors
from pipelines.errors import InputError

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

Device = Literal["cpu", "gpu"]
WIDTH = 200
"""Columns, where there is no terminal."""


@dataclass(frozen=True, kw_only=True)
class PlanCommand:
    """The command line of this job."""

    model_shape: tuple[Literal["7b", "32b", "70b"], ...] = ("7b", "32b", "70b")
    """Models to plan for, by size: Qwen2.5-7B, Qwen2.5-32B, Llama-3.1-70B."""
    shards: tuple[int, ...] = (8, 64, 1024)
    """Numbers of shards."""
    scope: tuple[Scope, ...] = ("prompt", "shard", "cluster", "prior")
    """Who shares a Distiller: see jobs.passk --help, --esamp.scope."""
    trainer: tuple[Placement, ...] = ("actor", "local")
    """Where Distillers learn."""
    trainers: int = 1
    """DistillerTrainer actors, with trainer=actor."""
    prompts: int = 8
    """Prompts in a shard's batch."""
    samples: int = 16
    """Samples of each prompt in the batch."""
    answer_tokens: float = 512.0
    """Decode steps of a prompt."""
    inner_width: int = 384
    """Distiller width."""
    max_groups: int = 32
    """Distiller slots of a shard."""
    steps_per_s: float | None = None
    """Decode steps per second of one shard, instead of the model's figure."""
    network_gb: float | None = None
    """Network of a trainer's node, GB/s each way; by default it does not limit."""
    trainer_device: Device = "cpu"
    """What a trainer actor runs on."""
    shard_device: Device = "gpu"
    """What a shard decodes on, and learns on with trainer=local."""
    calibration: Path = CALIBRATION
    """Constants of a CPU trainer: what is planned with, and what --calibrate writes."""
    run: Path | None = None
    """Plan this run instead: a YAML file as for jobs.passk --config."""
    simulate: bool = False
    """Simulate an exchange on this machine instead, and compare it with the model. Writes simulation.json to --output."""
    simulation: SimulationConfig = field(default_factory=SimulationConfig)
    """With --simulate: what is simulated."""
    points: tuple[Literal["quiet", "light", "cluster", "busy", "saturated"], ...] = ()
    """With --simulate: these, instead of --simulation."""
    calibrate: bool = False
    """Measure this machine instead, and write its constants to --calibration."""
    output: Path = Path("runs/plan")
    """Folder of simulation.json."""
    markdown: bool = False
    """Print tables as in docs/scaling.md."""
    json: bool = False
    """Print JSON instead of the table."""
    plot: Path | None = None
    """Write a plot of load and lag over shards to this PNG file."""


def main(args: list[str]) -> None:
    """Parse, plan, print."""
    with one_line_errors():
        command = tyro.cli(PlanCommand, prog="python -m jobs.plan", description=__doc__, args=args)
        if command.simulate:
            simulate_points(command, args)
        elif command.calibrate:
            calibrate_here(command)
        elif command.run is not None:
            plan_run(command.run, command)
        else:
            plan_grid(command)


def plan_grid(command: PlanCommand) -> None:
    """Print the table, or JSON; write the plot."""
    # Imported late: matplotlib takes a second that --help need not wait for.
    from pipelines.capacity.report import make_plan, plan_table, plot_plans

    measured = read_costs(command.calibration)
    plans = [make_plan(name, inputs, costs_of(inputs, command, measured)) for name, inputs in grid_inputs(command)]
    if command.plot is not None:
        plot_plans(plans, command.plot)
    if command.json:
        told = {
            "costs": {"cpu": asdict(measured), "gpu": asdict(ASSUMED_GPU)},
            "plans": [plan.to_dict() for plan in plans],
        }
        print(json.dumps(told, indent=1))
        return
    for name in command.model_shape:
        shape = MODEL_SHAPES[name]
        title = f"{name}: hidden {shape.hidden_size}, {command.steps_per_s or shape.steps_per_s:g} steps/s a shard\n{shape.source}"
        print_table(plan_table([plan for plan in plans if plan.model == name], title=title), command, without="verdict")


def grid_inputs(command: PlanCommand) -> Iterator[tuple[str, CapacityInputs]]:
    """Every combination that exists; scope "cluster" has no local trainer. Raises InputError on a value outside its range."""
    for name, scope, trainer, shards in product(command.model_shape, command.scope, command.trainer, command.shards):
        if scope == "cluster" and trainer == "local":
            continue
        shape = MODEL_SHAPES[name]
        try:
            yield (
                name,
                CapacityInputs(
                    hidden_size=shape.hidden_size,
                    steps_per_s=shape.steps_per_s if command.steps_per_s is None else command.steps_per_s,
                    shards=shards,
                    prompts=command.prompts,
                    samples=command.samples,
                    answer_tokens=command.answer_tokens,
                    scope=scope,
                    trainer=trainer,
                    trainers=command.trainers,
                    max_groups=command.max_groups,
                    inner_width=command.inner_width,
                    network_bytes_per_s=float("inf") if command.network_gb is None else 1e9 * command.network_gb,
                ),
            )
        except ValueError as error:
            raise InputError(str(error)) from error


def plan_run(path: Path, command: PlanCommand) -> None:
    """Print what a run needs, and whether its exchange carries."""
    # Imported late: transformers takes seconds.
    from jobs.passk import parse
    from pipelines.capacity.report import make_plan, plan_table
    from pipelines.capacity.run import run_inputs, run_needs

    config = parse(["--config", str(path)]).run
    inputs, needs = run_inputs(config), run_needs(config)
    on_gpu = "gpu" if config.engine.num_gpus else "cpu"
    measured = read_costs(command.calibration)
    device = on_gpu if inputs.trainer == "local" else command.trainer_device
    plan = make_plan(config.model, inputs, ASSUMED_GPU if device == "gpu" else measured)
    if command.json:
        print(json.dumps({"needs": asdict(needs), **plan.to_dict()}, indent=1))
        return
    console().print(
        f"{needs.problems} problems, {needs.samples:,} samples, at most {needs.answer_tokens:,} answer tokens: at most about "
        f"{needs.hours:.2g} h on {config.shards} shard(s), {needs.gpu_hours:.2g} GPU hours (an order of magnitude); "
        f"the driver's memory about {needs.driver_bytes / 1e9:.1f} GB",
        highlight=False,
    )
    console().print(
        plan_table([plan], title=f"hidden {inputs.hidden_size}, {inputs.steps_per_s:.3g} steps/s a shard, estimated")
    )


def simulate_points(command: PlanCommand, args: list[str]) -> None:
    """Simulate, compare, print, write."""
    # Imported late: Ray and torch take seconds.
    from pipelines.devtools.simulation_report import point_table, points_table, run_points, write_points

    configs: dict[str, SimulationConfig] = {name: SIMULATED_POINTS[name] for name in command.points}
    configs = configs or {"simulated": command.simulation}
    points = run_points(configs, read_costs(command.calibration), tell=tell)
    path = command.output / "simulation.json"
    write_points(path, points, command=" ".join(["python -m jobs.plan", *args]))
    if command.markdown:
        print_table(points_table(points), command)
    else:
        for name, point in points.items():
            console().print(point_table(name, point))
    tell(f"written: {path}")


def calibrate_here(command: PlanCommand) -> None:
    """Measure, print, write."""
    # Imported late: Ray and torch take seconds.
    from pipelines.devtools.calibration_report import calibration_table, run_calibration

    print_table(calibration_table(run_calibration(command.calibration, tell=tell)), command)
    tell(f"written: {command.calibration}")


def tell(line: str) -> None:
    """A line of progress, on standard error: tables go where they may be kept."""
    from rich.console import Console

    Console(stderr=True).print(line, style="dim", highlight=False, markup=False, soft_wrap=True)


def costs_of(inputs: CapacityInputs, command: PlanCommand, measured: TrainerCosts) -> TrainerCosts:
    """Of the device that this plan's Distillers learn on."""
    device = command.shard_device if inputs.trainer == "local" else command.trainer_device
    return ASSUMED_GPU if device == "gpu" else measured


def read_costs(path: Path) -> TrainerCosts:
    """Constants of a calibration. Raises InputError if the file is none."""
    try:
        return TrainerCosts.from_file(path)
    except (OSError, ValueError) as error:
        raise InputError(f"calibration {path} cannot be read: {error}") from error


def print_table(table: "Table", command: PlanCommand, *, without: str | None = None) -> None:
    """For people, or as Markdown without one of its columns."""
    if command.markdown:
        from pipelines.devtools.markdown_table import markdown_table

        print(markdown_table(table, without=without))
    else:
        console().print(table)


def console() -> "Console":
    """Wide enough for the table where nobody looks at a terminal."""
    from rich.console import Console

    return Console(width=None if sys.stdout.isatty() else WIDTH)


if __name__ == "__main__":
    main(sys.argv[1:])
