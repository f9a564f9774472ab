"""The engine bench's modes with a Distiller-trainer actor: what the exchange costs the decode loop, with a trainer that keeps up and with
one that takes ten times as long for a decode step as the engine does."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import ray

from actors.exchange.messages import Reply, ShardMessage, StepRows
from actors.exchange.remote_learner import ActorLearner
from actors.trainers.pool import TrainerActor
from actors.types import TrainerSpec
from esamp.devtools.bench.engine_bench import Mode
from esamp.devtools.bench.report import PointSummary
from esamp.distiller.learner import Learner
from esamp.exploration.explorer import Explorer


class SlowTrainer(TrainerActor):
    """Spends ten decode steps' time on each decode step it is sent."""

    SLOWNESS = 10

    def __init__(self, spec: TrainerSpec) -> None:
        super().__init__(spec)
        self._step_s = 0.0
        self._last: tuple[float, dict[str, int]] = 0.0, {}

    def exchange(self, message: ShardMessage) -> Reply:
        """See how fast the engine decodes, then as usual."""
        now, (before, counts_before) = time.monotonic(), self._last
        counts = {
            name: count
            for item in message.items
            if isinstance(item, StepRows)
            for name, count in zip(item.groups, item.steps, strict=True)
        }
        steps = max((counts[name] - counts_before[name] for name in counts if name in counts_before), default=0)
        if steps > 0:
            self._step_s = (now - before) / steps
        self._last = now, counts
        return super().exchange(message)

    def train(self, shard: str, step: StepRows) -> set[str]:
        """Learn, and take one's time."""
        time.sleep(self.SLOWNESS * self._step_s)
        return super().train(shard, step)


class ActorBench:
    """Modes with a trainer actor, for as long as their Ray is up."""

    def __init__(self) -> None:
        self._learners: dict[tuple[type[TrainerActor], int], ActorLearner] = {}

    @property
    def modes(self) -> list[Mode]:
        """For esamp.devtools.bench.engine_bench.run_point."""
        return [
            Mode("full, actor", "exploring", lambda explorer: self._learner(explorer, TrainerActor)),
            Mode("full, slow actor", "exploring", lambda explorer: self._learner(explorer, SlowTrainer)),
        ]

    def stop(self) -> None:
        """End the exchanges."""
        for learner in self._learners.values():
            learner.stop()

    def _learner(self, explorer: Explorer, trainer_class: type[TrainerActor]) -> Learner:
        key = trainer_class, id(explorer)
        if key not in self._learners:
            config = explorer.config
            gain: np.ndarray = explorer.initial_gain().numpy()
            spec = TrainerSpec(config=config, output_gain=gain, max_groups=4 * config.max_groups)
            trainer = ray.remote(trainer_class).options(num_cpus=0).remote(spec)
            self._learners[key] = ActorLearner(explorer.distillers, [trainer], shard="bench")
        return self._learners[key]


@contextmanager
def actor_bench() -> Iterator[ActorBench]:
    """The modes, and a local Ray for as long as they are used."""
    ray.init("local", num_cpus=2, include_dashboard=False, log_to_driver=False)
    bench = ActorBench()
    try:
        yield bench
    finally:
        bench.stop()
        ray.shutdown()


def exchange_lines(point: PointSummary) -> list[str]:
    """What the exchange adds to the cost of predicting: tokens/s of the modes with an actor by those of the same round without learning."""
    ratios = {mode.name: np.array(mode.ratios) for mode in point.modes}
    lines = []
    for name in ratios:
        if name.endswith("actor"):
            by_round = ratios[name] / ratios["predict only"]
            low, median, high = np.percentile(by_round, [5, 50, 95])
            error = by_round.std(ddof=1) / np.sqrt(len(by_round)) if len(by_round) > 1 else np.nan
            lines.append(
                f"{name}: {median:.3f} of predict only (5%..95% of rounds {low:.3f}..{high:.3f}; mean {by_round.mean():.3f} "
                f"+- {error:.3f})"
            )
    return lines
