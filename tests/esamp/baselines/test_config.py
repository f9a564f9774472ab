"""Which policy runs, with which settings; anything unclear is refused with thing, rule and value."""

import subprocess
import sys
from pathlib import Path

import pytest

from esamp.baselines.config import ContrastiveConfig, FireConfig, OverrideConfig
from esamp.config import ESampConfig
from esamp.policies import parse_policy
from esamp.policy_config import PolicyConfig


@pytest.mark.parametrize(
    ("additional_config", "message"),
    [
        ({}, "exactly one policy of esamp, quasi, latent, novelty, trie, fire, override, contrastive; got none"),
        (None, "exactly one policy"),
        ({"fires": {}}, r"exactly one policy .* got \['fires'\]"),
        ({"esamp": {}, "fire": {}}, r"exactly one policy .* got \['esamp', 'fire'\]"),
        (
            {"fire": {"temperature": 3}},
            r"unknown fire settings \['temperature'\]; known are \['first_temperature', 'first_top_k'\]",
        ),
        ({"fire": {"first_temperature": 0.0}}, "fire first_temperature must be finite and > 0; got 0.0"),
        ({"fire": {"first_top_k": 0}}, "fire first_top_k must be >= 1; got 0"),
        ({"override": {"rounds": 1}}, "override rounds must be >= 2; got 1"),
        ({"override": {"rank": 0}}, "override rank must be >= 1; got 0"),
        ({"override": {"strength": -1.0}}, "override strength must be finite and >= 0; got -1.0"),
        ({"override": {"learning_rate": float("inf")}}, "override learning_rate must be finite and > 0; got inf"),
        ({"contrastive": {}}, "contrastive settings {}: .*'amateur'"),
        ({"contrastive": {"amateur": ""}}, "contrastive amateur must name a model"),
        ({"contrastive": {"amateur": "a", "alpha": 0.0}}, r"contrastive alpha must be in \(0, 1\]; got 0.0"),
        (
            {"contrastive": {"amateur": "a", "form": "sum"}},
            "contrastive form must be one of difference, reasoning; got 'sum'",
        ),
    ],
)
def test_bad_settings_are_refused(additional_config: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_policy(additional_config)


@pytest.mark.parametrize(
    "config",
    [
        FireConfig(first_temperature=10.0),
        OverrideConfig(strength=0.4),
        ContrastiveConfig(amateur="small", form="reasoning"),
    ],
    ids=lambda config: config.name,
)
def test_settings_survive_a_round_trip(config: PolicyConfig) -> None:
    assert parse_policy({config.name: config.to_dict()}) == config


def test_esamp_is_a_policy_among_others() -> None:
    assert parse_policy({"esamp": {"beta": 0.4}}) == ESampConfig(beta=0.4)


def test_the_config_needs_the_standard_library_only() -> None:
    program = "import sys, esamp.baselines.config; assert not {'torch', 'numpy', 'ray', 'vllm'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", program], check=True, cwd=Path(__file__).resolve().parents[3])
