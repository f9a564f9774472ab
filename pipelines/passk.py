"""A Pass@k run: plan -> samples -> verdicts -> Parquet, over Ray Data, then its summary.

    plan/ -> units not finished yet: todo/ -> GenerateSamples -> VerifySamples -> samples/*.parquet -> summary.json
                                                        |  ^
                                                    LLM shards (actors.Fleet)

Promises: bad input is refused before anything is written. A unit of work is on disk soon after it is finished, so a run that is stopped,
however, goes on from there with the same command. A unit that fails leaves rows that say why, and is tried again next time.
"""

import errno
import logging
import math
import time
import traceback
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import asdict, dataclass
from typing import Protocol

import ray
import ray.data
from ray.actor import ActorHandle
from ray.data import ActorPoolStrategy, Dataset, SaveMode
from ray.data.exceptions import SystemException
from ray.exceptions import RayError
from rich.console import Console

from actors.config import ShardConfig
from actors.errors import EngineStartError
from actors.shards.fleet import Fleet
from actors.shards.placement import drivers_node
from actors.shards.router import start_router
from actors.types import RotationCounts, ShardStats, TrainerStats
from esamp.config import ESampConfig
from pipelines.config.run import RunConfig
from pipelines.errors import InputError, RunError, root_cause
from pipelines.prepare.load_problems import load_problems
from pipelines.prepare.model_files import format_prompt, load_model_config, load_tokenizer, model_fingerprint
from pipelines.problems.problem import data_fingerprint
from pipelines.runs.extend import extended
from pipelines.runs.folder import FAILURE, SAMPLES, TODO, RunFolder, Session, UnitCount
from pipelines.runs.manifest import Manifest, new_manifest
from pipelines.runs.plan import Plan, plan_run, units_in_flight, units_per_part
from pipelines.runs.provenance import now
from pipelines.runs.schema import RunLabels, run_labels
from pipelines.runs.summary import RunSummary, summarise
from pipelines.stages.early_stopping import Gate, OpenGate, ScoreboardActor, StoppingGate
from pipelines.stages.generate import GenerateSamples
from pipelines.stages.progress import LiveProgress, Progress
from pipelines.stages.ray_session import pipeline_cpus, ray_session
from pipelines.stages.verify import VerifySamples
from pipelines.statistics.stopping_rule import StoppingRule
from pipelines.verifiers.scorer import check_verifier
from pipelines.verifiers.settings import verifier_settings

logger = logging.getLogger(__name__)


class ShardFleet(Protocol):
    """What a run needs of its shards: actors.Fleet, or a stand-in of the same form."""

    shards: list[ActorHandle]

    @property
    def trainers(self) -> Sequence[ActorHandle]: ...

    def grow(self, router: ActorHandle, *, other_cpus: float) -> None: ...

    def stats(self) -> list[ShardStats]: ...

    def trainer_stats(self) -> TrainerStats | None: ...


class StartFleet(Protocol):
    """Starts shards for a `with` block."""

    def __call__(
        self, config: ShardConfig, *, num_shards: int, min_shards: int | None, num_trainers: int
    ) -> AbstractContextManager[ShardFleet]: ...


@dataclass(frozen=True, kw_only=True, slots=True)
class PreparedRun:
    """A run that passed every check that can be made without an engine."""

    config: RunConfig
    folder: RunFolder
    manifest: Manifest
    plan: Plan
    verifier_line: str
    """Where answers are scored, if that is worth a line."""

    def count_units(self) -> UnitCount:
        """How far the run is."""
        return self.folder.count_units(self.manifest)


def run_passk(
    config: RunConfig, *, extend: int | None = None, console: Console, start_fleet: StartFleet = Fleet
) -> RunSummary:
    """Make the run, or go on with it, and summarise it; `extend`: give the run that is there so many samples per problem.

    Raises InputError (nothing was written), RunError (what was finished stays), and KeyboardInterrupt with a message that says what was
    finished.
    """
    [summary] = complete_runs([prepare_run(config, extend=extend)], console=console, start_fleet=start_fleet)
    return summary


def run_side_by_side(
    configs: list[RunConfig], *, console: Console, start_fleet: StartFleet = Fleet
) -> list[RunSummary]:
    """Make several runs, one after the other; raises as `run_passk`. All are checked before the first begins."""
    return complete_runs([prepare_run(config) for config in configs], console=console, start_fleet=start_fleet)


def complete_runs(runs: list[PreparedRun], *, console: Console, start_fleet: StartFleet) -> list[RunSummary]:
    """Complete runs, one after the other, on one Ray; none is started if there is nothing to do."""
    is_finished = all(not run.count_units().unfinished for run in runs)
    with nullcontext() if is_finished else ray_session([run.config for run in runs]):
        return [complete_run(run, console=console, start_fleet=start_fleet) for run in runs]


def complete_run(run: PreparedRun, *, console: Console, start_fleet: StartFleet) -> RunSummary:
    """Draw what is not finished, then summarise; needs Ray."""
    run.folder.set_torn_parts_aside()
    if run.count_units().unfinished:
        with failures_in_one_line(run):
            draw_units(run, console=console, start_fleet=start_fleet)
    return summarise(run.folder, pass_at=run.config.pass_at)


def prepare_run(config: RunConfig, *, extend: int | None = None) -> PreparedRun:
    """Load and check what the run, or the extended run, is made of. Raises InputError; writes nothing."""
    config, extended_from = (config, ()) if extend is None else extended(config, extend)
    load_model_config(config)
    verifier_line = check_verifier(verifier_settings(config))
    problems = load_problems(config)
    tokenizer = load_tokenizer(config)
    plan = plan_run(
        problems, lambda problem: format_prompt(problem, config, tokenizer), config, extended_from=extended_from
    )
    _ = (
        plan.first_prompt
    )  # prompts are made as they are needed, and what forbids one forbids all: refused here, before anything starts
    manifest = new_manifest(
        config,
        data_fingerprint=data_fingerprint(problems),
        model_fingerprint=model_fingerprint(config),
        num_problems=len(problems),
        num_units=plan.num_units,
        extended_from=extended_from,
    )
    check_part(manifest)
    folder = RunFolder(config.run_folder)
    folder.check(manifest)
    return PreparedRun(config=config, folder=folder, manifest=manifest, plan=plan, verifier_line=verifier_line)


def check_part(manifest: Manifest) -> None:
    """Raise InputError if the part that shall be drawn here is empty."""
    config = manifest.config
    if config.run_part.count(manifest.num_problems, len(manifest.group_sizes)) == 0:
        way_out = "Use fewer parts" + (" or a smaller --samples-per-unit." if config.part_by == "samples" else ".")
        raise InputError(
            f"part {config.part} by {config.part_by} is empty: the run has {manifest.num_problems} problems of "
            f"{len(manifest.group_sizes)} units of work each. {way_out}"
        )


def draw_units(run: PreparedRun, *, console: Console, start_fleet: StartFleet) -> None:
    """One session: draw, score and save the units that are not finished. Raises RunError if the session did not do its work."""
    config = run.config
    console.rule("first prompt")
    console.print(run.plan.first_prompt, markup=False, highlight=False, soft_wrap=True)
    console.rule()
    if run.verifier_line:
        console.print(run.verifier_line, markup=False, highlight=False, soft_wrap=True)
    console.print(f"starting {config.shards} shard(s) of {config.model} for {run.folder.path} ...", highlight=False)
    fleet_of_run = start_fleet(
        config.shard, num_shards=config.shards, min_shards=config.min_shards, num_trainers=config.trainers
    )
    with fleet_of_run as fleet:
        manifest = run.folder.open(run.manifest, run.plan)
        labels = run_labels(config, run_id=manifest.run_id, model_fingerprint=manifest.model_fingerprint)
        # Only now: workers of a session that was killed a moment ago may have saved their last part while the engines started.
        count = run.count_units()
        console.print(f"{count.finished} of {count.planned} units of work are finished", highlight=False)
        progress = ray.remote(Progress).options(num_cpus=0, scheduling_strategy=drivers_node()).remote()
        router = start_router(
            fleet.shards, fleet.trainers, units_per_shard=units_in_flight(config), spill=config.spills
        )
        fleet.grow(router, other_cpus=pipeline_cpus(config))
        started, clock_start = now(), time.monotonic()
        with LiveProgress(progress, router=router, console=console) as live:
            # One wave after the other: units of one problem that are under way at the same time may share a Distiller.
            for wave in range(len(manifest.waves)):
                todo = run.folder.write_todo(run.manifest, wave)
                if todo.num_rows:
                    ray.get(progress.expect.remote(todo))
                    part = units_per_part(config, todo.num_rows)
                    save_samples(
                        run.folder,
                        units_per_part=part,
                        config=config,
                        labels=labels,
                        router=router,
                        progress=progress,
                    )
        counts = live.counts()
        rotation: RotationCounts = ray.get(router.counts.remote())
        session = Session(
            started=started,
            seconds=time.monotonic() - clock_start,
            units=count.unfinished,
            samples=counts.samples,
            tokens=counts.tokens,
            shards=[asdict(stats) for stats in fleet.stats()],
            shard_restarts=rotation.shard_restarts,
            units_run_again=rotation.units_run_again,
            trainer=asdict(stats) if (stats := fleet.trainer_stats()) else None,
        )
    run.folder.clear_todo()
    run.folder.add_session(session)
    check_exploration(config, session)


def save_samples(
    folder: RunFolder,
    *,
    units_per_part: int,
    config: RunConfig,
    labels: RunLabels,
    router: ActorHandle,
    progress: ActorHandle,
) -> None:
    """The pipeline: what happens to a unit of work in todo/, in order. Returns when every unit is on disk."""
    gate, listeners = gate_and_listeners(folder, config.stopping_rule, router, progress)
    calls = math.ceil(units_in_flight(config) / units_per_part)
    todo: Dataset = ray.data.read_parquet(folder.storage.place(TODO), filesystem=folder.storage.ray_filesystem)
    samples = (
        # Without this a small plan is one block: one shard busy, and nothing saved until the end.
        todo.repartition(target_num_rows_per_block=units_per_part)
        .map_batches(
            GenerateSamples,
            fn_constructor_args=(router, labels, gate),
            fn_constructor_kwargs={"attempts": config.unit_attempts},
            batch_size=units_per_part,
            batch_format="pyarrow",
            compute=ActorPoolStrategy(
                size=config.shards, max_concurrent_calls_per_actor=calls, max_tasks_in_flight_per_actor=2 * calls
            ),
            num_cpus=0,
        )
        .map_batches(
            VerifySamples,
            fn_constructor_args=(verifier_settings(config), folder.answers, listeners),
            batch_size=None,
            batch_format="pyarrow",
            compute=ActorPoolStrategy(size=config.verifiers),
            num_cpus=1,
        )
    )
    samples.write_parquet(folder.storage.place(SAMPLES), filesystem=folder.storage.ray_filesystem, mode=SaveMode.APPEND)


def gate_and_listeners(
    folder: RunFolder, rule: StoppingRule | None, router: ActorHandle, progress: ActorHandle
) -> tuple[Gate, list[ActorHandle]]:
    """Who decides whether a unit is launched, and who hears of verdicts."""
    if rule is None:
        return OpenGate(), [progress]
    scoreboard = (
        ray.remote(ScoreboardActor)
        .options(num_cpus=0, scheduling_strategy=drivers_node())
        .remote(rule, folder.finished_samples(), router, progress)
    )
    return StoppingGate(scoreboard), [progress, scoreboard]


def check_exploration(config: RunConfig, session: Session) -> None:
    """Raise RunError if ESamp or a baseline was asked for and did nothing: such samples are vanilla samples under another name."""
    policy = config.policy
    if session.lost_counts:
        return  # `summarise` looks at the samples themselves
    if policy is None or session.tokens == 0 or (isinstance(policy, ESampConfig) and policy.beta == 0):
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


@contextmanager
def failures_in_one_line(run: PreparedRun) -> Iterator[None]:
    """The named boundary of a session: what Ray, an engine or the disk raise becomes one line. What was finished stays."""
    try:
        yield
    except EngineStartError as error:
        raise InputError(f"no engine for model {run.config.model}: {error}") from error
    except KeyboardInterrupt:
        raise KeyboardInterrupt(f"stopped. {finished_line(run)}") from None
    except (RayError, SystemException, OSError) as error:
        if is_disk_full(error):
            raise RunError(f"the disk of {run.folder.path} is full. Free some space. {finished_line(run)}") from error
        if run.folder.has_run:
            run.folder.storage.write(FAILURE, traceback.format_exc().encode())
        raise RunError(f"{root_cause(error)} (in full: {run.folder.path}/{FAILURE}). {finished_line(run)}") from error


def finished_line(run: PreparedRun) -> str:
    """What a stopped run has, and how it goes on."""
    count = run.count_units()
    return f"{count.finished} of {count.planned} units of work are saved in {run.folder.path}; the same command goes on from there."


def is_disk_full(error: BaseException) -> bool:
    """True if "no space left on device" is at the bottom of an error, which may come through Ray."""
    chain: BaseException | None = error
    while chain is not None:
        if isinstance(chain, OSError) and chain.errno == errno.ENOSPC:
            return True
        chain = chain.__cause__ or chain.__context__
    return f"[Errno {errno.ENOSPC}]" in str(error) or "No space left on device" in str(error)
