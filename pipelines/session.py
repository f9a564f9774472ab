"""One session of a run: its shards generate the work units that are not finished, and every one is scored and saved.

todo/ -> GenerateSamples -> samples/*.parquet                        a work unit, once all its samples have a verdict
          |  ^   |  ^   |
          |  |   |  |   +--> live/*.parquet                         each sample, seconds after it is finished
          |  |   +--+------- verifiers (stages/score.py)
          +--+-------------- LLM shards (actors.Fleet)
"""

import math
import time
import uuid
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from typing import Any

import ray
import ray.data
from ray.actor import ActorHandle
from ray.data import ActorPoolStrategy, Dataset, SaveMode
from rich.console import Console

from actors.names import actor_name
from actors.shards.placement import drivers_node
from actors.shards.router import start_router
from actors.types import RouterCounts, ShardStats, TrainerStats
from esamp.config import ESampConfig
from pipelines.config.run import RunConfig
from pipelines.errors import RunError
from pipelines.live.counts import Progress
from pipelines.live.log import LiveSamples
from pipelines.live.position import lacks_samples, run_position
from pipelines.live.progress import LiveProgress
from pipelines.live.progress_file import RunProgress, write_progress
from pipelines.live.saved_logs import SavedLogs
from pipelines.logs.collector import collected_warnings
from pipelines.metrics.run_metrics import RunMetrics
from pipelines.metrics.shard_counters import ShardCounterMetrics
from pipelines.prepare.run import PreparedRun
from pipelines.runs.finished_sample import FinishedSample
from pipelines.runs.folder import SAMPLES, TODO, RunFolder, Session
from pipelines.runs.manifest import Manifest
from pipelines.runs.plan import work_unit_groups, work_units_in_flight, work_units_per_file
from pipelines.runs.provenance import now
from pipelines.runs.schema import RunLabels, run_labels
from pipelines.session_errors import samples_of_unfinished_units
from pipelines.stages.early_stopping import Gate, OpenGate, StoppingActor, StoppingGate
from pipelines.stages.generate import GenerateSamples, LogSettings
from pipelines.stages.ray_session import pipeline_cpus
from pipelines.stages.score import start_verifiers
from pipelines.stages.shard_fleet import NoShards, ShardFleet, StartFleet
from pipelines.stages.stop_signals import StopSignals
from pipelines.verifiers.settings import verifier_settings


def generate_work_units(
    run: PreparedRun,
    *,
    console: Console,
    start_fleet: StartFleet,
    log_progress: Callable[[RunProgress], None],
) -> None:
    """One session: generate, score and save the work units that are not finished. Raises RunError if the session did not do its work, and
    KeyboardInterrupt, once the session is recorded, if a signal ended it.

    `log_progress` is given every poll of the run beside its metrics and progress.json.
    """
    show_first_prompt(run, console)
    session_name = new_session_name()
    with (
        collected_warnings(run.run_id, session_name) as collector,
        LiveProgress(console=console) as live,
        StopSignals(console) as signals,
        fleet_for(run, console, start_fleet) as fleet,
    ):
        # Only now: workers of a session that was killed a moment ago may have saved their last file while the engines started.
        begin = begin_session(run, console)
        collector.begin.remote(run.folder.storage.url())
        pipeline = start_pipeline(run, begin.manifest, fleet, session_name)
        position = run_position(run.folder, begin.manifest, saved=begin.saved)
        ray.get(pipeline.progress.expect.remote(position.missing))
        sink = progress_sink(run, begin.manifest, fleet, log_progress)
        started, clock = now(), time.monotonic()
        with (
            live.following(pipeline.progress, position=position, router=pipeline.router, fleet=fleet, sink=sink),
            begin.logs,
            signals.with_grace(pipeline.router, run.config.grace),
        ):
            save_rounds(pipeline, run, begin.manifest, begin.saved)
        stop = signals.interrupt
        units = begin.unfinished - (run.count_work_units().unfinished if stop else 0)
        seconds = time.monotonic() - clock
        session = session_record(live, pipeline.router, fleet, started=started, seconds=seconds, units=units)
        # Recorded before the shards are stopped, which takes seconds that the sender of a signal may not give.
        run.folder.clear_todo()
        run.folder.add_session(session)
        begin.logs.remove()  # a stage's last file may have come after the last look
        if stop is not None:
            raise stop
    check_exploration(run.config, session)


def fleet_for(run: PreparedRun, console: Console, start_fleet: StartFleet) -> AbstractContextManager[ShardFleet]:
    """The shards of the session; none if every sample that it needs was saved before."""
    config = run.config
    if not lacks_samples(run.folder, run.manifest):
        console.print(f"all samples of {run.folder.path} are generated: no engine is started", highlight=False)
        return NoShards()
    starting = f"starting {config.shards} shard(s) of {config.model} for {run.folder.path} ..."
    console.print(starting, highlight=False, soft_wrap=True)
    return start_fleet(
        config.shard, num_shards=config.shards, min_shards=config.min_shards, num_trainers=config.trainers
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class SessionBegin:
    """What a session finds in the run folder."""

    manifest: Manifest
    unfinished: int
    """Work units that it has to finish."""
    logs: SavedLogs
    saved: Sequence[FinishedSample]
    """Samples in live/ that have a verdict, and no answer in an output file."""


def begin_session(run: PreparedRun, console: Console) -> SessionBegin:
    """Begin the run in its folder or go on with it, and say how far it is."""
    manifest = run.folder.open(run.manifest, run.plan)
    count = run.count_work_units()
    logs = SavedLogs(run.folder)
    logs.remove()
    console.print(
        f"{count.finished} of {count.planned} work units are finished; "
        f"{samples_of_unfinished_units(run)} samples of others are saved",
        highlight=False,
    )
    saved = logs.unsaved(LiveSamples(run.folder.storage))
    return SessionBegin(manifest=manifest, unfinished=count.unfinished, logs=logs, saved=saved)


def start_pipeline(run: PreparedRun, manifest: Manifest, fleet: ShardFleet, session_name: str) -> "Pipeline":
    """The actors that work beside the shards; shards that are not up yet join the router as they come."""
    config = run.config
    router = start_router(
        fleet.shards,
        fleet.trainers,
        units_per_shard=work_units_in_flight(config),
        spread=config.spreads,
        stall_s=60 * config.stall_after,
    )
    fleet.grow(router, other_cpus=pipeline_cpus(config))
    return Pipeline(
        config=config,
        folder=run.folder,
        labels=run_labels(config, run_id=manifest.run_id, model_fingerprint=manifest.model_fingerprint),
        router=router,
        progress=ray.remote(Progress)
        .options(name=actor_name("progress"), num_cpus=0, scheduling_strategy=drivers_node())
        .remote(),
        verifiers=start_verifiers(verifier_settings(config), run.folder.answers, config.verifiers),
        log=LogSettings(folder=run.folder.storage.url(), session=session_name, save_every_s=config.save_every),
    )


def progress_sink(
    run: PreparedRun, manifest: Manifest, fleet: ShardFleet, log_progress: Callable[[RunProgress], None]
) -> Callable[[RunProgress], None]:
    """Where each poll of the run goes: to whoever sees the cluster, to the loggers, and to whoever sees the folder."""
    metrics = RunMetrics(run=manifest.run_id, sampler=run.config.sampler)
    shard_counters = ShardCounterMetrics(fleet, run=manifest.run_id, sampler=run.config.sampler)

    def sink(progress: RunProgress) -> None:
        metrics(progress)
        shard_counters.poll()
        log_progress(progress)
        write_progress(run.folder.storage, progress)

    return sink


def save_rounds(pipeline: "Pipeline", run: PreparedRun, manifest: Manifest, saved: Sequence[FinishedSample]) -> None:
    """Generate and save the work units that are not finished. `saved`: samples in live/ that have a verdict."""
    # One extension round after the other: units of one problem that are generated in one round may share a Distiller.
    for round_number, units in enumerate(work_unit_groups(manifest.config, manifest.rounds)):
        todo = run.folder.write_todo(run.manifest, round_number)
        if todo.num_rows:
            save_samples(
                pipeline,
                saved,
                work_units_per_file=work_units_per_file(run.config, todo.num_rows),
                group_size=sum(map(len, units)),
            )
            saved = []  # in output files now
            ray.get(pipeline.router.end_round.remote())


def session_record(
    live: LiveProgress, router: ActorHandle, fleet: ShardFleet, *, started: str, seconds: float, units: int
) -> Session:
    """What the session came to; shows the warnings that were not shown yet. `units`: work units that it finished."""
    counts = live.counts()
    router_counts: RouterCounts = ray.get(router.counts.remote())
    # Shards and trainers are asked once, at the end: under tensor parallelism their counters may not be read while an engine steps.
    shard_stats, trainer_stats = fleet.stats(), fleet.trainer_stats()
    warnings = [
        warning for stats in (router_counts, *shard_stats, trainer_stats) if stats for warning in stats.warnings
    ]
    live.warnings.show(warnings)
    return Session(
        started=started,
        seconds=seconds,
        units=units,
        samples=counts.samples,
        tokens=counts.tokens,
        shards=[counts_of(stats) for stats in shard_stats],
        shard_restarts=router_counts.shard_restarts,
        units_run_again=router_counts.units_run_again,
        trainer=counts_of(trainer_stats) if trainer_stats else None,
        warnings=[asdict(warning) for warning in warnings],
    )


def show_first_prompt(run: PreparedRun, console: Console) -> None:
    """The first prompt as the engines get it, and what verifies the samples: seen before engines take minutes to start."""
    console.rule("first prompt")
    console.print(run.plan.first_prompt, markup=False, highlight=False, soft_wrap=True)
    console.rule()
    for line in filter(None, (run.verifier_line, run.trainer_line)):
        console.print(line, markup=False, highlight=False, soft_wrap=True)


def new_session_name() -> str:
    """Part of the names of its files in live/ and logs/: those of a later session come later."""
    return f"{int(time.time()):x}{uuid.uuid4().hex[:4]}"


def counts_of(stats: ShardStats | TrainerStats) -> dict[str, Any]:
    """An actor's counters as they are stored with the session, which keeps warnings apart."""
    return {name: count for name, count in asdict(stats).items() if name != "warnings"}


@dataclass(frozen=True, kw_only=True, slots=True)
class Pipeline:
    """What the stages of a session work with."""

    config: RunConfig
    folder: RunFolder
    labels: RunLabels
    router: ActorHandle
    progress: ActorHandle
    verifiers: list[ActorHandle]
    log: LogSettings


def save_samples(
    pipeline: Pipeline, saved: Sequence[FinishedSample], *, work_units_per_file: int, group_size: int
) -> None:
    """What happens to a work unit in todo/, in order. Returns when every unit is on disk. `saved`: samples in live/ that have a verdict;
    `group_size`: samples of a problem in this extension round."""
    config, storage = pipeline.config, pipeline.folder.storage
    gate, listeners = gate_and_listeners(pipeline, saved)
    # One more than the shard has room for: a call ends with its slowest sample, and until then none takes its place. Not where problems
    # stop early: it would launch units before the verdicts that may stop their problem.
    spare = 1 if config.stopping_rule is None else 0
    calls = math.ceil(work_units_in_flight(config) / work_units_per_file) + spare
    todo: Dataset = ray.data.read_parquet(storage.place(TODO), filesystem=storage.ray_filesystem)
    samples = (
        # Without this a small plan is one block: one shard busy, and no output file until the end.
        todo.repartition(target_num_rows_per_block=work_units_per_file).map_batches(
            GenerateSamples,
            fn_constructor_args=(pipeline.router, pipeline.labels, gate),
            fn_constructor_kwargs={
                "attempts": config.work_unit_attempts,
                "group_size": group_size,
                "verifiers": pipeline.verifiers,
                "listeners": listeners,
                "log": pipeline.log,
            },
            batch_size=work_units_per_file,
            batch_format="pyarrow",
            compute=ActorPoolStrategy(
                size=config.shards, max_concurrent_calls_per_actor=calls, max_tasks_in_flight_per_actor=2 * calls
            ),
            num_cpus=0,
        )
    )
    samples.set_name("generate")
    # The folder is there (RunFolder.open). Looking for it again, Ray would make a bucket that is missing.
    samples.write_parquet(
        storage.place(SAMPLES), filesystem=storage.ray_filesystem, mode=SaveMode.APPEND, try_create_dir=False
    )


def gate_and_listeners(pipeline: Pipeline, saved: Sequence[FinishedSample]) -> tuple[Gate, list[ActorHandle]]:
    """What decides whether a work unit is launched, and the actors that get the verdicts."""
    rule = pipeline.config.stopping_rule
    if rule is None:
        return OpenGate(), [pipeline.progress]
    known = [*pipeline.folder.finished_samples(), *saved]
    tracker = (
        ray.remote(StoppingActor)
        .options(name=actor_name("early-stopping"), num_cpus=0, scheduling_strategy=drivers_node())
        .remote(rule, known, pipeline.router, pipeline.progress)
    )
    return StoppingGate(tracker), [pipeline.progress, tracker]


def check_exploration(config: RunConfig, session: Session) -> None:
    """Raise RunError if ESamp or a baseline was asked for and did nothing: such samples are vanilla samples under another name."""
    policy = config.policy
    if session.counters_were_reset:
        return  # `summarise` looks at the samples themselves
    if (
        policy is None
        or not any(shard["samples"] for shard in session.shards)
        or (isinstance(policy, ESampConfig) and policy.beta == 0)
    ):
        return
    counted = {"intervened on": sum(shard["intervened_tokens"] for shard in session.shards)}
    if isinstance(policy, ESampConfig) and policy.trainer != "none":
        learners = session.shards if session.trainer is None else [session.trainer]
        # A trainer that was restarted counts from 0 again, but what it taught before has been received.
        received = sum(shard["versions_received"] for shard in session.shards)
        counted["trained on"] = received + sum(learner["trained_rows"] for learner in learners)
    for what, count in counted.items():
        if count == 0:
            raise RunError(
                f"{config.sampler} with {policy} must take part in the draw, but of {session.tokens} tokens in "
                f"{session.samples} samples none was {what}: these are vanilla samples. Look at sampling.max_tokens, "
                "esamp.warmup_steps and esamp.max_staleness."
            )
