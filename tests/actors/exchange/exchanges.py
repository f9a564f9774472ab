"""Parts of an exchange, for tests: a small bank, rows, real trainer actors, and waiting."""

import time
from collections.abc import Callable

import numpy as np
import ray
import torch
from ray.actor import ActorHandle

from actors.exchange.messages import GroupWeights
from actors.exchange.remote_learner import ActorLearner
from actors.trainers.distiller_trainer import DistillerTrainer
from actors.types import TrainerSpec
from esamp.config import ESampConfig
from esamp.distiller.bank import DistillerBank
from esamp.distiller.hidden_rows import HiddenRows
from esamp.distiller.interface import build_bank

H = 16
CONFIG = ESampConfig(inner_width=8, trainer="actor", learning_rate=1e-2)


def make_bank(config: ESampConfig = CONFIG) -> DistillerBank:
    bank = build_bank(config, torch.ones(H), num_slots=4, head_weight_VH=None)
    assert isinstance(bank, DistillerBank)
    return bank


def make_rows(seed: int, slots: tuple[int, ...]) -> HiddenRows:
    source, target = torch.randn(2, len(slots), H, generator=torch.Generator().manual_seed(seed))
    return HiddenRows.of(source, target, slots)


class TrainerProcess(DistillerTrainer):
    """A trainer that says which process it is."""

    def pid(self) -> int:
        import os

        return os.getpid()


def start_trainer(config: ESampConfig = CONFIG, *, max_groups: int = 8) -> ActorHandle:
    spec = TrainerSpec(config=config, output_gain=np.ones(H, dtype=np.float32), max_groups=max_groups)
    trainer = ray.remote(TrainerProcess).options(num_cpus=0, max_restarts=-1).remote(spec)
    ray.get(trainer.ping.remote())
    return trainer


def wait_until(claim: Callable[[], bool], timeout_s: float = 60.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not claim():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


def is_taught(learner: ActorLearner, slot: int, step: int) -> bool:
    """True once the slot's weights have learned from the shard's step."""
    learner.refresh()
    return learner.version(slot).learned == step


def version_of(group: str, incarnation: str, registration: int, step: int) -> GroupWeights:
    return GroupWeights(
        group=group,
        incarnation=incarnation,
        registration=registration,
        step=step,
        rows=8 * step,
        learned=step,
        loss=1.0,
        relative_error=0.5,
    )
