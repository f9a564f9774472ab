"""Measures what a DistillerTrainer's work costs on this machine, and fits the constants of actors/trainer_costs.py to it.

Every point is one shape of a step: hidden size, Distiller width, groups, rows per group. A step is timed three ways: called directly; as
the trainer's time per call when calls to its actor queue up, which is what a busy trainer needs; and as the way from rows to weights
through the real exchange. Training runs on one thread, as in the actor.
"""

import json
import os
import platform
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path

import numpy as np
import ray
import torch
from ray.actor import ActorHandle
from scipy.optimize import nnls

from actors.distiller_trainer import DistillerTrainer
from actors.exchange import ActorLearner
from actors.trainer_costs import TrainerCosts
from actors.types import RowBatch, TrainerSpec
from esamp.config import ESampConfig
from esamp.distiller import DistillerBank
from esamp.hidden_rows import HiddenRows

OBJECT_SIZES = (2**16, 2**18, 2**20, 2**22, 2**24)
"""Bytes: 64 KiB to 16 MiB."""
QUEUED_CALLS = 6
REPEATS = 5


@dataclass(frozen=True, kw_only=True, slots=True)
class CalibrationPoint:
    """Shape of a step."""

    hidden_size: int
    inner_width: int
    groups: int
    rows_per_group: int

    @property
    def spec(self) -> TrainerSpec:
        """A trainer for it."""
        return TrainerSpec(
            config=ESampConfig(inner_width=self.inner_width, trainer="actor"),
            output_gain=np.ones(self.hidden_size, dtype=np.float32),
            max_groups=self.groups,
        )

    def batch(self, shard: str) -> RowBatch:
        """A step of random rows."""
        source, target = np.random.default_rng(0).standard_normal(
            (2, self.groups * self.rows_per_group, self.hidden_size), dtype=np.float32
        )
        return RowBatch(
            shard=shard,
            source=source,
            target=target,
            groups=[f"group {index}" for index in range(self.groups)],
            group_of_row=[index for index in range(self.groups) for _ in range(self.rows_per_group)],
            steps=[1] * self.groups,
        )

    @property
    def weight_bytes(self) -> int:
        """Of the weights of all groups."""
        return 4 * self.groups * (3 * self.inner_width * self.hidden_size + self.hidden_size)

    @property
    def row_bytes(self) -> int:
        """Of a step's hidden states."""
        return 8 * self.groups * self.rows_per_group * self.hidden_size

    @property
    def flops(self) -> int:
        """Of a training step's matrix products."""
        return 14 * self.hidden_size * self.inner_width * self.groups * self.rows_per_group


POINTS = tuple(
    CalibrationPoint(hidden_size=h, inner_width=f, groups=g, rows_per_group=m)
    for h, f, g, m in (
        (256, 48, 1, 1), (256, 192, 4, 8), (512, 48, 1, 16), (512, 48, 32, 2), (512, 384, 1, 16), (512, 384, 8, 8),
        (1024, 96, 8, 16), (1024, 384, 8, 1), (2048, 192, 4, 8), (2048, 384, 1, 16), (2048, 384, 8, 4),
        (4096, 48, 8, 16), (4096, 384, 1, 1), (4096, 384, 1, 16), (4096, 384, 4, 16),
    )
)  # fmt: skip
"""From a toy to a 7B model's step."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PointTiming:
    """Medians, in ms."""

    point: CalibrationPoint
    direct_ms: float
    """DistillerTrainer.train, called."""
    queued_ms: float
    """The same through Ray, per call of a queue."""
    publish_ms: float
    """DistillerTrainer.publish through Ray, per call of a queue."""
    round_trip_ms: float
    """From ActorLearner.learn to weights that have learned from it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ObjectTiming:
    """Medians, in ms, of one object in the object store."""

    num_bytes: int
    put_ms: float
    get_ms: float
    """With a copy, as weights are used."""
    call_ms: float
    """To an actor that takes it and returns nothing."""


class Idle:
    """An actor that does nothing."""

    def take(self, array: np.ndarray) -> None:
        pass


def calibrate(points: tuple[CalibrationPoint, ...] = POINTS, *, tell: Callable[[str], None]) -> dict[str, object]:
    """Measure everything and fit; what `TrainerCosts.from_file` reads, as plain values. Starts a Ray of its own."""
    torch.set_num_threads(1)
    with local_ray():
        timings = []
        for point in points:
            timings.append(timing := time_point(point))
            tell(f"{asdict(point)}: train {timing.queued_ms:.1f} ms, publish {timing.publish_ms:.1f} ms")
        objects = [time_object(num_bytes) for num_bytes in OBJECT_SIZES]
    costs = fit_costs(timings)
    return {
        "costs": asdict(costs),
        "points": [
            {**asdict(timing), "fitted_train_ms": train_ms, "fitted_publish_ms": publish_ms}
            for timing, (train_ms, publish_ms) in zip(timings, fitted_ms(timings, costs), strict=True)
        ],
        "objects": [asdict(timing) for timing in objects],
    }


@contextmanager
def local_ray() -> Iterator[None]:
    """A Ray for as long as it is used; one that runs already is used and left running."""
    if ray.is_initialized():
        yield
        return
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    ray.init("local", num_cpus=2, include_dashboard=False, log_to_driver=False, object_store_memory=2 * 2**30)
    try:
        yield
    finally:
        ray.shutdown()


def time_point(point: CalibrationPoint) -> PointTiming:
    """All timings of one shape."""
    batch, here = point.batch("calibration"), DistillerTrainer(point.spec)
    direct_s = median_seconds(lambda: here.train(batch))
    trainer = ray.remote(DistillerTrainer).options(num_cpus=0).remote(point.spec)
    ray.get(trainer.ping.remote())
    try:
        ref = ray.put(batch)
        queued_s = median_seconds(lambda: ray.get([trainer.train.remote(ref) for _ in range(QUEUED_CALLS)]))
        publish_s = median_seconds(lambda: publish_to_many(trainer, batch.groups))
        round_trip_s = median_round_trip(point, trainer)
    finally:
        ray.kill(trainer)
    return PointTiming(
        point=point,
        direct_ms=1000 * direct_s,
        queued_ms=1000 * queued_s / QUEUED_CALLS,
        publish_ms=1000 * publish_s / QUEUED_CALLS,
        round_trip_ms=1000 * round_trip_s,
    )


def publish_to_many(trainer: ActorHandle, groups: list[str]) -> None:
    """A queue of publications to shards that have nothing yet; it forgets what it published to them."""
    shards = [f"shard {time.monotonic_ns()}" for _ in range(QUEUED_CALLS)]
    ray.get([trainer.publish.remote(groups, shard) for shard in shards])


def median_round_trip(point: CalibrationPoint, trainer: ActorHandle) -> float:
    """From `learn` to weights that have learned from it, with nothing else under way."""
    spec = point.spec
    ray.get(trainer.close.remote([f"group {index}" for index in range(point.groups)], "calibration"))
    bank = DistillerBank(
        spec.config, torch.from_numpy(spec.output_gain), num_slots=point.groups, device=torch.device("cpu")
    )
    learner = ActorLearner(bank, trainer, shard="calibration")
    for slot in range(point.groups):
        learner.open(slot, f"group {slot}")
    source, target = torch.randn(2, point.groups * point.rows_per_group, point.hidden_size)
    rows = HiddenRows.of(source, target, tuple(s for s in range(point.groups) for _ in range(point.rows_per_group)))

    def teach() -> None:
        before = learner.counters.versions_received
        learner.learn(rows)
        while learner.counters.versions_received < before + point.groups:
            time.sleep(2e-4)
            learner.refresh()

    try:
        return median_seconds(teach)
    finally:
        learner.stop()


def time_object(num_bytes: int) -> ObjectTiming:
    """Object store and call times at one size."""
    array = np.ones(num_bytes, dtype=np.uint8)
    actor = ray.remote(Idle).options(num_cpus=0).remote()
    ref = ray.put(array)
    ray.get(actor.take.remote(ref))
    put_s = median_seconds(lambda: ray.put(array))
    get_s = median_seconds(lambda: ray.get(ref).copy())
    call_s = median_seconds(lambda: ray.get(actor.take.remote(ref)))
    ray.kill(actor)
    return ObjectTiming(num_bytes=num_bytes, put_ms=1000 * put_s, get_ms=1000 * get_s, call_ms=1000 * call_s)


def median_seconds(work: Callable[[], object]) -> float:
    """Of some repeats, after one that warms up."""
    seconds = []
    for _ in range(REPEATS + 1):
        started = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - started)
    return float(np.median(seconds[1:]))


def fit_costs(timings: list[PointTiming]) -> TrainerCosts:
    """Non-negative least squares on relative errors, so that a toy's step counts as much as a 7B model's."""
    points = [timing.point for timing in timings]
    queued = np.array([timing.queued_ms for timing in timings]) / 1000
    publish = np.array([timing.publish_ms for timing in timings]) / 1000
    rest = np.maximum(0, np.array([timing.round_trip_ms for timing in timings]) / 1000 - queued - publish)
    train = fit([(1.0, p.groups, p.flops, p.weight_bytes, p.row_bytes) for p in points], queued)
    published = fit([(1.0, p.weight_bytes) for p in points], publish)
    exchange = fit([(1.0, p.weight_bytes + p.row_bytes) for p in points], np.maximum(rest, 1e-4))
    return TrainerCosts(
        machine=f"{processor_name()}, one thread, {date.today().isoformat()}",
        call_s=train[0],
        group_s=train[1],
        flop_s=train[2],
        weight_byte_s=train[3],
        row_byte_s=train[4],
        publish_call_s=published[0],
        publish_byte_s=published[1],
        exchange_s=exchange[0],
        exchange_byte_s=exchange[1],
    )


def fit(features: list[tuple[float, ...]], seconds: np.ndarray) -> list[float]:
    """Seconds per unit of each feature."""
    matrix = np.array(features, dtype=float) / seconds[:, None]
    scale = matrix.max(0)
    constants, _ = nnls(matrix / scale, np.ones(len(seconds)))
    fitted: list[float] = (constants / scale).tolist()
    return fitted


def fitted_ms(timings: list[PointTiming], costs: TrainerCosts) -> list[tuple[float, float]]:
    """What the constants give for each point: training and publication."""
    return [
        (
            1000
            * (
                costs.call_s
                + p.groups * costs.group_s
                + p.flops * costs.flop_s
                + p.weight_bytes * costs.weight_byte_s
                + p.row_bytes * costs.row_byte_s
            ),
            1000 * (costs.publish_call_s + p.weight_bytes * costs.publish_byte_s),
        )
        for p in (timing.point for timing in timings)
    ]


def processor_name() -> str:
    """As the kernel has it."""
    info = Path("/proc/cpuinfo")
    names = [line.partition(":")[2].strip() for line in info.read_text().splitlines() if line.startswith("model name")]
    return f"{names[0] if names else platform.machine()}, {os.cpu_count()} cores"


def write_calibration(measured: dict[str, object], path: Path) -> None:
    """As JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(measured, indent=1) + "\n")
