"""vLLM's OpenAI server with ESamp, as its users reach it."""

import concurrent.futures
import math
from collections.abc import Iterator
from typing import Any

import httpx
import openai
import pytest

from pipelines.config.run import EMBEDDED_MODEL
from tests.esamp.server.servers import running
from tests.pipelines.rollouts.test_trainers import HERE as ENVIRONMENTS
from tests.pipelines.rollouts.test_trainers import run_in

pytestmark = [pytest.mark.slow, pytest.mark.engine]
PROMPT = "3 7 19 25=84:"
BUSY_S = 120
"""What a request may take on a busy machine."""


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    log = tmp_path_factory.mktemp("server") / "server.log"
    sampler = ("--sampler", "esamp", "--esamp.inner-width", "32", "--esamp.learning-rate", "0.003")
    with running(["-m", "jobs.serve", "--model", str(EMBEDDED_MODEL), *sampler], {}, log) as address:
        yield address


@pytest.fixture(scope="module")
def client(address: str) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{address}/v1", api_key="none", max_retries=0)


def complete(client: openai.OpenAI, extra: dict[str, Any] | None = None, **settings: Any) -> Any:
    defaults = {"model": str(EMBEDDED_MODEL), "prompt": PROMPT, "max_tokens": 12, "temperature": 1.0}
    return client.completions.create(**{**defaults, **settings}, extra_body=extra or {})


def counters(address: str) -> dict[str, int]:
    return httpx.get(f"{address}/esamp/counters", timeout=BUSY_S).raise_for_status().json()


def records(address: str, *names: str) -> dict[str, dict[str, Any]]:
    return httpx.post(f"{address}/esamp/records", json={"names": names}, timeout=BUSY_S).raise_for_status().json()


def test_siblings_of_one_request_explore(client: openai.OpenAI, address: str) -> None:
    before = counters(address)
    choices = complete(client, n=8).choices
    after = counters(address)
    assert [choice.index for choice in choices] == list(range(8)) and len({choice.text for choice in choices}) > 1
    assert after["explored_rows"] > before["explored_rows"] and after["optimiser_steps"] > before["optimiser_steps"]


def test_log_probabilities_are_those_of_what_was_drawn_from(client: openai.OpenAI, address: str) -> None:
    """The record's behaviour log-probabilities, not the plain model's; a filter is on, and the record has what it kept."""
    xargs = {"esamp_record": "one", "esamp_record_rollout": True, "esamp_group": "logprobs"}
    with concurrent.futures.ThreadPoolExecutor() as threads:
        company = threads.submit(complete, client, {"vllm_xargs": {"esamp_group": "logprobs"}}, n=8)
        reply = complete(client, {"vllm_xargs": xargs, "top_p": 0.9}, logprobs=1, temperature=0.8)
        company.result()
    record = records(address, "one")["one"]
    drawn = reply.choices[0].logprobs.token_logprobs
    assert record["behaviour_logprobs"][: len(drawn)] == pytest.approx(drawn, abs=1e-4)
    assert any(record["intervened"]) and record["sampling_logprobs"] != record["behaviour_logprobs"]
    assert len(record["kept_token_offsets"]) == len(record["behaviour_logprobs"]) + 1
    assert record["novelty"][0] is None, "JSON has no NaN"
    assert records(address, "one")["one"]["behaviour_logprobs"] == [], "read once"


def test_a_stream_has_the_tokens_of_the_whole(client: openai.OpenAI) -> None:
    chunks = list(complete(client, seed=4, stream=True, logprobs=1))
    drawn = [logprob for chunk in chunks for logprob in chunk.choices[0].logprobs.token_logprobs]
    whole = complete(client, seed=4, logprobs=1).choices[0]
    assert len(drawn) == len(whole.logprobs.token_logprobs)
    assert math.isclose(drawn[0], whole.logprobs.token_logprobs[0], abs_tol=1e-4)


def test_structured_output_holds_while_distillers_steer(client: openai.OpenAI) -> None:
    reply = complete(client, {"structured_outputs": {"choice": ["3*7=21", "3+7=10"]}}, n=8, max_tokens=16)
    assert {choice.text for choice in reply.choices} <= {"3*7=21", "3+7=10"}


@pytest.mark.parametrize(
    ("xargs", "message"),
    [
        ({"esamp_beta": -3}, "esamp_beta must be a finite number >= 0; got -3"),
        ({"esamp_group_size": 0}, "esamp_group_size must be an int >= 1"),
        ({"esamp_bta": 1}, "unknown esamp_bta; known are esamp_group"),
        ({"esamp_vanilla": "yes"}, "esamp_vanilla must be true or false"),
    ],
)
def test_bad_arguments_are_answered_with_400(client: openai.OpenAI, xargs: dict[str, Any], message: str) -> None:
    with pytest.raises(openai.BadRequestError, match=message):
        complete(client, {"vllm_xargs": xargs})


def test_one_name_for_several_records_is_answered_with_400(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError, match="esamp_record names the record of one sample; got n=2"):
        complete(client, {"vllm_xargs": {"esamp_record": "both"}}, n=2)


def test_a_request_that_asks_for_beta_0_is_left_alone(client: openai.OpenAI, address: str) -> None:
    before = counters(address)["explored_rows"]
    complete(client, {"vllm_xargs": {"esamp_beta": 0, "other": "fine"}}, n=4)
    assert counters(address)["explored_rows"] == before


def test_nothing_is_lost_under_load(client: openai.OpenAI, address: str) -> None:
    """50 requests of several prompts at once, three times what fits into a batch."""

    def one(index: int) -> tuple[int, int]:
        xargs = {"esamp_record": f"load-{index}", "esamp_group": f"g{index % 5}"}
        reply = complete(client, {"vllm_xargs": xargs}, prompt=f"3 7 19 {index}=84:", seed=index, logprobs=0)
        return index, len(reply.choices[0].logprobs.token_logprobs)

    before = counters(address)
    with concurrent.futures.ThreadPoolExecutor(50) as threads:
        lengths = dict(threads.map(one, range(50)))
    found = records(address, *(f"load-{index}" for index in range(50)))
    assert {index: len(found[f"load-{index}"]["behaviour_logprobs"]) for index in range(50)} == lengths
    after = counters(address)
    assert after["decode_rows"] - before["decode_rows"] == sum(lengths.values()) - 50
    assert after["live_groups"] == 0 and after["rejected_requests"] == before["rejected_requests"]


def test_after_a_reset_records_have_the_next_weight_version(client: openai.OpenAI, address: str) -> None:
    reset = httpx.post(f"{address}/esamp/reset", timeout=BUSY_S).raise_for_status().json()
    complete(client, {"vllm_xargs": {"esamp_record": "later"}})
    assert records(address, "later")["later"]["weight_version"] == str(reset["weight_version"]) != "0"


def test_trls_own_client_gets_samples_that_explore(address: str) -> None:
    before = counters(address)["explored_rows"]
    got = run_in("trl", str(ENVIRONMENTS / "trl_client.py"), address, "[5, 6, 7]", "8")
    assert got["prompt_ids"] == [[5, 6, 7]] and len(got["completion_ids"]) == 8
    assert [len(tokens) for tokens in got["completion_ids"]] == [len(logprobs) for logprobs in got["logprobs"]]
    assert counters(address)["explored_rows"] > before
