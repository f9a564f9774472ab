"""A policy is added by its config class and one entry; the command line, the engine and the report read the rest from it."""

import pickle
from dataclasses import dataclass
from importlib import import_module
from typing import Any, ClassVar

import pytest

from esamp.baselines.config import ContrastiveConfig, FireConfig, OverrideConfig
from esamp.config import ESampConfig
from esamp.policies import POLICIES, parse_policy
from esamp.policy import SamplingPolicy, VanillaPolicy, build_policy
from esamp.policy_config import PolicyConfig


@dataclass(frozen=True, kw_only=True, slots=True)
class ToyConfig(PolicyConfig):
    name: ClassVar[str] = "toy"
    policy_factory: ClassVar[str] = f"{__name__}.toy_policy"
    about: ClassVar[str] = "vanilla under another name"
    strength: float = 1.0


def toy_policy(config: ToyConfig, worker: Any) -> SamplingPolicy:
    return VanillaPolicy()


def test_one_entry_adds_a_policy(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(
        ValueError,
        match=r"exactly one policy of esamp, quasi, latent, novelty, trie, fire, override, contrastive; got \['toy'\]",
    ):
        parse_policy({"toy": {"strength": 2.0}})
    monkeypatch.setitem(POLICIES, ToyConfig.name, ToyConfig)
    config = parse_policy({"toy": {"strength": 2.0}})
    assert config == ToyConfig(strength=2.0)
    assert isinstance(build_policy(config, worker=None), SamplingPolicy)
    with pytest.raises(ValueError, match=r"unknown toy settings \['strenth'\]; known are \['strength'\]"):
        parse_policy({"toy": {"strenth": 2.0}})


@pytest.mark.parametrize(
    ("config", "couples"),
    [
        (ESampConfig(), True),
        (ESampConfig(beta=0.0), False),
        (ESampConfig(trainer="none"), False),
        (FireConfig(), False),
        (OverrideConfig(), True),
        (ContrastiveConfig(amateur="a"), False),
    ],
)
def test_a_config_says_whether_samples_depend_on_each_other_and_travels_to_actors(
    config: PolicyConfig, couples: bool
) -> None:
    assert config.couples_samples == couples
    assert pickle.loads(pickle.dumps(config)) == config
    assert config.about and POLICIES[config.name] is type(config)


@pytest.mark.engine  # the factories import vLLM
@pytest.mark.parametrize("config", POLICIES.values(), ids=lambda config: config.name)
def test_every_policy_names_a_factory_that_exists(config: type[PolicyConfig]) -> None:
    module, _, name = config.policy_factory.rpartition(".")
    assert callable(vars(import_module(module))[name])
