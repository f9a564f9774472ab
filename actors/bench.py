"""The engine bench's mode with a Distiller-trainer actor: what the exchange costs the decode loop."""

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import ray

from actors.distiller_trainer import DistillerTrainer
from actors.exchange import ActorLearner
from actors.types import TrainerSpec
from esamp.bench.engine_bench import Mode
from esamp.config import ESampConfig
from esamp.explorer import Explorer
from esamp.learner import Learner


@contextmanager
def actor_mode() -> Iterator[Mode]:
    """The mode, and a local Ray for as long as it is used."""
    ray.init("local", num_cpus=2, include_dashboard=False, log_to_driver=False)
    trainers: dict[ESampConfig, ray.actor.ActorHandle] = {}

    def learner(explorer: Explorer) -> Learner:
        config = explorer.config
        if config not in trainers:
            gain: np.ndarray = explorer.initial_gain().numpy()
            spec = TrainerSpec(config=config, output_gain=gain, max_groups=4 * config.max_groups)
            trainers[config] = ray.remote(DistillerTrainer).options(num_cpus=0).remote(spec)
        return ActorLearner(explorer.distillers, trainers[config], shard="bench")

    try:
        yield Mode("full, actor", "exploring", learner)
    finally:
        ray.shutdown()
