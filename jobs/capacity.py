"""Does learning keep up? Bandwidth, load, lag and memory of the Distillers of a cluster, before anything is started.

    python -m jobs.capacity                                                   # 8, 64, 1,024 shards x 7B, 32B, 70B, every scope
    python -m jobs.capacity --model-shape 7b --shards 64 --scope prompt --trainer actor
    python -m jobs.capacity --model-shape 7b --shards 64 --trainers 8 --trainer-device gpu --network-gb 12.5
    python -m jobs.capacity --run run.yaml                                    # one run: settings as for jobs.passk --config

A load above 1 means that the busiest part of the exchange is asked for more than it can do. Below that a busy trainer gets longer messages
and answers with rarer weight updates, so the lag grows; above it rows are dropped (counted, and never waited for). "keeps up" means that
no row is dropped and beta is not lowered. A trainer actor runs on one CPU core unless --trainer-device says gpu; shards decode on GPUs. The
models' decode steps per second are published or assumed, the GPU's constants assumed, and the CPU's measured: see docs/scaling.md.
"""

import json
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import tyro

from actors.capacity.inputs import CapacityInputs, Placement
from actors.capacity.trainer_costs import ASSUMED_GPU, MEASURED_CPU
from esamp.config import Scope
from jobs.command.exit_codes import one_line_errors
from pipelines.capacity.model_shapes import MODEL_SHAPES
from pipelines.errors import InputError

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

Device = Literal["cpu", "gpu"]
COSTS = {"cpu": MEASURED_CPU, "gpu": ASSUMED_GPU}
WIDTH = 200
"""Columns, where there is no terminal."""


@dataclass(frozen=True, kw_only=True)
class CapacityCommand:
    """The command line of this job."""

    model_shape: tuple[Literal["7b", "32b", "70b"], ...] = ("7b", "32b", "70b")
    """Models by size: Qwen2.5-7B, Qwen2.5-32B, Llama-3.1-70B."""
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
    run: Path | None = None
    """One run instead, with its own settings: a YAML file as for jobs.passk --config."""
    markdown: bool = False
    """Print tables as in docs/scaling.md."""
    json: bool = False
    """Print JSON instead of the table."""
    plot: Path | None = None
    """Write a plot of load and lag over shards to this PNG file."""


def main(args: list[str]) -> None:
    """Parse, estimate, print."""
    with one_line_errors():
        command = tyro.cli(CapacityCommand, prog="python -m jobs.capacity", description=__doc__, args=args)
        if command.run is not None:
            print_run(command.run, command)
        else:
            print_grid(command)


def print_grid(command: CapacityCommand) -> None:
    """Print the table, or JSON; write the plot."""
    # Imported late: matplotlib and torch take seconds that --help need not wait for.
    from pipelines.capacity.exchange import ExchangeCapacity
    from pipelines.capacity.report import CapacityRow, capacity_table, plot_capacity

    rows = []
    for name, inputs in grid_inputs(command):
        device = command.shard_device if inputs.trainer == "local" else command.trainer_device
        rows.append(CapacityRow(name, ExchangeCapacity.of(inputs, COSTS[device])))
    if command.plot is not None:
        plot_capacity(rows, command.plot)
    if command.json:
        costs = {device: asdict(costs) for device, costs in COSTS.items()}
        print(json.dumps({"costs": costs, "rows": [row.to_dict() for row in rows]}, indent=1))
        return
    for name in command.model_shape:
        shape = MODEL_SHAPES[name]
        title = f"{name}: hidden {shape.hidden_size}, {command.steps_per_s or shape.steps_per_s:g} steps/s a shard\n{shape.source}"
        print_table(capacity_table([row for row in rows if row.model == name], title=title), command)


def grid_inputs(command: CapacityCommand) -> Iterator[tuple[str, CapacityInputs]]:
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


def print_run(path: Path, command: CapacityCommand) -> None:
    """Print what a run needs, and whether its trainer keeps up."""
    # Imported late: transformers takes seconds.
    from jobs.passk import parse
    from pipelines.capacity.exchange import assess_exchange
    from pipelines.capacity.report import CapacityRow, capacity_table
    from pipelines.capacity.run import run_needs

    config = parse(["--config", str(path)]).run
    row, needs = CapacityRow(config.model, assess_exchange(config)), run_needs(config)
    if command.json:
        print(json.dumps({"needs": asdict(needs), **row.to_dict()}, indent=1))
        return
    console().print(
        f"{needs.problems} problems, {needs.samples:,} samples, at most {needs.answer_tokens:,} answer tokens: at most about "
        f"{needs.hours:.2g} h on {config.shards} shard(s), {needs.gpu_hours:.2g} GPU hours (an order of magnitude); "
        f"the driver's memory about {needs.driver_bytes / 1e9:.1f} GB",
        highlight=False,
    )
    inputs = row.capacity.inputs
    title = f"hidden {inputs.hidden_size}, {inputs.steps_per_s:.3g} steps/s a shard, estimated; learning on {row.capacity.costs.machine}"
    print_table(capacity_table([row], title=title), command)


def print_table(table: "Table", command: CapacityCommand) -> None:
    """For people, or as Markdown without the advice."""
    from pipelines.capacity.report import ADVICE, markdown_table

    if command.markdown:
        print(markdown_table(table, without=ADVICE))
    else:
        console().print(table)


def console() -> "Console":
    """Wide enough for the table where nobody looks at a terminal."""
    from rich.console import Console

    return Console(width=None if sys.stdout.isatty() else WIDTH)


if __name__ == "__main__":
    main(sys.argv[1:])
