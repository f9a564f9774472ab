"""What does Exploratory Sampling cost an engine? Stock vLLM, each part of ESamp, and all of it, interleaved in one run.

    python -m jobs.devtools.bench_engine                                  # one shape, some minutes on two cores
    python -m jobs.devtools.bench_engine --shape.hidden 1024 --inner-widths 384 96 --filters none min_p
    python -m jobs.devtools.bench_engine --actor                          # with Distiller-trainer actors as well (starts Ray)
    python -m jobs.devtools.bench_engine --actor --modes "predict only" "full, actor" "full, slow actor"
    python -m jobs.devtools.bench_engine --model Qwen/Qwen2.5-Coder-0.5B-Instruct    # every policy on a real model, recorded
    python -m jobs.devtools.bench_engine --model FOLDER --modes vanilla esamp "esamp, distiller=rls" --model-shape.rounds 3

Without --model the model is random with peaked next-token distributions, so nothing is downloaded: it writes bench.json and bench.png to
--output, prints a table, and fails if the Distillers did not learn. With --model it writes model_cost.json and prints processor time per
token relative to stock vLLM with seeds.
"""

import json
import sys
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field, replace
from datetime import date
from itertools import product
from pathlib import Path
from statistics import median
from typing import Literal

import tyro

from esamp.devtools.bench.model_cost import ModelShape, PolicyCondition, machine_name, measure_policy
from esamp.devtools.bench.shape import Filter, Shape
from jobs.command.exit_codes import one_line_errors
from pipelines.config.run import RunConfig
from pipelines.config.sampler_condition import SamplerCondition
from pipelines.errors import InputError

MODEL_MODES = ("stock", "vanilla", "esamp, record=behaviour", "esamp", "quasi", "latent", "fire", "override")
"""Modes that are measured on a model unless --modes says otherwise; contrastive decoding needs a second model."""


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
    """Folder or hub id of a model to measure instead of a random one: processor time per token of each policy relative to stock vLLM."""
    model_shape: ModelShape = field(default_factory=ModelShape)
    """With --model: the batch; --shape, --rounds and --tokens do not apply."""
    seed: int = 0
    """Seed of weights, prompts and the order of modes."""
    output: Path = Path("runs/bench")
    """Folder of bench.json and bench.png, or of model_cost.json."""

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
    from rich.console import Console

    from esamp.devtools.bench.report import cost_table

    conditions = [model_condition(mode) for mode in command.modes or MODEL_MODES]
    console = Console()
    costs = []
    for condition in conditions:
        console.print(f"measuring {condition.name}", style="dim", highlight=False)
        costs.append(measure_policy(model, condition, command.model_shape))
        console.print(f"{costs[-1].name}: {median(costs[-1].cpu_ratios):.3f}", style="dim", highlight=False)
    caption = f"{machine_name()}; python -m jobs.devtools.bench_engine {' '.join(args)}; {date.today()}"
    command.output.mkdir(parents=True, exist_ok=True)
    path = command.output / "model_cost.json"
    path.write_text(json.dumps({"caption": caption, "costs": [asdict(cost) for cost in costs]}, indent=1))
    console.print(cost_table(costs, caption))
    console.print(f"written: {path}", highlight=False)


def model_condition(mode: str) -> PolicyCondition:
    """What --modes names with --model. Raises InputError for a sampler without a policy in the engine, and for settings that it has not."""
    if mode == "stock":
        return PolicyCondition(mode, None, is_recorded=False)
    condition = SamplerCondition.parse(mode)
    if condition.changes_sampling:
        raise InputError(
            f"--modes takes settings of policies; give --model-shape.temperature and the like. Got {mode!r}."
        )
    policy = condition.applied_to(RunConfig()).policy
    if policy is None and condition.sampler != "vanilla":
        raise InputError(f"sampler {condition.sampler} is vLLM's own draw, which is mode stock; got {mode!r}.")
    # With beta 0 our worker does nothing but record.
    return PolicyCondition(mode, {"esamp": {"beta": 0.0}} if policy is None else {policy.name: policy.to_dict()})


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
