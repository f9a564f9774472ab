"""The command line of jobs.serve; the server itself: tests/esamp/server."""

import os

import pytest

from esamp.config import ESampConfig
from esamp.joint.config import QuasiConfig
from esamp.policies import POLICIES
from esamp.server.vllm_options import vllm_arguments
from jobs import serve
from pipelines.config.run import EMBEDDED_MODEL
from pipelines.deploy.serve_config import DEPLOYMENT
from pipelines.errors import InputError


def test_vllms_own_options_go_to_vllm_and_the_policy_is_ours() -> None:
    args = vllm_arguments("m", QuasiConfig(start="first-fork"), ["--port", "8123", "--max-model-len=64"])
    assert (args.model, args.port, args.max_model_len) == ("m", 8123, 64)
    assert args.worker_cls == "esamp.worker.ESampWorker" and args.logprobs_mode == "processed_logprobs"
    assert args.additional_config == {"quasi": QuasiConfig(start="first-fork").to_dict()}
    assert vllm_arguments("m", ESampConfig(), ["--logprobs-mode", "raw_logprobs"]).logprobs_mode == "raw_logprobs"


def test_a_server_listens_on_loopback_unless_it_is_told_where() -> None:
    assert vllm_arguments("m", ESampConfig(), []).host == "127.0.0.1"
    assert vllm_arguments("m", ESampConfig(), ["--host", "0.0.0.0"]).host == "0.0.0.0"


def test_code_of_a_model_repository_runs_only_if_it_is_asked_for() -> None:
    assert not vllm_arguments("m", ESampConfig(), []).trust_remote_code
    assert vllm_arguments("m", ESampConfig(), ["--trust-remote-code"]).trust_remote_code


def test_the_command_is_an_application_of_ray_serve_too() -> None:
    pytest.importorskip("ray.serve", reason="pip install 'ray[serve]'")
    application = serve.app({"flags": "--model embedded --sampler quasi --quasi.seed 4 --max-model-len 64"})
    deployment = application._bound_deployment
    assert deployment.name == DEPLOYMENT and deployment.max_ongoing_requests == serve.MAX_REQUESTS
    assert deployment.init_args == (str(EMBEDDED_MODEL), QuasiConfig(seed=4), ["--max-model-len", "64"])
    with pytest.raises(InputError, match="a server has no trainer actors"):
        serve.app({"flags": "--model embedded --esamp.trainer actor"})


@pytest.mark.parametrize("name", POLICIES)
def test_every_policy_of_the_engine_can_be_served(name: str) -> None:
    assert serve.ServeCommand(model="m", sampler=name).policy.name == name


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--sampler", "top-p"], "sampler must be one of vanilla, esamp"),
        (["--esamp.trainer", "actor"], "a server has no trainer actors"),
        (["--esamp.beta", "-1"], "beta must be finite and >= 0"),
        (["--modle", "x"], "unrecognized arguments: --modle"),
    ],
)
def test_bad_input_ends_with_code_2(
    flags: list[str], message: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(os.environ, "VLLM_USE_V2_MODEL_RUNNER", "0")
    with pytest.raises(SystemExit) as stop:
        serve.main(["--model", "m", *flags])
    assert stop.value.code == 2
    assert message in " ".join(capsys.readouterr().err.split())
