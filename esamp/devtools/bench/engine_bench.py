"""Decode steps timed in one run, mode against stock vLLM, block by block: what does each part of ESamp cost a vLLM engine?

    stock          a second engine with vLLM's own worker, against the first: how far the measurement can be trusted
    beta 0         our worker, with exploration off
    aux            an exploring engine with requests that do not explore: the price of the shallow layer's output
    predict only   Distillers predict and change the logits, and never learn
    train only     Distillers learn, and never change the logits
    full           both; in the background of the next forward pass (local), in the step (sync), or in a trainer actor,
                   one that keeps up or one that is ten times too slow (actors/devtools/bench.py)

Every round runs every mode once, in random order. A mode's batch and the same batch of a stock engine take turns of BLOCK_STEPS decode
steps, so that what the machine does meanwhile (on a shared one, 10% within seconds) meets both; their ratio is the round's. The engines
stand side by side in one process.
"""

import gc
import os
import random
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

from esamp.request_args import BETA_KEY, GROUP_KEY, RECORD_KEY

os.environ.setdefault("VLLM_ENABLE_V1_MULTIPROCESSING", "0")
os.environ.setdefault("VLLM_USE_V2_MODEL_RUNNER", "0")
os.environ.setdefault("VLLM_CPU_OMP_THREADS_BIND", "nobind")
os.environ.setdefault("VLLM_LOGGING_LEVEL", "WARNING")

import torch
from vllm import LLM, SamplingParams

from esamp.config import ESampConfig
from esamp.devtools.bench.host_syncs import host_syncs
from esamp.devtools.bench.peaked_model import write_peaked_model
from esamp.devtools.bench.shape import FILTERS, Shape
from esamp.distiller.learner import FrozenLearner, Learner, SyncLearner, background_learner
from esamp.engine.allocator import keep_freed_memory
from esamp.exploration.explorer import Explorer
from esamp.worker import ESampWorker

Engine = Literal["reference", "stock", "beta_0", "exploring"]
ENGINES: tuple[Engine, ...] = ("reference", "stock", "beta_0", "exploring")
NEVER = 10**9
PROMPT_TOKENS = 8
WARM_STEPS = 2
"""First steps of a round that are not counted: they read the prompts and open slots."""
BLOCK_STEPS = 8
"""Steps that are timed before the other engine's turn; one more before them, which finds the processor's caches as the other left them,
is not."""

_ENGINES_KEPT_ALIVE: list[LLM] = []
"""In-process engines share one process group, and the first to be collected takes it from the others."""


@dataclass(frozen=True, slots=True)
class Mode:
    """One way to run a batch."""

    name: str
    engine: Engine
    make_learner: Callable[[Explorer], Learner] | None = None
    """For the exploring engine; None leaves its requests vanilla."""
    adjusts_logits: bool = True
    """False keeps beta at 0, as during a warmup that never ends."""


def local_learner(explorer: Explorer) -> Learner:
    """Training in the background on this device."""
    return background_learner(explorer.bank, explorer.background)


def standard_modes() -> list[Mode]:
    """The modes that need no Ray."""
    return [
        Mode("stock", "stock"),
        Mode("beta 0", "beta_0"),
        Mode("aux", "exploring"),
        Mode("predict only", "exploring", lambda explorer: FrozenLearner(explorer.bank)),
        Mode("train only", "exploring", local_learner, adjusts_logits=False),
        Mode("full, local", "exploring", local_learner),
        Mode("full, sync", "exploring", lambda explorer: SyncLearner(explorer.bank)),
    ]


@dataclass(frozen=True, slots=True)
class Timing:
    """One engine in one round."""

    tokens_per_s: float
    """Of its decode steps."""
    step_ms: float
    """Median decode step, wall clock."""
    cpu_ms: float
    """Processor time of all threads per decode step: what contention with other processes does not change."""


@dataclass(frozen=True, slots=True)
class Pair:
    """One mode in one round, and the stock engine that took turns with it."""

    ours: Timing
    stock: Timing


@dataclass(frozen=True, kw_only=True, slots=True)
class BenchPoint:
    """All modes at one shape."""

    shape: Shape
    device: str
    threads: int
    dtype: str
    entropy_nats: float
    """Measured: mean of -log p over tokens drawn from the plain model."""
    loss_start: float
    loss_end: float
    """Squared error per hidden channel, first and last tenth of the learning check's tokens."""
    bank_bytes: int
    """Memory of all Distiller slots together, moments and gradients included."""
    host_syncs: dict[str, float | None]
    """By mode: times per decode step that the host waited for the GPU; None without one."""
    pairs: dict[str, list[Pair]] = field(repr=False)
    """By mode, one per round."""


def run_point(
    shape: Shape,
    *,
    modes: list[Mode],
    rounds: int,
    tokens: int,
    entropy_nats: float,
    is_eager: bool,
    dtype: torch.dtype,
    seed: int,
    log: Callable[[str], None],
) -> BenchPoint:
    """Measure every mode at one shape; `tokens` decode steps per mode and round, in whole blocks."""
    keep_freed_memory()  # our worker does so on a CPU; here stock vLLM has it too
    with tempfile.TemporaryDirectory() as folder:
        log(f"{shape.label}: writing the model and starting engines")
        model = write_peaked_model(Path(folder), shape, entropy_nats=entropy_nats, dtype=dtype, seed=seed)
        needed = {"reference", "exploring", *(mode.engine for mode in modes)}
        engines = {
            name: start_engine(model, shape, name, is_eager=is_eager, dtype=dtype) for name in ENGINES if name in needed
        }
    worker = worker_of(engines["exploring"])
    bench = EngineBench(shape, engines, worker, tokens=tokens, seed=seed)
    entropy, loss_start, loss_end = bench.check_learning()
    pairs: dict[str, list[Pair]] = {mode.name: [] for mode in modes}
    order = random.Random(seed)
    for round_ in range(-1, rounds):
        for mode in order.sample(modes, len(modes)):
            pair = bench.time(mode, round_)
            if round_ >= 0:
                pairs[mode.name].append(pair)
        log(f"{shape.label}: round {round_ + 1} of {rounds}")
    syncs = {mode.name: host_syncs(partial(bench.count_steps, mode)) for mode in modes}
    bank_bytes = worker.explorer.bank.num_bytes
    return BenchPoint(
        shape=shape,
        device=torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu",
        threads=torch.get_num_threads(),
        dtype=str(dtype).removeprefix("torch."),
        entropy_nats=entropy,
        loss_start=loss_start,
        loss_end=loss_end,
        bank_bytes=bank_bytes,
        host_syncs=syncs,
        pairs=pairs,
    )


class StepTimer:
    """Times an engine's decode steps, some at a time."""

    def __init__(self, engine: LLM, wait: Callable[[], None]) -> None:
        """`wait` returns once no work of the engine is left on the device or in a thread."""
        self.engine = engine
        self._wait = wait
        self._walls: list[float] = []
        self._wall = self._cpu = 0.0

    def warm_up(self) -> None:
        """The first steps of a batch."""
        for _ in range(WARM_STEPS):
            self.engine.llm_engine.step()
        self._wait()

    def time_block(self) -> None:
        """BLOCK_STEPS steps; each includes the background training of the step before. All training is over when this returns."""
        self.engine.llm_engine.step()
        synchronise()
        cpu_start, wall_start = time.process_time(), time.perf_counter()
        for _ in range(BLOCK_STEPS):
            began = time.perf_counter()
            self.engine.llm_engine.step()
            self._walls.append(time.perf_counter() - began)
        synchronise()
        self._wall += time.perf_counter() - wall_start
        self._cpu += time.process_time() - cpu_start
        self._wait()

    def timing(self, batch: int) -> Timing:
        """Of all blocks so far."""
        steps = len(self._walls)
        return Timing(
            tokens_per_s=batch * steps / self._wall,
            step_ms=1000 * sorted(self._walls)[steps // 2],
            cpu_ms=1000 * self._cpu / steps,
        )


class EngineBench:
    """The engines of one shape, side by side."""

    def __init__(
        self, shape: Shape, engines: dict[Engine, LLM], worker: ESampWorker, *, tokens: int, seed: int
    ) -> None:
        self._shape, self._engines, self._worker = shape, engines, worker
        self._tokens, self._seed = tokens, seed
        self._serial = 0

    def time(self, mode: Mode, round_: int) -> Pair:
        """Run one batch and the same on stock vLLM, in turns, and time their decode steps."""
        blocks = max(1, self._tokens // BLOCK_STEPS)
        tokens = WARM_STEPS + blocks * (1 + BLOCK_STEPS)
        with self._prepared(mode) as wait:
            ours, stock = (
                StepTimer(self._engines[mode.engine], wait),
                StepTimer(self._engines["reference"], synchronise),
            )
            self._add_batch(ours.engine, round_, beta=None if mode.make_learner else 0.0, tokens=tokens)
            self._add_batch(stock.engine, round_, beta=0.0, tokens=tokens)
            for timer in (ours, stock):
                timer.warm_up()
            gc.collect()
            gc.disable()
            for block in range(blocks):
                for timer in (ours, stock) if (block + round_) % 2 else (stock, ours):
                    timer.time_block()
            gc.enable()
        return Pair(ours.timing(self._shape.batch), stock.timing(self._shape.batch))

    def count_steps(self, mode: Mode) -> int:
        """Run one batch that is not timed; how many steps it took."""
        tokens = self._tokens + WARM_STEPS
        with self._prepared(mode):
            self._add_batch(self._engines[mode.engine], 0, beta=None if mode.make_learner else 0.0, tokens=tokens)
            self._finish(self._engines[mode.engine])
        return tokens

    def check_learning(self) -> tuple[float, float, float]:
        """Entropy of the plain model in nats, and the loss in the first and last tenth of a recorded run that is not timed."""
        engine = self._engines["exploring"]
        tags = self._add_batch(engine, 0, beta=None, tokens=max(40, self._tokens), record=True)
        self._finish(engine)
        self._flush(engine)
        records = self._worker.telemetry.pop(tags).values()
        tokens = [-logprob for record in records for logprob in record.policy_logprobs[1:]]
        losses = [[loss for loss in record.loss if loss == loss] for record in records]
        starts = [loss for of_sample in losses for loss in of_sample[: max(1, len(of_sample) // 10)]]
        ends = [loss for of_sample in losses for loss in of_sample[-max(1, len(of_sample) // 10) :]]
        return sum(tokens) / len(tokens), sum(starts) / len(starts), sum(ends) / len(ends)

    @contextmanager
    def _prepared(self, mode: Mode) -> Iterator[Callable[[], None]]:
        """The engine set up for the mode. Yields a function that waits for all of its work."""
        if mode.engine != "exploring":
            yield synchronise
            return
        explorer, config, learner = self._worker.explorer, self._worker.explorer.config, self._worker.explorer.learner
        assert learner is not None
        explorer.learner = mode.make_learner(explorer) if mode.make_learner else learner
        explorer.config = config if mode.adjusts_logits else replace(config, warmup_steps=NEVER)
        measured = explorer.learner

        def wait() -> None:
            synchronise()
            measured.refresh()

        yield wait
        self._flush(self._engines["exploring"])
        measured.refresh()
        explorer.config, explorer.learner = config, learner

    def _flush(self, engine: LLM) -> None:
        """One vanilla token: vLLM reports finished requests to the worker with the next step."""
        self._add_batch(engine, 0, beta=0.0, tokens=1, only=1)
        self._finish(engine)

    def _finish(self, engine: LLM) -> None:
        while engine.llm_engine.has_unfinished_requests():
            engine.llm_engine.step()

    def _add_batch(
        self,
        engine: LLM,
        round_: int,
        *,
        beta: float | None,
        tokens: int,
        record: bool = False,
        only: int | None = None,
    ) -> list[str]:
        shape, prompts = self._shape, random.Random(self._seed + round_)
        tags: list[str] = []
        self._serial += 1
        for prompt in range(shape.prompts):
            token_ids = [prompts.randrange(shape.vocabulary) for _ in range(PROMPT_TOKENS)]
            for sample in range(shape.samples):
                if only is not None and len(tags) == only:
                    return tags
                tag = f"{self._serial}/{prompt}/{sample}"
                extra: dict[str, Any] = {GROUP_KEY: f"{self._serial}/{prompt}"}
                extra |= {} if beta is None else {BETA_KEY: beta}
                extra |= {RECORD_KEY: tag} if record else {}
                params = SamplingParams(
                    temperature=1.0,
                    max_tokens=tokens,
                    ignore_eos=True,
                    detokenize=False,
                    extra_args=extra,
                    **FILTERS[shape.filter],
                )
                engine.llm_engine.add_request(tag, {"prompt_token_ids": token_ids}, params)
                tags.append(tag)
        return tags


def start_engine(model: Path, shape: Shape, name: Engine, *, is_eager: bool, dtype: torch.dtype) -> LLM:
    """A vLLM engine in this process."""
    config = ESampConfig(
        beta=0.25 if name == "exploring" else 0.0, inner_width=shape.inner_width, max_groups=shape.prompts
    )
    ours: dict[str, Any] = {
        "worker_cls": "esamp.worker.ESampWorker",
        "additional_config": {"esamp": config.to_dict()},
    }
    # Four engines share the GPU, so none may take vLLM's default share of its memory.
    memory = {"gpu_memory_utilization": 0.2} if torch.cuda.is_available() else {"kv_cache_memory_bytes": 512 << 20}
    engine = LLM(
        str(model),
        dtype=dtype,  # vLLM would otherwise compute in bfloat16 whatever the weights are
        skip_tokenizer_init=True,
        max_model_len=1024,
        max_num_seqs=shape.batch,
        enforce_eager=is_eager,
        disable_log_stats=True,
        enable_prefix_caching=False,
        **memory,
        **({} if name in ("reference", "stock") else ours),
    )
    _ENGINES_KEPT_ALIVE.append(engine)
    return engine


def worker_of(engine: LLM) -> ESampWorker:
    """The worker inside an in-process engine."""
    [worker] = engine.collective_rpc(lambda worker: worker)
    return worker


def synchronise() -> None:
    """Wait for the GPU, if there is one."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
