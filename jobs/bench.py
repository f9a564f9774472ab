"""What does Exploratory Sampling cost? Stock vLLM, each part of ESamp, and all of it, interleaved in one run.

    python -m jobs.bench                                  # one shape, some minutes on two cores
    python -m jobs.bench --shape.hidden 1024 --inner-widths 384 96 --filters none min_p
    python -m jobs.bench --actor                          # with Distiller-trainer actors as well (starts Ray)
    python -m jobs.bench --actor --modes "predict only" "full, actor" "full, slow actor"
    python -m jobs.bench --verifiers                      # something else: samples per second of every verifier
    python -m jobs.bench --verifiers --humaneval humaneval.jsonl --samples 32
    python -m jobs.bench --pipeline                       # something else: jobs.passk's pipeline against a bare vLLM loop
    python -m jobs.bench --pipeline --passk.model random --passk.sampler esamp --passk.problems 64 --passk.max-tokens 96

The model is random with peaked next-token distributions, so nothing is downloaded. Writes bench.json and bench.png to --output, prints a
table, and fails if the Distillers did not learn.
"""

import json
import sys
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field, replace
from itertools import product
from pathlib import Path
from typing import Literal

import tyro

from esamp.devtools.bench.shape import Filter, Shape
from jobs.exit_codes import one_line_errors
from pipelines.devtools.bench.shape import PipelineShape


@dataclass(frozen=True, kw_only=True)
class BenchCommand:
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
    """Measure only these modes, such as "predict only" and "full, actor", beside stock; by default all."""
    seed: int = 0
    """Seed of weights, prompts and the order of modes."""
    verifiers: bool = False
    """Measure verifiers instead: samples per second and verdicts, on small samples that ship with the project."""
    humaneval: Path | None = None
    """With --verifiers: a HumanEval file, whose references are verified as well."""
    samples: int = 32
    """With --humaneval: how often each reference is verified."""
    allow_unsafe_execution: bool = False
    """With --verifiers: measure code without a sandbox where none works."""
    pipeline: bool = False
    """Measure the pipeline instead: tokens per second of jobs.passk with one shard and with two, and of a bare vLLM loop."""
    passk: PipelineShape = field(default_factory=PipelineShape)
    """With --pipeline: what is run."""
    output: Path = Path("runs/bench")
    """Folder of bench.json and bench.png, or of verifiers.json, or of pipeline.json."""

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
    """Measure what the command line asks for."""
    with one_line_errors():
        command = tyro.cli(BenchCommand, prog="python -m jobs.bench", description=__doc__, args=args)
        if command.verifiers:
            bench_verifiers(command, args)
        elif command.pipeline:
            bench_pipeline(command, args)
        else:
            bench_engines(command, args)


def bench_engines(command: BenchCommand, args: list[str]) -> None:
    """Measure every mode at every shape, print and write; exit with 1 if the Distillers did not learn."""
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
        "command": " ".join(["python -m jobs.bench", *args]),
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


def bench_verifiers(command: BenchCommand, args: list[str]) -> None:
    """Measure every verifier, print and write."""
    # Imported late: the verifiers bring Ray along.
    from rich.console import Console

    from pipelines.devtools.bench.verifiers import measure_humaneval, measure_verifiers, speed_table, write_speeds

    console = Console()
    speeds = list(measure_verifiers(allow_unsafe_execution=command.allow_unsafe_execution))
    if command.humaneval is not None:
        speeds.append(
            measure_humaneval(
                command.humaneval,
                samples=command.samples,
                allow_unsafe_execution=command.allow_unsafe_execution,
            )
        )
    path = command.output / "verifiers.json"
    write_speeds(path, speeds, command=" ".join(["python -m jobs.bench", *args]))
    console.print(speed_table(speeds))
    console.print(f"written: {path}", highlight=False)


def bench_pipeline(command: BenchCommand, args: list[str]) -> None:
    """Measure the pipeline against its engine, print and write."""
    # Imported late: they bring Ray along.
    from tempfile import TemporaryDirectory

    from rich.console import Console

    from pipelines.devtools.bench.pipeline import pipeline_table, run_pipeline_bench, write_timings

    console = Console()
    with TemporaryDirectory() as folder:
        timings = run_pipeline_bench(
            command.passk, Path(folder), tell=lambda line: console.print(line, style="dim", highlight=False)
        )
    path = command.output / "pipeline.json"
    write_timings(path, command.passk, timings, command=" ".join(["python -m jobs.bench", *args]))
    console.print(pipeline_table(command.passk, timings))
    console.print(f"written: {path}", highlight=False)


if __name__ == "__main__":
    main(sys.argv[1:])
