"""The trainer learns like a local bank, publishes only what changed, keeps its groups apart, and removes those that no shard holds."""

import time

import numpy as np
import pytest
import ray
import torch

from actors.exchange.messages import (
    GroupWeights,
    RegisterGroup,
    Reply,
    RestoreGroup,
    ShardMessage,
    StepRows,
    UnregisterGroup,
)
from actors.trainers.distiller_trainer import DistillerTrainer
from actors.trainers.group_table import SILENCE_S
from actors.types import TrainerSpec
from esamp.config import ESampConfig
from esamp.distiller.bank import DistillerBank
from esamp.distiller.hidden_rows import HiddenRows

pytestmark = pytest.mark.ray
H = 16
CONFIG = ESampConfig(inner_width=8, trainer="actor")
SHARD = "s0/1"
GAIN = np.linspace(0.5, 1.5, H, dtype=np.float32)


def make_trainer(max_groups: int = 4) -> DistillerTrainer:
    return DistillerTrainer(TrainerSpec(config=CONFIG, output_gain=GAIN, max_groups=max_groups))


def registration(group: str, number: int = 1, restore: RestoreGroup | None = None) -> RegisterGroup:
    return RegisterGroup(group=group, registration=number, restore=restore)


def rows(seed: int, groups: list[str], group_of_row: list[int], step: int) -> StepRows:
    random = np.random.default_rng(seed)
    source, target = random.standard_normal((2, len(group_of_row), H)).astype(np.float32)
    return StepRows(source=source, target=target, groups=groups, group_of_row=group_of_row, steps=[step] * len(groups))


def send(
    trainer: DistillerTrainer,
    *items: RegisterGroup | StepRows | UnregisterGroup,
    shard: str = SHARD,
    wants_weights: bool = True,
) -> Reply:
    return trainer.exchange(ShardMessage(shard=shard, items=list(items), wants_weights=wants_weights))


def weights_in(reply: Reply) -> dict[str, np.ndarray]:
    if not reply.versions:
        return {}
    arrays: np.ndarray = ray.get(reply.weights[0])
    return {version.group: array for version, array in zip(reply.versions, arrays, strict=True)}


def test_it_learns_like_a_local_bank_however_rows_are_split_into_messages(local_ray: None) -> None:
    trainer = make_trainer()
    bank = DistillerBank(CONFIG, torch.from_numpy(GAIN), num_slots=2, device=torch.device("cpu"))
    batches = [rows(step, ["a", "b"], [0, 1, 1, 0], step) for step in range(1, 8)]
    for batch in batches:
        bank.train(HiddenRows.of(torch.from_numpy(batch.source), torch.from_numpy(batch.target), (0, 1, 1, 0)))
    send(trainer, registration("a"), registration("b"), *batches[:3], wants_weights=False)
    reply = send(trainer, *batches[3:])
    assert [(v.group, v.step, v.rows, v.learned) for v in reply.versions] == [("a", 7, 14, 7), ("b", 7, 14, 7)]
    assert {v.incarnation for v in reply.versions} == {trainer.incarnation} == {reply.incarnation}
    np.testing.assert_array_equal(ray.get(reply.weights[0]), bank.theta_SP.numpy())


def test_weights_are_published_only_when_they_changed_and_are_wanted(local_ray: None) -> None:
    trainer = make_trainer()
    first = send(trainer, registration("a"), registration("b"), registration("c"), rows(1, ["a", "b"], [0, 1], 1))
    assert [v.group for v in first.versions] == ["a", "b"]
    assert send(trainer, rows(2, ["b"], [0], 2), wants_weights=False).weights == []
    assert [v.group for v in send(trainer).versions] == ["b"]
    assert send(trainer).weights == []


def test_a_closed_group_frees_its_slot_for_a_new_one_that_starts_from_initial_weights(local_ray: None) -> None:
    trainer = make_trainer(max_groups=1)
    refused = send(trainer, registration("a"), rows(1, ["a"], [0], 1), registration("b"), rows(2, ["b"], [0, 0], 1))
    assert refused.new_groups == ["a"] and refused.unknown_groups == ["b"] and refused.refused_rows == 2
    after = send(trainer, UnregisterGroup(group="a"), registration("b", 2), rows(3, ["b"], [0], 1))
    fresh = send(make_trainer(max_groups=1), registration("b"), rows(3, ["b"], [0], 1))
    np.testing.assert_array_equal(weights_in(after)["b"], weights_in(fresh)["b"])
    assert trainer.stats().groups == 1 and trainer.stats().refused_rows == 2


def test_two_incarnations_have_different_names(local_ray: None) -> None:
    assert make_trainer().incarnation != make_trainer().incarnation


def test_a_shared_group_learns_from_every_shard_and_exists_until_the_last_one_unregisters_it(local_ray: None) -> None:
    trainer, reference = make_trainer(), make_trainer()
    steps = [rows(seed, ["shared/p"], [0, 0], 1 + seed // 2) for seed in range(6)]
    send(reference, registration("shared/p"))
    for index, step in enumerate(steps):
        send(
            trainer,
            *([registration("shared/p")] if index < 2 else []),
            step,
            shard=f"s{index % 2}/1",
            wants_weights=False,
        )
        send(reference, step, wants_weights=False)
    [expected] = weights_in(send(reference)).values()
    for shard in ("s0/1", "s1/1"):
        reply = send(trainer, shard=shard)
        assert [(v.step, v.rows, v.learned) for v in reply.versions] == [(6, 12, 3)], (
            "learned counts the shard's own steps"
        )
        np.testing.assert_array_equal(weights_in(reply)["shared/p"], expected)
    send(trainer, UnregisterGroup(group="shared/p"), shard="s0/1")
    assert trainer.stats().groups == 1
    assert send(trainer, rows(9, ["shared/p"], [0], 4), shard="s0/1").unknown_groups == ["shared/p"]
    joined = send(trainer, registration("shared/p", 2), shard="s2/1")
    assert joined.joined_groups == ["shared/p"] and len(weights_in(joined)) == 1, (
        "a shard that joins late is sent the weights so far"
    )
    send(trainer, UnregisterGroup(group="shared/p"), shard="s1/1")
    send(trainer, UnregisterGroup(group="shared/p"), shard="s2/1")
    assert trainer.stats().groups == 0


def test_a_shard_that_comes_back_or_falls_silent_holds_no_groups(
    local_ray: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = make_trainer(max_groups=3)
    send(trainer, registration("mine"), registration("ours"), shard="s0/first")
    send(trainer, registration("theirs"), registration("ours"), shard="s1/first")
    send(trainer, shard="s0/second")
    assert trainer.stats().groups == 2 and trainer.stats().abandoned_groups == 1, "another shard still holds one"
    later = time.monotonic() + SILENCE_S + 1
    monkeypatch.setattr(time, "monotonic", lambda: later)
    send(trainer, registration("new"), shard="s0/second")
    assert trainer.stats().groups == 1 and trainer.stats().abandoned_groups == 3
    assert send(trainer, rows(1, ["ours"], [0], 7), shard="s1/first").unknown_groups == ["ours"], "it may open it again"


def test_nothing_is_left_of_groups_and_shards_that_are_gone(local_ray: None) -> None:
    trainer = make_trainer()
    for incarnation in range(50):
        shard = f"s0/{incarnation}"
        send(
            trainer,
            registration("a"),
            registration("shared/b"),
            rows(incarnation, ["a", "shared/b"], [0, 1], 1),
            shard=shard,
        )
    send(trainer, shard="s0/last")
    table = trainer._table
    assert len(table) == 0 and sorted(table._free) == [0, 1, 2, 3]
    assert not table._held and list(table._last_heartbeat) == ["s0/last"]


def restore_of(version: GroupWeights, weights: np.ndarray) -> RestoreGroup:
    return RestoreGroup(version=version, weights=weights)


def test_a_restarted_trainer_goes_on_from_the_newest_weights_it_is_sent(local_ray: None) -> None:
    before = make_trainer()
    send(before, registration("shared/p"), rows(1, ["shared/p"], [0], 1), shard="s0/1", wants_weights=False)
    older = send(before, registration("shared/p"), rows(2, ["shared/p"], [0], 1), shard="s1/1")
    newer = send(before, rows(3, ["shared/p"], [0, 0], 2), shard="s0/1")
    [(name, newest)] = weights_in(newer).items()

    after = make_trainer()
    unknown = send(after, rows(4, ["shared/p"], [0], 3), shard="s1/1")
    assert unknown.unknown_groups == ["shared/p"] and unknown.refused_rows == 1
    late = send(after, registration(name, 2, restore_of(older.versions[0], weights_in(older)[name])), shard="s1/1")
    assert late.restored_groups == [name] and late.versions == [], "the shard has the weights that it sent"
    better = send(after, registration(name, 2, restore_of(newer.versions[0], newest)), shard="s0/1")
    assert better.restored_groups == [name] and better.versions == []
    [version] = (reply := send(after, shard="s1/1")).versions
    assert (version.step, version.rows, version.incarnation) == (3, 4, after.incarnation)
    np.testing.assert_array_equal(weights_in(reply)[name], newest)
    ignored = send(after, registration(name, 3, restore_of(older.versions[0], weights_in(older)[name])), shard="s2/1")
    np.testing.assert_array_equal(weights_in(ignored)[name], newest)
    assert after.stats().restored_groups == 2


def test_adam_is_reset_after_a_restart(local_ray: None) -> None:
    """Its first step would otherwise be corrected for a history that its zero moments do not have."""
    before = make_trainer()
    published = send(before, registration("a"), *(rows(step, ["a"], [0, 0], step) for step in range(1, 30)))
    after, step = make_trainer(), rows(30, ["a"], [0, 0], 30)
    weights = weights_in(published)["a"]
    reply = send(after, registration("a", 2, restore_of(published.versions[0], weights)), step)
    bank = DistillerBank(CONFIG, torch.from_numpy(GAIN), num_slots=1, device=torch.device("cpu"))
    bank.load(0, torch.from_numpy(weights.copy()), steps=0, loss=1.0, relative_error=1.0)
    bank.train(HiddenRows.of(torch.from_numpy(step.source), torch.from_numpy(step.target), (0, 0)))
    np.testing.assert_array_equal(weights_in(reply)["a"], bank.theta_SP[0].numpy())
    assert reply.versions[0].step == 30 and reply.versions[0].learned == 30
