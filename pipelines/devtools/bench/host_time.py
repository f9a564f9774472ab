"""What does the host do per step? Steps per second with a model so small that little else is left, relative to stock vLLM's engine.

    vanilla, esamp                  a shard (actors/shards/llm_shard.py) in this process, with its queues, records and samples
    vanilla, vLLM's metrics         the same with engine.vllm_metrics, whose numbers go to a Ray of this process
    stock, core in its own process  vLLM's default: the engine core and its worker in processes of their own (which on CUDA schedules
                                    asynchronously too, and on a CPU does not)

Each mode and stock vLLM's engine in this process take turns of one whole batch, from its first request to its last sample, with the same
prompts, seeds and settings. What is timed includes adding the requests and reading the prompts.
"""

import asyncio
import gc
import json
import os
import random
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import median
from typing import Protocol

import numpy as np
from rich.table import Table

from actors.config import EngineConfig, SamplingConfig, ShardConfig
from actors.shards.llm_shard import LLMShard, engine_args, sampling_params
from actors.types import Sample, WorkUnit
from esamp.config import ESampConfig
from esamp.devtools.bench.shape import Shape
from esamp.policy_config import PolicyConfig
from pipelines.devtools.bench.host_time_shape import HostTimeShape
from pipelines.devtools.bench.word_model import random_words, write_word_model
from pipelines.stages.ray_session import connected_ray

# After llm_shard, which sets what vLLM reads from the environment when it is imported.
from vllm import LLMEngine  # isort: skip

MODEL = Shape(hidden=128, layers=2, vocabulary=512)
"""The smallest that has a shallow and a deep state."""
INNER_WIDTH = 16
"""The paper's Distiller is a tenth as wide as its model; with one of its 384 the arithmetic would be what is measured here."""
PROMPT_WORDS = 8
MULTIPROCESSING = "VLLM_ENABLE_V1_MULTIPROCESSING"


@dataclass(frozen=True, kw_only=True, slots=True)
class HostTime:
    """One mode, over rounds."""

    mode: str
    steps_per_s: float
    """Median."""
    stock_steps_per_s: float
    """Median of stock's batches that took turns with it."""
    ratios: list[float] = field(repr=False)
    """Per round: steps/s by those of stock vLLM's engine in this process."""


class Engine(Protocol):
    """Whatever generates a batch."""

    def generate(self, units: list[WorkUnit]) -> None:
        """All samples of the work units, from the first request to the last sample."""
        ...


class StockEngine:
    """vLLM's own engine."""

    def __init__(self, config: ShardConfig, *, in_process: bool) -> None:
        args = engine_args(config)
        args.worker_cls, args.additional_config = "auto", {}
        with environment(MULTIPROCESSING, "0" if in_process else "1"):
            self._engine = LLMEngine.from_engine_args(args, enable_multiprocessing=not in_process)
        self._config = config
        self._serial = 0

    def generate(self, units: list[WorkUnit]) -> None:
        """See Engine."""
        self._serial += 1
        for unit in units:
            for index, seed in zip(unit.sample_indices, unit.seeds, strict=True):
                request_id = f"{self._serial}/{unit.unit_id}/{index}"
                params = sampling_params(self._config, unit, sample_index=index, seed=seed, request_id=request_id)
                params.ignore_eos, params.extra_args = True, None
                self._engine.add_request(request_id, {"prompt": unit.prompt}, params)
        while self._engine.has_unfinished_requests():
            self._engine.step()


class Shard:
    """One of ours."""

    def __init__(self, config: ShardConfig) -> None:
        self._shard = LLMShard(config, name="bench")

    def generate(self, units: list[WorkUnit]) -> None:
        """See Engine."""
        asyncio.run(self._generate(units))

    async def _generate(self, units: list[WorkUnit]) -> None:
        await asyncio.gather(*(self._samples(unit) for unit in units))

    async def _samples(self, unit: WorkUnit) -> list[Sample]:
        return [sample async for sample in self._shard.generate(unit)]


@contextmanager
def environment(name: str, value: str) -> Iterator[None]:
    """An environment variable for a `with` block."""
    before = os.environ[name]
    os.environ[name] = value
    try:
        yield
    finally:
        os.environ[name] = before


ENGINES: dict[str, Callable[[Callable[[PolicyConfig | None], ShardConfig]], Engine]] = {
    "vanilla": lambda config: Shard(config(None)),
    "vanilla, vLLM's metrics": lambda config: Shard(with_vllm_metrics(config(None))),
    "esamp": lambda config: Shard(config(ESampConfig(trainer="local", inner_width=INNER_WIDTH))),
    "stock, core in its own process": lambda config: StockEngine(config(None), in_process=False),
}
"""By mode."""


def run_host_time(shape: HostTimeShape, *, log: Callable[[str], None]) -> list[HostTime]:
    """Every mode in every round."""
    # What vLLM's metrics cost is what handing them to a Ray that runs costs.
    with connected_ray(0):
        return time_modes(shape, log=log)


def time_modes(shape: HostTimeShape, *, log: Callable[[str], None]) -> list[HostTime]:
    """The same; needs Ray."""
    with tempfile.TemporaryDirectory() as folder:
        write_word_model(Path(folder), MODEL, entropy_nats=2.0, seed=0)

        def config(policy: PolicyConfig | None) -> ShardConfig:
            return shard_config(Path(folder), shape, policy)

        log("starting engines")
        stock = StockEngine(config(None), in_process=True)
        engines = {mode: start(config) for mode, start in ENGINES.items()}
    speeds: dict[str, list[tuple[float, float]]] = {mode: [] for mode in engines}
    order = random.Random(0)
    for round_ in range(-1, shape.rounds):
        units = batch(shape, round_)
        for mode in order.sample(list(engines), len(engines)):
            # Either may be the first: what the machine does meanwhile may grow or shrink.
            turns = [("stock", stock), (mode, engines[mode])]
            timed = {name: shape.tokens / seconds(engine, units) for name, engine in order.sample(turns, 2)}
            if round_ >= 0:
                speeds[mode].append((timed[mode], timed["stock"]))
        log(f"round {round_ + 1} of {shape.rounds}")
    return [
        HostTime(
            mode=mode,
            steps_per_s=median(ours for ours, _ in pairs),
            stock_steps_per_s=median(stocks for _, stocks in pairs),
            ratios=[ours / stocks for ours, stocks in pairs],
        )
        for mode, pairs in speeds.items()
    ]


def seconds(engine: Engine, units: list[WorkUnit]) -> float:
    """Of one batch."""
    gc.collect()
    started = time.perf_counter()
    engine.generate(units)
    return time.perf_counter() - started


def shard_config(model: Path, shape: HostTimeShape, policy: PolicyConfig | None) -> ShardConfig:
    """What every engine is made from."""
    return ShardConfig(
        model=str(model),
        engine=EngineConfig(
            dtype="float32",
            max_model_len=1024,
            max_num_seqs=shape.batch,
            kv_cache_gib=0.5,
            enforce_eager=True,
            vllm_metrics=False,
            # The prompts of a round must not be read for the engine that comes second.
            extra=json.dumps({"enable_prefix_caching": False}),
        ),
        sampling=SamplingConfig(max_tokens=shape.tokens),
        policy=policy,
    )


def with_vllm_metrics(config: ShardConfig) -> ShardConfig:
    """As runs have it."""
    return replace(config, engine=replace(config.engine, vllm_metrics=True))


def batch(shape: HostTimeShape, round_: int) -> list[WorkUnit]:
    """The work units of a round."""
    words, samples = random.Random(round_), shape.batch // shape.prompts
    return [
        WorkUnit(
            unit_id=f"{round_}/{prompt}",
            problem_id=f"{round_}/{prompt}",
            prompt=random_words(words, MODEL.vocabulary, PROMPT_WORDS),
            sample_indices=tuple(range(samples)),
            seeds=tuple(round_ * 100_003 + prompt * samples + sample for sample in range(samples)),
        )
        for prompt in range(shape.prompts)
    ]


def host_time_table(times: list[HostTime], shape: HostTimeShape, caption: str) -> Table:
    """One row per mode."""
    table = Table(
        title=f"{MODEL.layers} layers, vocabulary {MODEL.vocabulary}, batch {shape.batch}: steps/s by those of stock vLLM's engine in the "
        "same process",
        caption=caption,
    )
    for heading in ("mode", "of stock", "5-95%", "steps/s", "stock's"):
        table.add_column(heading, justify="left" if heading == "mode" else "right")
    for one in times:
        low, middle, high = np.percentile(one.ratios, [5, 50, 95])
        table.add_row(
            one.mode,
            f"{middle:.3f}",
            f"{low:.3f}-{high:.3f}",
            f"{one.steps_per_s:.0f}",
            f"{one.stock_steps_per_s:.0f}",
        )
    return table
