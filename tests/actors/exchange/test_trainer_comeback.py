"""A trainer's process is killed: shards go on, nothing is lost in silence, and the next incarnation continues from what was published."""

import os
import signal
import time
from collections.abc import Iterator

import pytest
import ray
import torch
from ray.actor import ActorHandle

from actors.exchange.remote_learner import ActorLearner
from actors.shards.fleet import Fleet
from actors.types import Sample
from esamp.config import ESampConfig
from tests.actors.exchange.exchanges import is_taught, make_bank, make_rows, start_trainer, wait_until
from tests.actors.shards.test_llm_shard import all_of, draw, shard_config, units

pytestmark = pytest.mark.ray


def kill_process(trainer: ActorHandle) -> None:
    os.kill(ray.get(trainer.pid.remote()), signal.SIGKILL)


@pytest.fixture
def trainer(local_ray: None) -> Iterator[ActorHandle]:
    trainer = start_trainer()
    yield trainer
    ray.kill(trainer)


def learn_until_restarted(learner: ActorLearner, step: int) -> int:
    """Decode on, a step at a time, until a new incarnation has sent weights for every slot; the last step."""
    dead = {learner.version(slot).incarnation for slot in learner._table._slots}
    rows = tuple(learner._table._slots)

    def is_restarted() -> bool:
        nonlocal step
        step += 1
        learner.refresh()
        learner.learn(make_rows(step, rows))
        time.sleep(0.02)
        return not dead & {learner.version(slot).incarnation for slot in learner._table._slots}

    wait_until(is_restarted, timeout_s=120)
    return step


def test_every_live_group_continues_from_its_last_published_weights(trainer: ActorHandle) -> None:
    learner = ActorLearner(make_bank(), [trainer], shard="s")
    for slot in range(3):
        learner.open(slot, f"group {slot}")
    for step in range(1, 31):
        learner.refresh()
        learner.learn(make_rows(step, (0, 1, 2)))
        time.sleep(0.005)
    wait_until(lambda: all(is_taught(learner, slot, 30) for slot in range(3)))
    taught, known = learner.bank.theta_SP.clone(), learner.version(0)
    kill_process(trainer)
    last = learn_until_restarted(learner, 30)
    version = learner.version(0)
    assert version.incarnation != known.incarnation
    assert version.step > known.step and version.rows > known.rows, "counts go on"
    assert version.rows - known.rows == version.step - known.step
    # Far from where a new group starts, near to where this one was: a few steps of at most the learning rate each.
    moved = (learner.bank.theta_SP[0] - taught[0]).abs().max()
    assert moved <= 2 * 1e-2 * (version.step - known.step)
    assert (taught[0] - learner.bank._initial_P).abs().max() > 5 * 1e-2
    counters = learner.counters
    assert counters.restored_groups == 3 and counters.restarted_groups == 0
    assert counters.trainer_failures >= 1
    stats = ray.get(trainer.stats.remote())
    assert stats.restored_groups == 3 and stats.groups == 3
    # 3 rows a step: sent, dropped, or waiting still; of those sent, learned from before or after, lost, refused, or under way.
    assert counters.sent_rows + counters.dropped_rows <= 3 * last
    assert stats.trained_rows + stats.refused_rows + counters.lost_rows <= counters.sent_rows - 90
    learner.stop()


def test_a_group_whose_weights_were_never_published_is_reset_and_counted(trainer: ActorHandle) -> None:
    learner = ActorLearner(make_bank(), [trainer], shard="s")
    learner.open(0, "g")
    wait_until(lambda: ray.get(trainer.stats.remote()).groups == 1)
    wait_until(lambda: learner._table[0].is_known)
    kill_process(trainer)
    dead = "initial"
    step = 0

    def is_reset() -> bool:
        nonlocal step
        step += 1
        learner.learn(make_rows(step, (0,)))
        learner.refresh()
        time.sleep(0.02)
        return learner.version(0).incarnation != dead

    wait_until(is_reset, timeout_s=120)
    assert learner.counters.restarted_groups == 1 and learner.counters.restored_groups == 0
    learner.stop()


def test_of_two_shards_that_share_a_group_the_newest_weights_win(trainer: ActorHandle) -> None:
    ahead, behind = (ActorLearner(make_bank(), [trainer], shard=name, spread=True) for name in ("a", "b"))
    behind.open(0, "p")
    behind.learn(make_rows(1, (0,)))
    wait_until(lambda: is_taught(behind, 0, 1))
    ahead.open(0, "p")
    for step in range(1, 21):
        ahead.learn(make_rows(step, (0, 0)))
        time.sleep(0.005)
    wait_until(lambda: is_taught(ahead, 0, 20))
    assert (ahead.version(0).step, behind.version(0).step) == (21, 1)
    kill_process(trainer)
    learn_until_restarted(behind, 1)
    learn_until_restarted(ahead, 20)
    wait_until(lambda: (behind.learn(make_rows(9, (0,))), behind.refresh(), behind.version(0).step > 21)[-1])
    assert ray.get(trainer.stats.remote()).groups == 1
    for learner in (ahead, behind):
        wait_until(
            lambda it=learner: (it.refresh(), not len(it._clients[0].send_queue) and it._clients[0].reply is None)[-1]
        )
    before = behind.version(0).step
    behind.learn(make_rows(10, (0,)))
    # Once the trainer has learned them: if only they were on their way, the next rows of the other shard might be learned first.
    wait_until(lambda: (behind.refresh(), behind.version(0).step > before)[-1])
    ahead.refresh()
    assert behind.version(0).step > ahead.version(0).step
    ahead.learn(make_rows(11, (0,)))
    wait_until(lambda: (behind.refresh(), ahead.refresh(), ahead.version(0).step > behind.version(0).step)[-1])
    assert torch.isfinite(ahead.bank.theta_SP).all()
    for learner in (ahead, behind):
        learner.stop()


@pytest.mark.engine
@pytest.mark.slow
def test_a_real_shard_decodes_on_and_continues_from_the_published_weights(local_ray: None) -> None:
    """scope="shard": its one group lives from the first round of prompts to the last."""
    esamp = ESampConfig(trainer="actor", scope="shard", inner_width=32, learning_rate=3e-3, max_staleness=32)
    with Fleet(shard_config(esamp), num_shards=1) as fleet:
        [trainer], rounds = fleet.trainers, 0

        def draw_round() -> list[Sample]:
            nonlocal rounds
            rounds += 1
            return [s for unit in draw(fleet, units(f"round {rounds} ", samples=4)) for s in unit]

        def version_but(*names: str) -> tuple[str, int, int]:
            """Of the first sample with weights of another incarnation."""
            found: list[tuple[str, int, int]] = []

            def is_found() -> bool:
                for sample in draw_round():
                    # Empty where beta had decayed to 0 for all of a sample.
                    incarnation, _, counts = sample.distiller_version.partition(":")
                    if incarnation not in ("", *names):
                        step, rows = counts.split(":")
                        found.append((incarnation, int(step), int(rows)))
                return bool(found)

            wait_until(is_found, timeout_s=240)
            return found[0]

        first, step, rows = version_but("initial")
        under_way = [fleet.shards[0].generate.remote(unit) for unit in units("killed ", samples=4)]
        os.kill(ray.get(trainer.__ray_call__.remote(lambda self: os.getpid())), signal.SIGKILL)
        assert all(len(all_of(stream)) == 4 for stream in under_way), "decoding never stopped"
        second, step_after, rows_after = version_but("initial", first)
        [stats] = fleet.stats()
        assert second == ray.get(trainer.ping.remote())
        assert int(step_after) > int(step) and int(rows_after) > int(rows), (
            "it went on counting from the published version"
        )
        assert stats.restored_groups == 1 and stats.restarted_groups == 0
        assert stats.trainer_failures >= 1 and stats.stale_rows > 0, "beta decayed meanwhile, and said so"
        wait_until(lambda: any(0 < lag < esamp.max_staleness // 2 for s in draw_round() for lag in s.lag), timeout_s=60)
