"""What does Exploratory Sampling cost an engine? Stock vLLM, each part of ESamp, and all of it, interleaved in one run.

    python -m jobs.devtools.bench_engine                                  # one shape, some minutes on two cores
    python -m jobs.devtools.bench_engine --shape.hidden 1024 --inner-widths 384 96 --filters none min_p
    python -m jobs.devtools.bench_engine --actor                          # with Distiller-trainer actors as well (starts Ray)
    python -m jobs.devtools.bench_engine --actor --modes "predict only" "full, actor" "full, slow actor"
    python -m jobs.devtools.bench_engine --model Qwen/Qwen2.5-Coder-0.5B-Instruct    # every policy on a real model, recorded
    python -m jobs.devtools.bench_engine --model FOLDER --modes vanilla "esamp, distiller=rls" --model-shape.threads 2

Without --model the model is random with peaked next-token distributions, so nothing is downloaded: it writes bench.json and bench.png to
--output, prints a table, and fails if the Distillers did not learn. With --model it prints processor time per token relative to stock vLLM
with seeds, of every sampler that jobs.passk names (--modes: some of them), and writes model_cost.json and model_cost.md.
"""

import json
import sys
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field, replace
from itertools import product
from pathlib import Path
from statistics import median
from typing import Literal

import tyro

from actors.config import SamplingConfig
from esamp.devtools.bench.model_cost import ModelShape, measure_policy
from esamp.devtools.bench.shape import Filter, Shape
from jobs.command.exit_codes import one_line_errors


@dataclass(frozen=True, kw_only=True)
class BenchEngineCommand:
    """The command line of this job."""

    shape: Shape = field(default_factory=Shape)
    """The point to measure; the lists below make a grid of it."""
    batches: tuple[int, ...] = ()
    """Batch sizes instead of the shape's: its number of prompts follows."""
    inner_widths: tuple[int, ...] = ()
    """Distiller widths instead of the shape's."""
    filters: tuple[Filter, ...] = ()
    """Filters instead of the shape's."""
    rounds: int = 20
    """Rounds; each runs every mode once."""
    tokens: int = 32
    """Decode steps per mode and round, in turns of 8 with stock vLLM."""
    entropy_nats: float = 1.5
    """Entropy of the random model's next-token distributions."""
    dtype: Literal["bfloat16", "float32"] = "bfloat16"
    """What the model computes in; Distillers compute in float32."""
    eager: bool = True
    """Leave out torch.compile and CUDA graphs."""
    actor: bool = False
    """Measure a Distiller-trainer actor as well, and one that is ten times too slow, on a Ray that is started for them."""
    modes: tuple[str, ...] = ()
    """Measure only these modes, such as "predict only" and "full, actor", beside stock; by default all. With --model a mode is stock or a
    sampler of jobs.passk, alone or with settings as jobs.compare takes them."""
    model: str | None = None
    """Folder or hub id of a model to measure instead of a random one: processor time per token of each sampler relative to stock vLLM."""
    model_shape: ModelShape = field(default_factory=ModelShape)
    """With --model: the batch; --shape, --rounds and --tokens do not apply."""
    sampling: SamplingConfig = field(default_factory=SamplingConfig)
    """With --model: temperature and filters of both engines; the samplers "top-p", "top-k" and "min-p" add their own."""
    amateur: str | None = None
    """With --model: contrastive decoding's weaker model. By default the model itself, the dearest there can be."""
    seed: int = 0
    """Seed of weights, prompts and the order of modes."""
    output: Path = Path("runs/bench")
    """Folder of bench.json and bench.png, or of model_cost.json and model_cost.md."""

    def shapes(self) -> list[Shape]:
        """The grid."""
        return [
            replace(
                self.shape,
                prompts=max(1, batch // self.shape.samples),
                samples=min(batch, self.shape.samples),
                inner_width=width,
                filter=name,
            )
            for batch, width, name in product(
                self.batches or (self.shape.batch,),
                self.inner_widths or (self.shape.inner_width,),
                self.filters or (self.shape.filter,),
            )
        ]


def main(args: list[str]) -> None:
    """Measure every mode at every shape, print and write; exit with 1 if the Distillers did not learn."""
    with one_line_errors():
        command = tyro.cli(
            BenchEngineCommand, prog="python -m jobs.devtools.bench_engine", description=__doc__, args=args
        )
        if command.model is None:
            measure_engines(command, args)
        else:
            measure_model(command.model, command, args)


def measure_model(model: str, command: BenchEngineCommand, args: list[str]) -> None:
    """Measure each policy on a model, print and write."""
    # Imported late: they take seconds that --help need not wait for.
    from rich.console import Console

    from esamp.devtools.bench.report import cost_table
    from pipelines.devtools.bench.results import caption, write_results
    from pipelines.devtools.bench.sampler_conditions import MAIN_MODES, conditions

    shape = command.model_shape
    console = Console()
    costs = []
    for condition in conditions(command.modes, command.sampling, amateur=command.amateur or model):
        console.print(f"measuring {condition.name}", style="dim", highlight=False)
        rounds = shape.rounds if condition.name in MAIN_MODES else shape.control_rounds
        costs.append(measure_policy(model, condition, shape, rounds=rounds))
        console.print(f"{costs[-1].name}: {median(costs[-1].cpu_ratios):.3f}", style="dim", highlight=False)
        # After every mode: a run of an hour should not lose what it has.
        table = cost_table(costs, shape, caption("jobs.devtools.bench_engine", args))
        measured = {"shape": asdict(shape), "costs": [asdict(cost) for cost in costs]}
        written = write_results(command.output, "model_cost", table, measured)
    console.print(table)
    console.print(f"written: {written}", highlight=False)


def measure_engines(command: BenchEngineCommand, args: list[str]) -> None:
    """As `main`."""
    # Imported late: torch and vLLM take seconds that --help need not wait for.
    import torch
    from rich.console import Console

    from esamp.devtools.bench.engine_bench import run_point, standard_modes
    from esamp.devtools.bench.report import bench_table, plot_points, point_summary, slot_table
    from esamp.devtools.bench.slot_scaling import slot_costs

    console = Console()
    with ExitStack() as stack:
        modes = standard_modes()
        if command.actor:
            from actors.devtools.bench import actor_bench, exchange_lines

            modes += stack.enter_context(actor_bench()).modes
        points = [
            run_point(
                shape,
                modes=[mode for mode in modes if not command.modes or mode.name in ("stock", *command.modes)],
                rounds=command.rounds,
                tokens=command.tokens,
                entropy_nats=command.entropy_nats,
                is_eager=command.eager,
                dtype=getattr(torch, command.dtype),
                seed=command.seed,
                log=lambda line: console.print(line, style="dim", highlight=False),
            )
            for shape in command.shapes()
        ]
    command.output.mkdir(parents=True, exist_ok=True)
    summaries = [point_summary(point) for point in points]
    costs = slot_costs(command.shape)
    measured = {
        "command": " ".join(["python -m jobs.devtools.bench_engine", *args]),
        "points": [asdict(summary) for summary in summaries],
        "slots": [asdict(cost) for cost in costs],
    }
    (command.output / "bench.json").write_text(json.dumps(measured, indent=1))
    plot_points(summaries, costs, command.output / "bench.png")
    for summary in summaries:
        console.print(bench_table(summary))
        if command.actor and (not command.modes or "predict only" in command.modes):
            console.print("\n".join(exchange_lines(summary)), highlight=False)
    console.print(slot_table(costs, command.shape))
    console.print(f"written: {command.output / 'bench.json'}, {command.output / 'bench.png'}", highlight=False)
    not_learned = [summary for summary in summaries if not summary.loss_end < summary.loss_start]
    if not_learned:
        sys.exit(
            f"the Distillers did not learn: loss {not_learned[0].loss_start:.3g} -> {not_learned[0].loss_end:.3g} "
            f"({not_learned[0].label})."
        )


if __name__ == "__main__":
    main(sys.argv[1:])
