"""The trainer learns like a local bank, publishes only what changed, and keeps its groups apart."""

import numpy as np
import pytest
import ray
import torch

from actors.distiller_trainer import DistillerTrainer
from actors.types import RowBatch, TrainerSpec
from esamp.config import ESampConfig
from esamp.distiller import DistillerBank
from esamp.hidden_rows import HiddenRows

pytestmark = pytest.mark.ray
H = 16
CONFIG = ESampConfig(inner_width=8, trainer="actor")
SHARD = "s0"
GAIN = np.linspace(0.5, 1.5, H, dtype=np.float32)


def make_trainer(max_groups: int = 4) -> DistillerTrainer:
    return DistillerTrainer(TrainerSpec(config=CONFIG, output_gain=GAIN, max_groups=max_groups))


def rows(seed: int, groups: list[str], group_of_row: list[int], step: int) -> RowBatch:
    random = np.random.default_rng(seed)
    source, target = random.standard_normal((2, len(group_of_row), H)).astype(np.float32)
    return RowBatch(
        shard=SHARD,
        source=source,
        target=target,
        groups=groups,
        group_of_row=group_of_row,
        steps=[step] * len(groups),
    )


def test_it_learns_like_a_local_bank(local_ray: None) -> None:
    trainer = make_trainer()
    bank = DistillerBank(CONFIG, torch.from_numpy(GAIN), num_slots=2, device=torch.device("cpu"))
    for step in range(1, 8):
        batch = rows(step, ["a", "b"], [0, 1, 1, 0], step)
        trainer.train(batch)
        bank.train(HiddenRows.of(torch.from_numpy(batch.source), torch.from_numpy(batch.target), (0, 1, 1, 0)))
    publication = trainer.publish(["b", "a"], SHARD)
    assert [(v.group, v.step, v.learned) for v in publication.versions] == [("b", 7, 7), ("a", 7, 7)]
    assert {v.incarnation for v in publication.versions} == {trainer.incarnation}
    np.testing.assert_array_equal(ray.get(publication.weights[0]), bank.theta_SP[[1, 0]].numpy())


def test_weights_are_published_only_when_they_changed(local_ray: None) -> None:
    trainer = make_trainer()
    trainer.train(rows(1, ["a", "b"], [0, 1], 1))
    assert len(trainer.publish(["a", "b"], SHARD).versions) == 2
    trainer.train(rows(2, ["b"], [0], 2))
    assert [v.group for v in trainer.publish(["a", "b", "never seen"], SHARD).versions] == ["b"]
    assert trainer.publish(["a", "b"], SHARD).weights == []


def test_a_closed_group_gives_its_slot_to_a_new_one_that_starts_afresh(local_ray: None) -> None:
    trainer = make_trainer(max_groups=1)
    trainer.train(rows(1, ["a"], [0], 1))
    trainer.train(rows(2, ["b"], [0], 1))
    assert trainer.stats().refused_rows == 1
    trainer.close(["a"], SHARD)
    trainer.train(rows(3, ["b"], [0], 1))
    fresh = make_trainer(max_groups=1)
    fresh.train(rows(3, ["b"], [0], 1))
    [one], [other] = (ray.get(t.publish(["b"], SHARD).weights) for t in (trainer, fresh))
    np.testing.assert_array_equal(one, other)


def test_two_incarnations_have_different_names(local_ray: None) -> None:
    assert make_trainer().incarnation != make_trainer().incarnation
