"""Settings outside their range are refused with thing, rule and value."""

import math

import pytest

from esamp import ESampConfig


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"beta": -0.1}, "beta must be finite and >= 0; got -0.1"),
        ({"beta": math.inf}, "beta must be finite and >= 0; got inf"),
        ({"beta": math.nan}, "beta must be finite and >= 0; got nan"),
        ({"max_groups": 0}, "max_groups must be >= 1; got 0"),
        ({"learning_rate": 0.0}, "learning_rate must be finite and > 0; got 0.0"),
        ({"adam_beta2": 1.0}, r"adam_beta2 must be in \[0, 1\); got 1.0"),
        ({"warmup_steps": -1}, "warmup_steps must be >= 0; got -1"),
        ({"max_staleness": 1}, "max_staleness must be >= 2"),
        ({"trainer": "remote"}, "trainer must be"),
        ({"betta": 0.1}, r"unknown esamp settings \['betta'\]"),
    ],
)
def test_bad_settings_are_refused(settings: dict[str, object], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        ESampConfig.from_dict(settings)


def test_settings_survive_a_round_trip() -> None:
    config = ESampConfig(beta=0.4, trainer="sync", num_blocks=2)
    assert ESampConfig.from_dict(config.to_dict()) == config
