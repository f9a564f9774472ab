"""Measures what a DistillerTrainer's work costs on this machine, and fits the constants of actors/capacity/trainer_costs.py to it.

Every point is one shape of a step: hidden size, Distiller width, groups, rows per group. It is timed as the trainer's time per letter
when letters to its actor queue up, which is what a busy trainer needs, with one step in a letter, with several, and with an answer that
brings weights; as the way from rows to weights through the real exchange, on which the shard's own processor time is counted as well; and
called directly. Training runs on one thread, as in the actor.
"""

import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import ray
import torch
from ray.actor import ActorHandle

from actors.config import ExchangeConfig
from actors.devtools.cost_fit import CalibrationPoint, PointTiming, fit_costs, fitted_ms
from actors.exchange.messages import RegisterGroup, ShardMessage, StepRows
from actors.exchange.remote_learner import ActorLearner
from actors.trainers.distiller_trainer import DistillerTrainer
from actors.trainers.pool import TrainerActor
from actors.types import TrainerSpec
from esamp.config import ESampConfig
from esamp.distiller.bank import DistillerBank
from esamp.distiller.hidden_rows import HiddenRows

SHARD = "calibration/1"
"""Name and life of the shard that the letters come from."""
OBJECT_SIZES = (2**16, 2**18, 2**20, 2**22, 2**24)
"""Bytes: 64 KiB to 16 MiB."""
QUEUED_LETTERS = 6
LONG_LETTER = 4
"""Steps in a letter of several."""
REPEATS = 5
PAUSE_S = 0.25
"""Between two round trips: the pace of a shard's letters is no part of their way."""

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
    """Measure everything and fit; what `TrainerCosts.from_file` reads, as plain values. Needs a Ray that is up."""
    torch.set_num_threads(1)
    timings = []
    for point in points:
        timings.append(timing := time_point(point))
        tell(f"{point}: {timing.queued_ms:.1f} ms a letter of one step, publication {timing.publish_ms:.1f} ms")
    objects = [time_object(num_bytes) for num_bytes in OBJECT_SIZES]
    costs = fit_costs(timings, long_letter=LONG_LETTER)
    return {
        "costs": asdict(costs),
        "points": [
            {**asdict(timing), "fitted_train_ms": train_ms, "fitted_publish_ms": publish_ms}
            for timing, (train_ms, publish_ms) in zip(timings, fitted_ms(timings, costs), strict=True)
        ],
        "objects": [asdict(timing) for timing in objects],
    }


def write_calibration(measured: dict[str, object], path: Path) -> None:
    """As JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(measured, indent=1) + "\n")


def trainer_spec(point: CalibrationPoint) -> TrainerSpec:
    """A trainer for the point's groups."""
    return TrainerSpec(
        config=ESampConfig(inner_width=point.inner_width, trainer="actor"),
        output_gain=np.ones(point.hidden_size, dtype=np.float32),
        max_groups=point.groups,
    )


def step_rows(point: CalibrationPoint, seed: int = 0) -> StepRows:
    """A step of random rows."""
    random = np.random.default_rng(seed)
    source, target = random.standard_normal((2, point.rows, point.hidden_size), dtype=np.float32)
    return StepRows(
        source=source,
        target=target,
        groups=group_names(point),
        group_of_row=[index for index in range(point.groups) for _ in range(point.rows_per_group)],
        steps=[1] * point.groups,
    )


def group_names(point: CalibrationPoint) -> list[str]:
    """[G]"""
    return [f"group {index}" for index in range(point.groups)]


def opening_letter(point: CalibrationPoint) -> ShardMessage:
    """Opens all of the point's groups."""
    items = [RegisterGroup(group=name, registration=1) for name in group_names(point)]
    return ShardMessage(shard=SHARD, items=[*items], wants_weights=False)


def time_point(point: CalibrationPoint) -> PointTiming:
    """All timings of one shape."""
    direct_s = time_step(point)
    trainer = ray.remote(TrainerActor).options(num_cpus=0).remote(trainer_spec(point))
    try:
        ray.get(trainer.exchange.remote(opening_letter(point)))
        letter_s = time_queue(trainer, point, steps=1, wants_weights=False)
        long_letter_s = time_queue(trainer, point, steps=LONG_LETTER, wants_weights=False)
        answered_s = time_queue(trainer, point, steps=1, wants_weights=True)
    finally:
        ray.kill(trainer)
    round_trip_s, send_s, take_s = time_round_trip(point)
    return PointTiming(
        point=point,
        direct_ms=1000 * direct_s,
        queued_ms=1000 * letter_s,
        long_letter_ms=1000 * long_letter_s,
        publish_ms=1000 * max(1e-4, answered_s - letter_s),
        round_trip_ms=1000 * round_trip_s,
        send_ms=1000 * send_s,
        take_ms=1000 * take_s,
    )


def time_step(point: CalibrationPoint) -> float:
    """Seconds of a step in this process."""
    step, trainer = step_rows(point), DistillerTrainer(trainer_spec(point))
    trainer.exchange(opening_letter(point))
    return median_seconds(lambda: trainer.train(SHARD, step))


def time_queue(trainer: ActorHandle, point: CalibrationPoint, *, steps: int, wants_weights: bool) -> float:
    """Seconds of one letter in a queue of them, each an object of its own as in an exchange."""
    seconds: list[float] = []
    for _ in range(REPEATS + 1):
        letters = [
            ShardMessage(
                shard=SHARD,
                items=[step_rows(point, seed=seed) for seed in range(steps)],
                wants_weights=wants_weights,
            )
            for _ in range(QUEUED_LETTERS)
        ]
        refs = [ray.put(letter) for letter in letters]
        started = time.perf_counter()
        ray.get([trainer.exchange.remote(ref) for ref in refs])
        seconds.append(time.perf_counter() - started)
    return float(np.median(seconds[1:])) / QUEUED_LETTERS


def time_round_trip(point: CalibrationPoint) -> tuple[float, float, float]:
    """Seconds from `learn` to weights that have learned from it, with nothing else under way; and the shard's processor time in them, for
    a letter and for a publication."""
    spec = trainer_spec(point)
    trainer = ray.remote(TrainerActor).options(num_cpus=0).remote(spec)
    bank = DistillerBank(
        spec.config, torch.from_numpy(spec.output_gain.copy()), num_slots=point.groups, device=torch.device("cpu")
    )
    learner = ActorLearner(bank, [trainer], shard="calibration", config=ExchangeConfig(share=1.0))
    source, target = torch.randn(2, point.rows, point.hidden_size)
    rows = HiddenRows.of(source, target, tuple(s for s in range(point.groups) for _ in range(point.rows_per_group)))

    def teach() -> None:
        due = learner.counters.versions_received + point.groups
        learner.learn(rows)
        while learner.counters.versions_received < due:
            time.sleep(2e-4)
            learner.refresh()

    try:
        for slot, name in enumerate(group_names(point)):
            learner.open(slot, name)
        teach()  # TorchScript compiles in the first two
        teach()
        before, seconds = learner.counters, []
        for _ in range(REPEATS):
            time.sleep(PAUSE_S)
            started = time.perf_counter()
            teach()
            seconds.append(time.perf_counter() - started)
        after = learner.counters
    finally:
        learner.stop()
        ray.kill(trainer)
    send_s = (after.rows_s - before.rows_s) / (after.messages - before.messages)
    take_s = (after.weights_s - before.weights_s) / (after.weight_updates - before.weight_updates)
    return float(np.median(seconds)), send_s, take_s


def time_object(num_bytes: int) -> ObjectTiming:
    """Object store and call times at one size."""
    array: np.ndarray = np.ones(num_bytes, dtype=np.uint8)
    actor = ray.remote(Idle).options(num_cpus=0).remote()
    ref = ray.put(array)
    ray.get(actor.take.remote(ref))
    put_s = median_seconds(lambda: ray.put(array))
    get_s = median_seconds(lambda: ray.get(ref).copy())
    call_s = median_seconds(lambda: ray.get(actor.take.remote(ref)))
    ray.kill(actor)
    return ObjectTiming(num_bytes=num_bytes, put_ms=1000 * put_s, get_ms=1000 * get_s, call_ms=1000 * call_s)


def median_seconds(work: Callable[[], object]) -> float:
    """Of some repeats, after two that warm up."""
    seconds = []
    for _ in range(REPEATS + 2):
        started = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - started)
    return float(np.median(seconds[2:]))
