"""How far weights are trusted as they age."""

import pytest

from esamp.config import ESampConfig
from esamp.exploration.weight_ages import share_of_beta, stale_beta


def test_beta_fades_with_staleness() -> None:
    assert [stale_beta(0.4, lag, 8) for lag in (1, 4, 6, 8, 100)] == pytest.approx([0.4, 0.4, 0.2, 0.0, 0.0])


@pytest.mark.parametrize(("trainer", "share"), [("local", 1.0), ("sync", 1.0), ("none", 1.0), ("actor", 0.5)])
def test_only_weights_that_should_have_come_are_stale(trainer: str, share: float) -> None:
    config = ESampConfig.from_dict({"trainer": trainer, "max_staleness": 8})
    assert share_of_beta(steps=0, lag=6, config=config) == share


def test_a_slot_that_warms_up_has_no_beta() -> None:
    config = ESampConfig(warmup_steps=2)
    assert [share_of_beta(steps, lag=1, config=config) for steps in (0, 1, 2)] == [0.0, 0.0, 1.0]
