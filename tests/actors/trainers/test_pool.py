"""A trainer that cannot start says that it was the trainer, and why."""

from collections.abc import Sequence
from typing import cast

import numpy as np
import pytest
from ray.actor import ActorHandle

from actors.config import ShardConfig
from actors.errors import TrainerStartError
from actors.shards.fleet import Fleet
from actors.shards.shard_actor import ShardActor
from actors.types import TrainerSpec
from esamp.config import ESampConfig

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("local_ray")]
ESAMP = ESampConfig(trainer="actor", inner_width=8)


class ShardOfABadDevice:
    """Asks for a trainer on a device that torch does not know."""

    def __init__(self, config: ShardConfig, *, name: str) -> None:
        self.name = name

    async def stats(self) -> str:
        return self.name

    async def trainer_spec(self) -> TrainerSpec:
        return TrainerSpec(config=ESAMP, output_gain=np.ones(16, dtype=np.float32), max_groups=1, device="abacus")

    async def join(self, trainers: Sequence[ActorHandle]) -> str:
        return "first"


class FleetOfABadDevice(Fleet):
    """No engine, real trainers."""

    shard_class = cast(type[ShardActor], ShardOfABadDevice)


def test_a_trainer_that_dies_at_its_start_is_not_reported_as_an_engine() -> None:
    with (
        pytest.raises(TrainerStartError, match="abacus"),
        FleetOfABadDevice(ShardConfig(model="none", policy=ESAMP), num_shards=1),
    ):
        pass
