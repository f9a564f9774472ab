"""The shard's side of the exchange: bounded, never waiting, never fooled by an old version."""

import time
from collections.abc import Callable, Iterator

import numpy as np
import pytest
import ray
import torch

from actors.distiller_trainer import DistillerTrainer
from actors.exchange import MAX_IN_FLIGHT, ActorLearner, ArrivedWeights
from actors.types import GroupWeights, Publication, RowBatch, TrainerSpec
from esamp.config import ESampConfig
from esamp.distiller import DistillerBank
from esamp.hidden_rows import HiddenRows

pytestmark = pytest.mark.ray
H = 16
CONFIG = ESampConfig(inner_width=8, trainer="actor", learning_rate=1e-2)


class SlowTrainer:
    """Takes a second per step, as a trainer on a busy machine would."""

    def train(self, batch: RowBatch) -> None:
        time.sleep(1.0)

    def publish(self, groups: list[str], shard: str) -> Publication:
        return Publication(versions=[], weights=[])

    def close(self, groups: list[str], shard: str) -> None:
        pass


def make_bank() -> DistillerBank:
    return DistillerBank(CONFIG, torch.ones(H), num_slots=4, device=torch.device("cpu"))


def make_rows(seed: int, slots: tuple[int, ...]) -> HiddenRows:
    source, target = torch.randn(2, len(slots), H, generator=torch.Generator().manual_seed(seed))
    return HiddenRows.of(source, target, slots)


def wait_until(claim: Callable[[], bool], timeout_s: float = 30.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not claim():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


@pytest.fixture
def learner(local_ray: None) -> Iterator[ActorLearner]:
    spec = TrainerSpec(config=CONFIG, output_gain=np.ones(H, dtype=np.float32), max_groups=8)
    trainer = ray.remote(DistillerTrainer).options(num_cpus=0, max_restarts=-1).remote(spec)
    ray.get(trainer.ping.remote())
    learner = ActorLearner(make_bank(), trainer, shard="s")
    yield learner
    learner.stop()
    ray.kill(trainer)


def test_what_the_trainer_learned_arrives_and_equals_learning_at_home(learner: ActorLearner) -> None:
    home = make_bank()
    for slot in (0, 1):
        learner.open(slot, f"group {slot}")
    for step in range(5):
        rows = make_rows(step, (0, 1, 1))
        learner.learn(rows)
        home.train(rows)
        wait_until(lambda taught=step + 1: (learner.refresh(), learner.version(1).learned == taught)[1])
    torch.testing.assert_close(learner.bank.theta_SP[:2], home.theta_SP[:2], rtol=0, atol=0)
    assert learner.counters.sent_rows == 15 and learner.counters.dropped_rows == 0


def test_groups_that_end_leave_the_trainer_and_never_crowd_it(learner: ActorLearner) -> None:
    """A group's end once overtook its last rows: the trainer opened it again, for ever, until it had no slot for anybody."""
    for round_ in range(10):
        for slot in range(4):
            learner.open(slot, f"group {round_}")
        for step in range(3):
            learner.learn(make_rows(step, (0, 1, 2, 3)))
        for slot in range(4):
            learner.close(slot)
    wait_until(lambda: not learner._outbox and ray.get(learner._trainer.stats.remote()).groups == 0)
    stats = ray.get(learner._trainer.stats.remote())
    assert stats.refused_rows == 0
    assert stats.trained_rows == learner.counters.sent_rows == 10 * 3 * 4 - learner.counters.dropped_rows


def test_a_slow_trainer_costs_rows_and_never_time(local_ray: None) -> None:
    trainer = ray.remote(SlowTrainer).options(num_cpus=0).remote()
    learner = ActorLearner(make_bank(), trainer, shard="s")
    learner.open(0, "g")
    for step in range(40):
        learner.refresh()
        learner.learn(make_rows(step, (0, 0)))
        time.sleep(0.01)
    assert len(learner._outbox) <= MAX_IN_FLIGHT
    learner.close(0)
    assert len(learner._outbox) <= MAX_IN_FLIGHT + 1, "an end is kept, whatever rows are dropped"
    assert learner.counters.dropped_rows >= 2 * (40 - 2 * MAX_IN_FLIGHT - 2)
    assert str(learner.version(0)) == "initial:0:0"
    learner.stop()
    ray.kill(trainer)


def test_old_late_and_foreign_versions_are_dropped(learner: ActorLearner) -> None:
    learner.open(0, "g")
    name = learner._group_of_slot[0]
    newer = np.full(learner.bank.layout.num_parameters, 2.0, dtype=np.float32)

    def arrive(group: str, incarnation: str, step: int) -> str:
        learner._arrived.append(
            ArrivedWeights(
                GroupWeights(
                    group=group,
                    incarnation=incarnation,
                    step=step,
                    rows=8 * step,
                    learned=step,
                    loss=1.0,
                    relative_error=0.5,
                ),
                newer,
            )
        )
        learner.refresh()
        return str(learner.version(0))

    assert arrive(name, "first", 5) == "first:5:40"
    assert arrive(name, "first", 5) == "first:5:40", "a duplicate"
    assert arrive(name, "first", 4) == "first:5:40", "out of order"
    assert arrive("another group", "first", 9) == "first:5:40"
    assert arrive(name, "second", 1) == "second:1:8", "a restarted trainer counts from the beginning again"
    learner.close(0)
    learner.open(0, "g")
    assert arrive(name, "second", 7) == "initial:0:0", "the group of that name has ended; this is another"


def test_a_killed_trainer_is_survived_and_used_again(learner: ActorLearner) -> None:
    learner.open(0, "g")
    learner.learn(make_rows(1, (0,)))
    wait_until(lambda: (learner.refresh(), learner.version(0).learned == 1)[1])
    before = learner.version(0).incarnation
    ray.kill(learner._trainer, no_restart=False)
    step = 1

    def is_taught_again() -> bool:
        nonlocal step
        step += 1
        learner.learn(make_rows(step, (0,)))
        learner.refresh()
        time.sleep(0.05)
        return learner.version(0).incarnation not in (before, "initial")

    wait_until(is_taught_again, timeout_s=60)
    assert learner.counters.trainer_failures >= 1
