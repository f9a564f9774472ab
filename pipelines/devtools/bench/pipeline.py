"""What does the pipeline cost over its engine, and how does it scale from one shard to two?

    bare          vLLM's loop in a process of its own, pinned to core 0               (pipelines/devtools/bench/bare_loop.py)
    bare, records the same, with the per-token records that a run keeps
    pipeline      jobs.passk's pipeline, one shard pinned to core 0, everything else of it on core 1
    one core      the same, everything on core 0
    two cores     two shards, one pinned to each core, everything else on either

Rounds measure each mode once, in a new random order, with the same prompts, seeds and engine settings. Engines start once, before the
first round. A pipeline has two speeds: by the session's clock, from its first unit to the last one on disk, which includes
the start of Ray Data's stages; and by the shards' busy clock, which runs while an engine has work. Processor time per token is reported as
well: on a machine with other work it is the steadier measure, and an engine with a core to itself takes just that time for a token.
"""

import os
import random
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import median

import psutil
import ray
from ray.actor import ActorHandle
from rich.console import Console
from rich.table import Table

from actors.config import EngineConfig, SamplingConfig, ShardConfig
from actors.shards.fleet import Fleet
from actors.types import ShardStats, TrainerStats, WorkUnit
from esamp.config import ESampConfig
from pipelines.config.run import RunConfig
from pipelines.devtools.bench.bare_loop import BareLoop
from pipelines.devtools.bench.shape import PipelineShape
from pipelines.devtools.bench.word_model import SHAPE, write_word_model, write_word_problems
from pipelines.loggers.run_logger import RunLoggers
from pipelines.prepare.run import prepare_run
from pipelines.session import generate_work_units
from pipelines.stages.ray_session import ray_session


@dataclass(frozen=True, kw_only=True, slots=True)
class RoundTiming:
    """One mode in one round."""

    mode: str
    tokens: int
    seconds: float
    """By the session's clock; of the bare loop its own."""
    busy_seconds: float
    """By the shards' busy clock, their mean; of the bare loop its own."""

    engine_core_s: float
    """Processor time of the engines' processes."""
    other_core_s: float
    """Processor time of everything else: Ray, the driver, the stages around generation."""

    @property
    def tokens_per_s(self) -> float:
        """By the session's clock."""
        return self.tokens / self.seconds

    @property
    def busy_tokens_per_s(self) -> float:
        """By the busy clock."""
        return self.tokens / self.busy_seconds


class WarmFleet:
    """Shards that are already running, lent to one run: counters begin at 0 for it."""

    def __init__(self, shards: list[ActorHandle]) -> None:
        self.shards = shards
        self.trainers: list[ActorHandle] = []
        self._before: list[ShardStats] = ray.get([shard.stats.remote() for shard in shards])

    def __call__(
        self, config: ShardConfig, *, num_shards: int, min_shards: int | None = None, num_trainers: int = 1
    ) -> AbstractContextManager["WarmFleet"]:
        return nullcontext(self)

    def grow(self, router: ActorHandle, *, other_cpus: float) -> None:
        """All of them are there from the start."""

    def stats(self) -> list[ShardStats]:
        """Of this run."""
        after: list[ShardStats] = ray.get([shard.stats.remote() for shard in self.shards])
        return [
            replace(
                now,
                samples=now.samples - before.samples,
                generation_seconds=now.generation_seconds - before.generation_seconds,
            )
            for now, before in zip(after, self._before, strict=True)
        ]

    def trainer_stats(self) -> TrainerStats | None:
        return None


@dataclass(slots=True)
class PipelineBench:
    """Engines that stay warm over all rounds."""

    config: RunConfig
    folder: Path
    bare: BareLoop
    shards: list[ActorHandle]
    runs: int = 0

    def measure(self, mode: str, *, problems: int) -> RoundTiming:
        """One mode, once."""
        if mode.startswith("bare"):
            timing = self.bare.run(self.units(problems), is_recording=mode == "bare, records")
            return RoundTiming(
                mode=mode,
                tokens=timing.tokens,
                seconds=timing.seconds,
                busy_seconds=timing.seconds,
                engine_core_s=timing.core_seconds,
                other_core_s=0.0,
            )
        shards = self.shards if mode == "two cores" else self.shards[:1]
        pin({"pipeline": {1}, "one core": {0}, "two cores": {0, 1}}[mode], self.shards)
        return self.run_pipeline(mode, shards, problems=problems)

    def units(self, problems: int) -> list[WorkUnit]:
        """What every mode draws."""
        return [unit.work for unit in prepare_run(self.round_config(problems)).plan.work_units()]

    def round_config(self, problems: int) -> RunConfig:
        """A run of its own for each round: samples on disk would not be generated again."""
        return replace(self.config, limit=problems, output=self.folder / f"run-{self.runs}")

    def run_pipeline(self, mode: str, shards: list[ActorHandle], *, problems: int) -> RoundTiming:
        """The pipeline of jobs.passk on warm shards."""
        self.runs += 1
        run = prepare_run(replace(self.round_config(problems), shards=len(shards)))
        before = core_seconds(self.shards)
        with open(os.devnull, "w") as nowhere:
            generate_work_units(
                run, console=Console(file=nowhere), start_fleet=WarmFleet(shards), log_progress=RunLoggers({})
            )
        engines_s, others_s = (now - then for now, then in zip(core_seconds(self.shards), before, strict=True))
        [session] = run.folder.sessions()
        busy = [shard["generation_seconds"] for shard in session.shards]
        return RoundTiming(
            mode=mode,
            tokens=session.tokens,
            seconds=session.seconds,
            busy_seconds=sum(busy) / len(busy),
            engine_core_s=engines_s,
            other_core_s=others_s,
        )


MODES = ("bare", "bare, records", "pipeline", "one core", "two cores")


def run_pipeline_bench(shape: PipelineShape, folder: Path, *, log: Callable[[str], None]) -> list[RoundTiming]:
    """Every mode in every round. Raises InputError as a run does."""
    with warm_engines(shape, folder) as bench:
        for mode in MODES:
            bench.measure(mode, problems=shape.warmup_problems)
        timings = []
        order = random.Random(0)
        for round_ in range(shape.rounds):
            for mode in order.sample(MODES, len(MODES)):
                timings.append(timing := bench.measure(mode, problems=shape.problems))
                log(
                    f"round {round_}: {mode}: {timing.tokens_per_s:,.0f} tokens/s, {timing.seconds:.1f} s, "
                    f"busy {timing.busy_seconds:.1f} s"
                )
    return timings


@contextmanager
def warm_engines(shape: PipelineShape, folder: Path) -> Iterator[PipelineBench]:
    """Two shards and a bare loop; Ray is started for them."""
    config = bench_config(shape, folder)
    with (
        ray_session([config], run_ids=[]),
        BareLoop(config.shard, core=0) as bare,
        Fleet(config.shard, num_shards=2) as fleet,
    ):
        yield PipelineBench(config=config, folder=folder, bare=bare, shards=fleet.shards)


def bench_config(shape: PipelineShape, folder: Path) -> RunConfig:
    """The run of a round, but for its prompts."""
    common = RunConfig(
        samples=shape.samples,
        sampler=shape.sampler,
        shards=2,
        engine=EngineConfig(
            # A model of one's own keeps its dtype: twice its memory, four times over, might not fit.
            dtype="float32" if shape.model in ("embedded", "random") else "auto",
            kv_cache_gib=0.5,
            max_model_len=1024 if shape.model not in ("embedded", "random") else None,
            enforce_eager=True,
            max_num_seqs=shape.batch,
        ),
        sampling=SamplingConfig(max_tokens=shape.max_tokens),
        esamp=ESampConfig(trainer="local", inner_width=shape.inner_width),
    )
    if shape.model == "embedded":
        return common
    model = shape.model
    if model == "random":
        model = str(write_word_model(folder / "model", SHAPE, entropy_nats=1.5, seed=0))
    problems = write_word_problems(folder / "problems.jsonl", max(shape.problems, shape.warmup_problems), seed=0)
    return replace(common, model=model, dataset=str(problems), verifier="none", template="{problem}")


def pin(cores: set[int], shards: list[ActorHandle]) -> None:
    """Every process of this job to `cores`, but shard i to core i."""
    core_of_pid = {pid: {core} for core, pid in enumerate(shard_pids(shards))}
    me = psutil.Process()
    for process in (me, *me.children(recursive=True)):
        try:
            for thread in process.threads():
                os.sched_setaffinity(thread.id, core_of_pid.get(process.pid, cores))
        except (psutil.NoSuchProcess, ProcessLookupError):
            continue  # it has ended meanwhile


def shard_pids(shards: list[ActorHandle]) -> list[int]:
    """Process ids."""
    pids: list[int] = ray.get([shard.__ray_call__.remote(lambda _: os.getpid()) for shard in shards])
    return pids


def core_seconds(shards: list[ActorHandle]) -> tuple[float, float]:
    """Processor time so far of the shards' processes, and of all others of this job, those that have ended included."""
    pids = shard_pids(shards)
    engines_s = others_s = 0.0
    me = psutil.Process()
    for process in (me, *me.children(recursive=True)):
        try:
            times = process.cpu_times()
        except psutil.NoSuchProcess:
            continue  # it has ended meanwhile, and its parent counts it
        own_s = times.user + times.system
        if process.pid in pids:
            engines_s += own_s
        else:
            others_s += own_s + times.children_user + times.children_system
    return engines_s, others_s


def medians(timings: list[RoundTiming]) -> dict[str, dict[str, float]]:
    """By mode: medians over rounds, and ratios of the same round's modes."""
    rounds = [timings[i : i + len(MODES)] for i in range(0, len(timings), len(MODES))]
    speeds: dict[str, dict[str, float]] = {}
    for mode in MODES:
        of_mode = [timing for timing in timings if timing.mode == mode]
        speeds[mode] = {
            "tokens_per_s": median(t.tokens_per_s for t in of_mode),
            "busy_tokens_per_s": median(t.busy_tokens_per_s for t in of_mode),
            "start_and_end_s": median(t.seconds - t.busy_seconds for t in of_mode),
            "seconds": median(t.seconds for t in of_mode),
            "engine_core_ms_per_token": median(1000 * t.engine_core_s / t.tokens for t in of_mode),
            "other_core_ms_per_token": median(1000 * t.other_core_s / t.tokens for t in of_mode),
        }
    for mode, baseline in (
        ("pipeline", "bare"),
        ("pipeline", "bare, records"),
        ("two cores", "one core"),
        ("two cores", "pipeline"),
    ):
        speeds[f"{mode} / {baseline}"] = {
            "tokens_per_s": median(ratio(r, mode, baseline, lambda t: t.tokens_per_s) for r in rounds),
            "busy_tokens_per_s": median(ratio(r, mode, baseline, lambda t: t.busy_tokens_per_s) for r in rounds),
            "tokens_per_core_s": median(ratio(r, mode, baseline, lambda t: t.tokens / t.engine_core_s) for r in rounds),
        }
    return speeds


def ratio(round_: list[RoundTiming], mode: str, baseline: str, speed: Callable[[RoundTiming], float]) -> float:
    """One mode by another, of one round."""
    by_mode = {timing.mode: timing for timing in round_}
    return speed(by_mode[mode]) / speed(by_mode[baseline])


def pipeline_table(shape: PipelineShape, timings: list[RoundTiming], caption: str) -> Table:
    """One row per mode, then the ratios."""
    table = Table(
        caption=caption,
        title=(
            f"{shape.model} model, {shape.sampler}: {shape.problems} prompts x {shape.samples} samples, batch {shape.batch}, "
            f"{shape.rounds} rounds, medians"
        ),
        title_justify="left",
    )
    table.add_column("mode")
    for heading in (
        "tokens/s,\nsession",
        "tokens/s,\nbusy",
        "not busy,\ns",
        "session,\ns",
        "core-ms a token,\nengines",
        "core-ms a token,\nall else",
    ):
        table.add_column(heading, justify="right")
    for mode, speeds in medians(timings).items():
        if mode in MODES:
            table.add_row(
                mode,
                f"{speeds['tokens_per_s']:,.0f}",
                f"{speeds['busy_tokens_per_s']:,.0f}",
                f"{speeds['start_and_end_s']:.1f}",
                f"{speeds['seconds']:.1f}",
                f"{speeds['engine_core_ms_per_token']:.3f}",
                f"{speeds['other_core_ms_per_token']:.3f}",
                end_section=mode == MODES[-1],
            )
        else:
            table.add_row(
                mode,
                f"{speeds['tokens_per_s']:.3f}",
                f"{speeds['busy_tokens_per_s']:.3f}",
                "",
                "",
                f"{1 / speeds['tokens_per_core_s']:.3f}",
                "",
            )
    return table


def measured(shape: PipelineShape, timings: list[RoundTiming]) -> dict[str, object]:
    """Every round, and the medians, for JSON."""
    return {
        "cores": os.cpu_count(),
        "shape": asdict(shape),
        "medians": medians(timings),
        "timings": [asdict(timing) for timing in timings],
    }
