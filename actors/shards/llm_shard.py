"""One vLLM engine in a Ray actor. Calls come in as work units at any time; the engine's batch stays full across them.

    asyncio (Ray)                        engine thread
    generate(unit) -> inbox ------------> add_request
    yield sample   <- SampleStream <----- step, step, step ... until nothing is left
    cancel(problem) -> inbox -----------> abort_request between two steps
    stats()        -> inbox ------------> counters of the workers between two steps

The engine runs in this process (VLLM_ENABLE_V1_MULTIPROCESSING=0), so its worker can hand hidden states to the object store.
The log-probabilities of every token and what the Distiller did to it are recorded.
"""

import asyncio
import itertools
import logging
import os
import queue
import threading
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from ray.actor import ActorHandle

from actors.config import ShardConfig
from actors.errors import EngineFailed
from actors.types import Sample, ShardActivity, ShardStats, TrainerSpec, WorkUnit
from actors.warning_log import warnings_of
from esamp.config import ESampConfig
from esamp.request_args import GROUP_KEY, GROUP_SIZE_KEY, RECORD_KEY, RECORD_ROLLOUT_KEY, SAMPLE_KEY

# Before vLLM is imported: it reads them then.
os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0"
os.environ["VLLM_USE_V2_MODEL_RUNNER"] = "0"
os.environ.setdefault("VLLM_CPU_OMP_THREADS_BIND", "nobind")

from vllm import EngineArgs, LLMEngine, SamplingParams
from vllm.exceptions import VLLMValidationError
from vllm.outputs import RequestOutput
from vllm.sampling_params import RequestOutputKind

from actors.exchange.remote_learner import ActorLearner
from actors.shards.engine_metrics import engine_metrics, exports_metrics
from actors.shards.engine_workers import EngineWorkers, InProcessWorker, TensorParallelWorkers
from actors.shards.sample_stream import SampleStream
from esamp.engine.scheduler import SchedulerReader
from esamp.policy import Counters

logger = logging.getLogger(__name__)

T = TypeVar("T")

VANILLA = ESampConfig(beta=0.0)
"""Vanilla sampling runs the same worker with beta 0, which samples stock vLLM's tokens and records their log-probabilities."""


@dataclass(slots=True, eq=False)
class UnitInProgress:
    """A work unit whose samples are being generated."""

    unit: WorkUnit
    stream: SampleStream
    started: float
    finished: set[int] = field(default_factory=set)
    """Indices of the samples that were sent."""
    request_ids: dict[int, str] = field(default_factory=dict)
    """Sample index -> the engine's name for it."""


@dataclass(frozen=True, slots=True, eq=False)
class StaggeredSample:
    """A sample whose turn to start has not come."""

    progress: UnitInProgress
    index: int
    params: SamplingParams
    first_step: int
    """Step of the engine, counted since it started, at which it starts."""


@dataclass(frozen=True, slots=True, eq=False)
class CounterRequest:
    """A call of `stats` that waits for the engine thread."""

    future: asyncio.Future[Counters]
    loop: asyncio.AbstractEventLoop


def engine_args(shard: ShardConfig) -> EngineArgs:
    """vLLM's arguments for one shard."""
    config, policy = shard.engine, shard.policy or VANILLA
    platform = (
        {
            "gpu_memory_utilization": config.gpu_memory_utilization * min(1, config.num_gpus),
            "tensor_parallel_size": config.tensor_parallel_size,
            "distributed_executor_backend": "mp" if config.tensor_parallel_size > 1 else None,
        }
        if config.num_gpus
        else {"kv_cache_memory_bytes": round(config.kv_cache_gib * 2**30)}
    )
    return EngineArgs(
        model=shard.model,
        dtype=config.dtype,
        max_model_len=config.max_model_len,
        max_num_seqs=config.max_num_seqs,
        enforce_eager=config.enforce_eager,
        seed=config.seed,
        disable_log_stats=not exports_metrics(config),
        worker_cls="esamp.worker.ESampWorker",
        additional_config={policy.name: policy.to_dict()},
        **platform,
        **config.extra_arguments,
    )


def sampling_params(
    shard: ShardConfig, unit: WorkUnit, *, sample_index: int, seed: int, request_id: str
) -> SamplingParams:
    """vLLM's parameters of one sample."""
    config = shard.sampling
    return SamplingParams(
        temperature=config.temperature,
        top_p=config.top_p,
        top_k=config.top_k,
        min_p=config.min_p,
        max_tokens=config.max_tokens,
        stop=list(config.stop),
        seed=seed,
        output_kind=RequestOutputKind.FINAL_ONLY,
        extra_args={
            GROUP_KEY: unit.problem_id,
            # They may not fit into one batch, or come in several work units: their Distiller lives until the last of them has ended.
            GROUP_SIZE_KEY: unit.group_size or len(unit.sample_indices),
            RECORD_KEY: request_id,
            RECORD_ROLLOUT_KEY: shard.record_rollouts,
            SAMPLE_KEY: sample_index,
        },
    )


class LLMShard:
    """A vLLM engine with an ESamp sampler."""

    def __init__(self, config: ShardConfig, *, name: str) -> None:
        """Starts the engine; raises what vLLM raises, and UnsupportedEngine where ESamp cannot run."""
        self.config = config
        self.name = name
        exports = exports_metrics(config.engine)
        if config.engine.vllm_metrics and not exports:
            logger.warning("vLLM's own metrics of %s are not exported: they need ray[serve]", name)
        # vLLM would add a logger of its own to Prometheus' registry of this process, which nobody reads; with one through Ray it does not.
        self._engine = LLMEngine.from_engine_args(
            engine_args(config), stat_loggers=[engine_metrics(name)] if exports else None
        )
        self._workers: EngineWorkers = (
            InProcessWorker(self._engine)
            if config.engine.tensor_parallel_size == 1
            else TensorParallelWorkers(self._engine)
        )
        self._scheduler = SchedulerReader(self._engine)
        self._learner: ActorLearner | None = None
        # Any thread puts into the queues; only the engine thread takes, so what it saw by `empty` is still there for `get`.
        self._inbox: queue.SimpleQueue[UnitInProgress] = queue.SimpleQueue()
        self._units_in_progress: set[UnitInProgress] = set()
        self._samples_in_progress: dict[str, tuple[UnitInProgress, int]] = {}
        self._staggered: list[StaggeredSample] = []
        self._stagger = 0 if config.policy is None else config.policy.stagger
        self._steps = 0
        self._cancellations: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._round_ends: queue.SimpleQueue[None] = queue.SimpleQueue()
        self._counter_requests: queue.SimpleQueue[CounterRequest] = queue.SimpleQueue()
        self._cancelled_problems: set[str] = set()
        self._cancelled_samples = self._cancelled_tokens = 0
        self._wake = threading.Event()
        self._units_taken = itertools.count()
        self._samples = self._truncated_samples = self._ended_tokens = self._told_tokens = 0
        self._busy_seconds = 0.0
        self._failure: EngineFailed | None = None
        threading.Thread(target=self._run, name="engine", daemon=True).start()

    async def trainer_spec(self) -> TrainerSpec:
        """What a DistillerTrainer for this engine must know."""
        esamp = self._workers.explorer().config
        return TrainerSpec(
            config=esamp,
            output_gain=self._workers.explorer().initial_gain().numpy(),
            max_groups=esamp.num_slots,
        )

    async def use_trainers(self, trainers: Sequence[ActorHandle]) -> None:
        """Let `trainers` train this engine's Distillers, each its part of the groups. Before the first work unit."""
        explorer = self._workers.explorer()
        self._learner = ActorLearner(
            explorer.distillers,
            trainers,
            shard=self.name,
            spread=self.config.spread,
            config=self.config.exchange,
        )
        explorer.use_learner(self._learner)

    async def generate(self, unit: WorkUnit) -> AsyncIterator[Sample]:
        """Generate the samples of `unit`, and yield each as soon as it is finished, in whatever order; of a problem that is cancelled,
        those that were finished by then. Calls may be concurrent.

        Raises ValueError if the model cannot take the unit (its prompt is too long, or empty); the shard goes on. Raises EngineFailed,
        in this call and all later ones, if the engine failed.
        """
        if self._failure is not None:
            raise self._failure
        stream = SampleStream(asyncio.get_running_loop())
        self._inbox.put(UnitInProgress(unit, stream, time.monotonic()))
        self._wake.set()
        self._check_still_read()
        async for sample in stream:
            yield sample

    async def cancel(self, problem_id: str) -> None:
        """Abort every running sample of a problem, now and later: their places in the batch, and the problem's Distiller slot, are free for
        others from the next step on."""
        self._cancellations.put(problem_id)
        self._wake.set()

    async def end_round(self) -> None:
        """Samples that come later are of another extension round: they shall not meet the Distillers of this one, which wait for samples of
        work units that other shards generated, or that an earlier session did."""
        self._round_ends.put(None)
        self._wake.set()

    async def stats(self) -> ShardStats:
        """Counters since the shard started, read between two steps of the engine. Raises EngineFailed if the engine failed."""
        if self._failure is not None:
            raise self._failure
        loop = asyncio.get_running_loop()
        request = CounterRequest(loop.create_future(), loop)
        self._counter_requests.put(request)
        self._wake.set()
        self._check_still_read()
        explored = await request.future
        exchange = self._learner.counters if self._learner else None
        stats = ShardStats(
            shard=self.name,
            samples=self._samples,
            decode_tokens=explored.decode_rows,
            intervened_tokens=explored.explored_rows - explored.nonfinite_rows,
            trained_rows=exchange.sent_rows if exchange else explored.trained_rows,
            optimiser_steps=explored.optimiser_steps,
            dropped_rows=exchange.dropped_rows if exchange else 0,
            vanilla_groups=explored.vanilla_groups,
            nonfinite_rows=explored.nonfinite_rows,
            broken_slots=explored.diverged_slots,
            stale_rows=explored.stale_rows,
            versions_received=exchange.versions_received if exchange else 0,
            trainer_failures=exchange.trainer_failures if exchange else 0,
            cancelled_samples=self._cancelled_samples,
            cancelled_tokens=self._cancelled_tokens,
            lost_rows=exchange.lost_rows if exchange else 0,
            restored_groups=exchange.restored_groups if exchange else 0,
            restarted_groups=exchange.restarted_groups if exchange else 0,
            generation_seconds=self._busy_seconds,
        )
        return replace(stats, warnings=warnings_of(stats))

    async def activity(self) -> ShardActivity:
        """What the shard is doing now: plain numbers, read without waiting for the engine's thread, which may never come back from a step:
        that is what the router wants to know."""
        load = self._scheduler.load()
        # A sample that ends is for a moment in neither number, and a total that fell would be taken for that of a shard that began again.
        self._told_tokens = max(self._told_tokens, self._ended_tokens + load.tokens)
        return ShardActivity(
            shard=self.name,
            running=load.running,
            waiting=load.waiting + self._inbox.qsize(),
            kv_cache_share=load.kv_cache_share,
            preemptions=load.preemptions,
            finished=self._samples,
            truncated=self._truncated_samples,
            tokens=self._told_tokens,
            tokens_under_way=load.tokens,
        )

    def _check_still_read(self) -> None:
        """Raise EngineFailed if nobody reads the queues any more. Called after a request was put into one.

        The engine thread sets `_failure` first and drains the queues then, so it finds every request that was put before; a later one finds
        `_failure` here. Only the engine thread drains: of two threads that both see the last item one would wait for ever.
        """
        if self._failure is not None:
            raise self._failure

    def _run(self) -> None:
        try:
            while True:
                self._wake.wait()
                self._wake.clear()
                started = time.monotonic()
                self._take_requests()
                while self._engine.has_unfinished_requests():
                    for output in self._engine.step():
                        self._finish_sample(output)
                    self._steps += 1
                    # Step by step: a session that is stopped reads its counters while samples are still under way.
                    now = time.monotonic()
                    self._busy_seconds += now - started
                    started = now
                    self._take_requests()
        except BaseException as error:
            # The error boundary of the thread: an engine that failed fails every caller instead of leaving them waiting.
            logger.exception("shard %s: the engine failed", self.name)
            self._failure = EngineFailed(f"the engine of {self.name} failed: {type(error).__name__}: {error}")
            self._fail_all(self._failure)

    def _take_requests(self) -> None:
        """Between two steps: what other threads have asked for. Units first, so that a cancellation finds those that came before it."""
        self._take_units()
        self._cancel_samples()
        self._start_staggered()
        while not self._round_ends.empty():
            # Units of the next round that were taken a moment ago are safe: the policy meets their requests in the next step.
            self._round_ends.get()
            self._workers.expect_no_more(None)
        if not self._counter_requests.empty():
            # Read before a request is taken: if this raises, `_fail_all` must still find the request.
            counters = self._workers.counters()
            while not self._counter_requests.empty():
                request = self._counter_requests.get()
                request.loop.call_soon_threadsafe(_set_result, request.future, counters)

    def _take_units(self) -> None:
        while not self._inbox.empty():
            progress = self._inbox.get()
            unit = progress.unit
            self._units_in_progress.add(progress)
            # The same unit may come again while it runs: from a caller that died, and from the one that took its place. vLLM refuses a
            # request id that is in use.
            taken = next(self._units_taken)
            try:
                for place, (index, seed) in enumerate(zip(unit.sample_indices, unit.seeds, strict=True)):
                    request_id = progress.request_ids[index] = f"{unit.unit_id}/{index}/{taken}"
                    params = sampling_params(self.config, unit, sample_index=index, seed=seed, request_id=request_id)
                    if place and self._stagger:
                        first_step = self._steps + place * self._stagger
                        self._staggered.append(StaggeredSample(progress, index, params, first_step))
                    else:
                        self._start_sample(progress, index, params)
            except (ValueError, VLLMValidationError) as error:
                # A prompt the model cannot take (too long, empty) is this unit's failure, not the engine's.
                started = progress.request_ids.values()
                self._engine.abort_request([r for r in started if self._samples_in_progress.pop(r, None)])
                self._units_in_progress.remove(progress)
                progress.stream.fail(ValueError(str(error)))

    def _start_sample(self, progress: UnitInProgress, index: int, params: SamplingParams) -> None:
        request_id = progress.request_ids[index]
        self._engine.add_request(request_id, {"prompt": progress.unit.prompt}, params)
        self._samples_in_progress[request_id] = (progress, index)

    def _start_staggered(self) -> None:
        """Start the samples whose turn has come; the next one at once where the engine would stand still without it."""
        while self._staggered:
            following = min(self._staggered, key=lambda sample: sample.first_step)
            if following.first_step > self._steps and self._engine.has_unfinished_requests():
                return
            self._staggered.remove(following)
            self._start_sample(following.progress, following.index, following.params)

    def _cancel_samples(self) -> None:
        """Abort what runs of cancelled problems, units that came after their cancellation included."""
        while not self._cancellations.empty():
            problem_id = self._cancellations.get()
            self._cancelled_problems.add(problem_id)
            self._workers.expect_no_more(problem_id)
        unwanted = [p for p in self._units_in_progress if p.unit.problem_id in self._cancelled_problems]
        for progress in unwanted:
            missing = [index for index in progress.unit.sample_indices if index not in progress.finished]
            request_ids = [progress.request_ids[index] for index in missing]
            self._engine.abort_request(request_ids)
            self._staggered = [sample for sample in self._staggered if sample.progress is not progress]
            for request_id in request_ids:
                self._samples_in_progress.pop(request_id, None)  # a staggered one has not started
            records = self._workers.records(request_ids)
            self._cancelled_samples += len(missing)
            cancelled_tokens = sum(len(record.behaviour_logprobs) for record in records.values())
            self._cancelled_tokens += cancelled_tokens
            self._ended_tokens += cancelled_tokens
            self._finish_unit(progress)

    def _finish_sample(self, output: RequestOutput) -> None:
        progress, index = self._samples_in_progress.pop(output.request_id)
        unit = progress.unit
        [completion] = output.outputs
        records = self._workers.records([output.request_id])[output.request_id].first(len(completion.token_ids))
        sample = Sample(
            problem_id=unit.problem_id,
            sample_index=index,
            seed=unit.seeds[unit.sample_indices.index(index)],
            prompt_token_ids=list(output.prompt_token_ids or ()),
            text=completion.text,
            token_ids=list(completion.token_ids),
            finish_reason=completion.finish_reason or "",
            behaviour_logprobs=records.behaviour_logprobs,
            policy_logprobs=records.policy_logprobs,
            sampling_logprobs=records.sampling_logprobs if self.config.record_rollouts else None,
            num_candidates=records.num_candidates,
            flipped=records.flipped,
            intervened=records.intervened,
            novelty=records.novelty,
            lag=records.lag,
            loss=records.loss,
            distiller_version=records.version,
            kept_token_ids=records.kept_token_ids,
            kept_token_offsets=records.kept_token_offsets,
            kept_tokens_capped=None if records.kept_token_ids is None else records.kept_tokens_capped,
            weight_version=records.weight_version,
            shard=self.name,
            generation_seconds=time.monotonic() - progress.started,
            group_resumed=unit.is_resumed,
        )
        progress.stream.put(sample)
        progress.finished.add(index)
        self._samples += 1
        self._truncated_samples += completion.finish_reason == "length"
        self._ended_tokens += len(completion.token_ids)
        if len(progress.finished) == len(unit.sample_indices):
            self._finish_unit(progress)

    def _finish_unit(self, progress: UnitInProgress) -> None:
        self._units_in_progress.remove(progress)
        progress.stream.end()

    def _fail_all(self, error: BaseException) -> None:
        while not self._inbox.empty():
            self._units_in_progress.add(self._inbox.get())
        for progress in self._units_in_progress:
            progress.stream.fail(error)
        while not self._counter_requests.empty():
            request = self._counter_requests.get()
            request.loop.call_soon_threadsafe(_set_exception, request.future, error)


def _set_result(future: asyncio.Future[T], result: T) -> None:
    if not future.done():  # the caller may have been cancelled
        future.set_result(result)


def _set_exception(future: asyncio.Future[Any], error: BaseException) -> None:
    if not future.done():
        future.set_exception(error)
