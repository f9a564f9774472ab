"""What makes an engine ours, by command line and by environment variable."""

import os
from typing import Any

import pytest
from vllm.engine.arg_utils import EngineArgs

from esamp.config import ESampConfig
from esamp.joint.config import QuasiConfig
from esamp.server import plugin
from esamp.server.arguments import ask_for_v1_runner, named_policy, our_arguments
from pipelines.config.run import EMBEDDED_MODEL


def test_a_policy_is_named_alone_or_with_its_settings() -> None:
    assert named_policy("quasi") == QuasiConfig()
    assert named_policy("vanilla") == ESampConfig(beta=0.0)
    assert named_policy('{"esamp": {"beta": 0.5}}') == ESampConfig(beta=0.5)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("qasi", "unknown sampler 'qasi'; known are vanilla, esamp"),
        ("{beta: 1}", "is JSON such as"),
        ('{"esamp": {"beta": -1}}', "beta must be"),
        ("contrastive", "amateur"),
    ],
)
def test_what_names_no_policy_is_refused(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        named_policy(text)


def test_the_v1_runner_is_asked_for_unless_the_user_says_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(os.environ, "VLLM_USE_V2_MODEL_RUNNER", "1")
    ask_for_v1_runner()
    assert os.environ["VLLM_USE_V2_MODEL_RUNNER"] == "1", "the engine then says why it cannot be"
    del os.environ["VLLM_USE_V2_MODEL_RUNNER"]
    ask_for_v1_runner()
    assert os.environ["VLLM_USE_V2_MODEL_RUNNER"] == "0"


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[EngineArgs]:
    """Engine arguments that an engine was made of, in place of the engine."""
    made: list[EngineArgs] = []
    monkeypatch.setattr(EngineArgs, "create_engine_config", lambda self, *args, **kwargs: made.append(self))
    monkeypatch.setenv("VLLM_USE_V2_MODEL_RUNNER", "0")
    return made


def make(made: list[EngineArgs], **settings: Any) -> dict[str, Any]:
    """Our arguments among those of an engine that somebody starts."""
    EngineArgs(model=str(EMBEDDED_MODEL), **settings).create_engine_config()
    return {name: getattr(made[-1], name) for name in our_arguments(ESampConfig())}


def test_the_plugin_makes_every_engine_of_the_process_ours(
    made: list[EngineArgs], monkeypatch: pytest.MonkeyPatch
) -> None:
    before = make(made)
    plugin.install()
    assert make(made) == before, "nothing happens without the variable"
    monkeypatch.setenv("ESAMP_SAMPLER", '{"esamp": {"beta": 0.5}}')
    stock = EngineArgs.create_engine_config
    plugin.install()
    plugin.install()
    assert EngineArgs.create_engine_config.__wrapped__ is stock, "vLLM may load its plugins more than once"
    assert make(made) == our_arguments(ESampConfig(beta=0.5)) and len(made) == 3
    assert make(made, logprobs_mode="raw_logits")["logprobs_mode"] == "raw_logits", "what was asked for stays"


def test_the_plugin_refuses_an_engine_with_another_worker(
    made: list[EngineArgs], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ESAMP_SAMPLER", "quasi")
    plugin.install()
    with pytest.raises(ValueError, match=r"given worker_cls='their\.Worker'"):
        make(made, worker_cls="their.Worker")
    assert not made
