"""Settings outside their range are refused with thing, rule and value."""

import math

import pytest

from esamp import ESampConfig
from esamp.config import Scope


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"beta": -0.1}, "beta must be finite and >= 0; got -0.1"),
        ({"beta": math.inf}, "beta must be finite and >= 0; got inf"),
        ({"beta": math.nan}, "beta must be finite and >= 0; got nan"),
        ({"learns_prompt": True, "scope": "shard"}, "learns_prompt needs Distillers of one prompt.*scope='shard'"),
        ({"max_groups": 0}, "max_groups must be >= 1; got 0"),
        ({"learning_rate": 0.0}, "learning_rate must be finite and > 0; got 0.0"),
        ({"adam_beta2": 1.0}, r"adam_beta2 must be in \[0, 1\); got 1.0"),
        ({"warmup_steps": -1}, "warmup_steps must be >= 0; got -1"),
        ({"max_staleness": 1}, "max_staleness must be >= 2"),
        ({"trainer": "remote"}, "trainer must be"),
        ({"lag": 0}, "lag must be >= 1; got 0"),
        ({"candidate_cap": 0}, "candidate_cap must be >= 1; got 0"),
        ({"max_shift": 0.0}, "max_shift must be finite and > 0; got 0.0"),
        ({"init_scale": -1.0}, "init_scale must be finite and > 0; got -1.0"),
        (
            {"fusion": "product"},
            "fusion must be one of proposed, subtraction, clamped, directional, entropy_matched; got 'product'",
        ),
        ({"prediction": "oracle"}, "prediction must be one of"),
        ({"scope": "world"}, "scope must be one of"),
        ({"warmup": "slow"}, "warmup must be one of none, fit; got 'slow'"),
        ({"record": "all"}, "record must be one of"),
        ({"scope": "cluster"}, 'scope="cluster" needs trainer="actor"; got trainer=\'local\''),
        ({"trainer": "actor", "prediction": "running_mean"}, "prediction='running_mean' learns inside the engine"),
        ({"trainer": "actor", "prediction": "vocabulary"}, "prediction='vocabulary' learns inside the engine"),
        ({"trainer": "actor", "lag": 2}, "lag=2 needs trainer"),
        ({"trainer": "none", "lag": 2}, "lag=2 needs trainer"),
        ({"scope": "prior", "prediction": "vocabulary"}, "prediction='vocabulary' has no shared initial weights"),
        ({"scope": "prior", "prediction": "running_mean"}, "prediction='running_mean' has no shared initial weights"),
        ({"trainer": "none", "warmup": "fit"}, 'trainer="none" never ends a warmup'),
        ({"trainer": "none", "warmup_steps": 3}, 'trainer="none" never ends a warmup'),
        ({"betta": 0.1}, r"unknown esamp settings \['betta'\]"),
    ],
)
def test_bad_settings_are_refused(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ESampConfig.from_dict(settings)


def test_settings_survive_a_round_trip() -> None:
    config = ESampConfig(beta=0.4, trainer="sync", num_blocks=2)
    assert ESampConfig.from_dict(config.to_dict()) == config


@pytest.mark.parametrize(("scope", "slots"), [("prompt", 5), ("prior", 5), ("shard", 1), ("cluster", 1)])
def test_prompts_that_share_a_distiller_share_its_slot(scope: Scope, slots: int) -> None:
    assert ESampConfig(scope=scope, trainer="actor", max_groups=5).num_slots == slots
