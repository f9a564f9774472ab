"""The command line of jobs.serve; the server itself: tests/esamp/server."""

import os

import pytest

from esamp.config import ESampConfig
from esamp.joint.config import QuasiConfig
from esamp.policies import POLICIES
from jobs import serve


def test_vllms_own_options_go_to_vllm_and_the_policy_is_ours() -> None:
    args = serve.vllm_arguments("m", QuasiConfig(start="first-fork"), ["--port", "8123", "--max-model-len=64"])
    assert (args.model, args.port, args.max_model_len) == ("m", 8123, 64)
    assert args.worker_cls == "esamp.worker.ESampWorker" and args.logprobs_mode == "processed_logprobs"
    assert args.additional_config == {"quasi": QuasiConfig(start="first-fork").to_dict()}
    assert serve.vllm_arguments("m", ESampConfig(), ["--logprobs-mode", "raw_logprobs"]).logprobs_mode == "raw_logprobs"


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
