"""The shard's side of the exchange: bounded, never waiting, never fooled by an old version."""

import random
import time
from collections.abc import Iterator

import pytest
import ray
import torch

from actors.exchange.group_names import trainer_of
from actors.exchange.messages import Reply, ShardMessage
from actors.exchange.remote_learner import ActorLearner
from actors.exchange.send_queue import MAX_STEPS, SendQueue
from actors.exchange.slot_table import ArrivedWeights
from tests.actors.exchange.exchanges import is_taught, make_bank, make_rows, start_trainer, version_of, wait_until

pytestmark = pytest.mark.ray


class SlowTrainer:
    """Takes a second per message, as a trainer on a busy machine would."""

    def exchange(self, message: ShardMessage) -> Reply:
        time.sleep(1.0)
        return Reply(
            incarnation="slow",
            new_groups=[],
            joined_groups=[],
            restored_groups=[],
            unknown_groups=[],
            refused_rows=0,
            versions=[],
            weights=[],
        )


@pytest.fixture
def learner(local_ray: None) -> Iterator[ActorLearner]:
    trainer = start_trainer()
    learner = ActorLearner(make_bank(), [trainer], shard="s")
    yield learner
    learner.stop()
    ray.kill(trainer)


def test_the_weights_of_the_trainer_arrive_and_equals_learning_locally(learner: ActorLearner) -> None:
    local = make_bank()
    for slot in (0, 1):
        learner.open(slot, f"group {slot}")
    for step in range(5):
        rows = make_rows(step, (0, 1, 1))
        learner.learn(rows)
        local.train(rows)
        wait_until(lambda taught=step + 1: is_taught(learner, 1, taught))
    torch.testing.assert_close(learner.bank.theta_SP[:2], local.theta_SP[:2], rtol=0, atol=0)
    assert learner.counters.sent_rows == 15 and learner.counters.dropped_rows == 0
    assert str(learner.version(1)).endswith(":5:10")


def test_several_trainers_share_the_groups_and_learn_the_same(local_ray: None) -> None:
    trainers = [start_trainer() for _ in range(3)]
    learner, local = ActorLearner(make_bank(), trainers, shard="s", spread=True), make_bank()
    groups = ["a", "b", "c", "d"]
    owners = [trainer_of(f"shared/{group}", 3) for group in groups]
    assert len(set(owners)) > 1
    for slot, group in enumerate(groups):
        learner.open(slot, group)
    for step in range(6):
        rows = make_rows(step, (0, 1, 2, 3, 1, 2))
        learner.learn(rows)
        local.train(rows)
    wait_until(lambda: all(is_taught(learner, slot, 6) for slot in range(4)))
    torch.testing.assert_close(learner.bank.theta_SP, local.theta_SP, rtol=0, atol=1e-6)
    groups_of = [ray.get(trainer.stats.remote()).groups for trainer in trainers]
    assert groups_of == [owners.count(index) for index in range(3)]
    learner.stop()
    for trainer in trainers:
        ray.kill(trainer)


def test_groups_that_end_leave_the_trainer_and_never_crowd_it(learner: ActorLearner) -> None:
    """A group's end once overtook its last rows: the trainer opened it again, for ever, until it had no slot for anybody."""
    for round_ in range(10):
        for slot in range(4):
            learner.open(slot, f"group {round_}")
        for step in range(3):
            learner.learn(make_rows(step, (0, 1, 2, 3)))
            time.sleep(0.02)
        for slot in range(4):
            learner.close(slot)
    [client] = learner._clients
    wait_until(lambda: not len(client.send_queue) and ray.get(client._trainer.stats.remote()).groups == 0)
    stats = ray.get(client._trainer.stats.remote())
    assert stats.refused_rows == 0
    assert stats.trained_rows == learner.counters.sent_rows == 10 * 3 * 4 - learner.counters.dropped_rows


def test_a_slow_trainer_costs_rows_and_never_time(local_ray: None) -> None:
    trainer = ray.remote(SlowTrainer).options(num_cpus=0).remote()
    learner = ActorLearner(make_bank(), [trainer], shard="s")
    learner.open(0, "g")
    [client] = learner._clients
    for step in range(200):
        learner.refresh()
        learner.learn(make_rows(step, (0, 0)))
        assert client.send_queue.waiting_steps <= MAX_STEPS
        time.sleep(0.01)
    learner.close(0)
    wait_until(lambda: not len(client.send_queue))
    assert learner.counters.dropped_rows > 0
    assert learner.counters.sent_rows + learner.counters.dropped_rows == 2 * 200
    learner.stop()
    ray.kill(trainer)


def test_late_repeated_and_reordered_versions_never_take_a_group_back(learner: ActorLearner) -> None:
    """Every order of arrival, with repetitions, ends at the newest version, and on the way there no version is older than one before."""
    message = learner._clients[0].send_queue.messages + 100
    for trial in range(30):
        generator = random.Random(trial)
        learner.open(0, "g")
        name = learner._table[0].group
        first = learner._table[0].registration
        versions = [
            version_of(name, f"incarnation {registration}", first + registration, step)
            for registration in range(3)
            for step in (1, 2, 5, 9)
        ]
        arrivals = generator.choices(versions, k=40) + versions
        generator.shuffle(arrivals)
        seen = [(0, 0)]
        for version in arrivals:
            value = float(version.order[0] * 100 + version.order[1])
            weights = torch.full((learner.bank.layout.num_parameters,), value)
            learner._table.keep(ArrivedWeights(version, weights), message=message)
            if generator.random() < 0.5:
                learner.refresh()
                present = learner._table[0].version
                assert present.order >= seen[-1]
                assert learner.bank.theta_SP[0, 0] == present.order[0] * 100 + present.order[1]
                seen.append(present.order)
        learner.refresh()
        assert learner._table[0].version == versions[-1]
        learner.close(0)


def test_versions_of_an_earlier_registration_of_a_name_are_dropped(local_ray: None) -> None:
    """With shared names a group that ended may be opened again while weights of its earlier registration are on their way."""
    trainer = start_trainer()
    learner = ActorLearner(make_bank(), [trainer], shard="s", spread=True)
    weights = torch.ones(learner.bank.layout.num_parameters)
    learner.open(0, "g")
    learner.learn(make_rows(1, (0,)))
    wait_until(lambda: is_taught(learner, 0, 1))
    late, sent = version_of("shared/g", "x", 500, 9), learner._clients[0].send_queue.messages
    learner.close(0)
    learner.open(0, "g")
    learner._table.keep(ArrivedWeights(late, weights), message=sent)
    learner.refresh()
    assert learner.version(0).step == 0
    learner.learn(make_rows(2, (0,)))
    wait_until(lambda: is_taught(learner, 0, 1))
    assert learner.version(0).step == 1, "it was reset at the trainer, too"
    learner.stop()
    ray.kill(trainer)


def test_a_bug_in_the_exchange_ends_generation_loudly(learner: ActorLearner, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(self: SendQueue) -> list[object]:
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr(SendQueue, "take", broken)
    learner.open(0, "g")
    wait_until(lambda: learner._failure is not None)
    with pytest.raises(ZeroDivisionError):
        learner.refresh()
