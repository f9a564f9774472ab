"""The judge over real HTTP: a small server that answers as its reply says, or is late, or fails."""

import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from pipelines.config.run import RunConfig
from pipelines.errors import InputError
from pipelines.problems.problem import Problem
from pipelines.verifiers.judge import JudgeScorer, judge_prompt
from pipelines.verifiers.scorer import check_verifier, start_scorer
from pipelines.verifiers.settings import JudgeSettings, verifier_settings

PROBLEM = Problem("p", "What is {1}+1?", "2")


class JudgeServer(ThreadingHTTPServer):
    """Replies to chat completions with `reply`; an empty one comes late, a number is an HTTP status."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), JudgeHandler)
        self.reply: str | int = "Score: 1"
        self.requests: list[dict[str, Any]] = []
        self.keys: list[str | None] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/v1"


class JudgeHandler(BaseHTTPRequestHandler):
    server: JudgeServer

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.requests.append(body)
        self.server.keys.append(self.headers["Authorization"])
        reply = self.server.reply
        if reply == "":
            time.sleep(1)
        message = {"role": "assistant", "content": str(reply)}
        completion = {
            "id": "1",
            "object": "chat.completion",
            "created": 0,
            "model": body["model"],
            "choices": [{"index": 0, "finish_reason": "stop", "message": message}],
        }
        answer = json.dumps(completion).encode()
        self.send_response(reply if isinstance(reply, int) else 200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, format: str, *args: Any) -> None:
        """Quiet."""


@pytest.fixture
def judge() -> Iterator[JudgeServer]:
    server = JudgeServer()
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize(
    ("reply", "status", "score"),
    [
        ("It is 2, as it should be.\nScore: 1", "correct", 1.0),
        ("Score: 1.0", "correct", 1.0),
        ("No.\n**Score: 0**", "wrong", 0.0),
        ("Half of it. Score: 0.5", "wrong", 0.5),
        ("Score: 0? No.\nScore: 1", "correct", 1.0),
        (" 0.75\n", "wrong", 0.75),
        ("Score: 7", "error", 0.0),
        ("Score: 1.5", "error", 0.0),
        ("I cannot say.", "error", 0.0),
        (400, "error", 0.0),
    ],
)
def test_the_last_score_of_the_reply_is_the_verdict(
    judge: JudgeServer, reply: str | int, status: str, score: float
) -> None:
    judge.reply = reply
    scorer = JudgeScorer(JudgeSettings(url=judge.url, model="judge-7b"), timeout_s=10)
    verdict = scorer.score(PROBLEM, "It is {2}.")
    scorer.close()
    assert (verdict.status, verdict.score) == (status, score)
    [request] = judge.requests
    assert request["model"] == "judge-7b"
    assert request["messages"][0]["content"] == judge_prompt(PROBLEM, "It is {2}.")


def test_the_judge_sees_problem_reference_and_response_as_they_are() -> None:
    prompt = judge_prompt(PROBLEM, "say {reference}")
    assert "What is {1}+1?" in prompt
    assert "Reference answer:\n2\n" in prompt
    assert "say {reference}" in prompt
    assert "(none is known)" in judge_prompt(Problem("p", "?", ""), "")


def test_a_judge_that_is_late_gives_a_timeout_after_its_retries(judge: JudgeServer) -> None:
    judge.reply = ""
    scorer = JudgeScorer(JudgeSettings(url=judge.url, model="m"), timeout_s=0.2)
    verdict = scorer.score(PROBLEM, "2")
    assert verdict.status == "timeout"
    assert verdict.detail == "the judge did not reply to 3 requests of 0.2 s"
    assert len(judge.requests) == 3


def test_a_judge_that_is_not_there_gives_an_error() -> None:
    scorer = JudgeScorer(JudgeSettings(url="http://127.0.0.1:9/v1", model="m"), timeout_s=5)
    verdict = scorer.score(PROBLEM, "2")
    assert verdict.status == "error"
    assert "the judge failed: APIConnectionError" in verdict.detail


def test_the_key_comes_from_the_environment(judge: JudgeServer, monkeypatch: pytest.MonkeyPatch) -> None:
    config = RunConfig(
        sampler="esamp", verifier="judge", judge_url=judge.url, judge_model="m", judge_key_variable="JUDGE_KEY"
    )
    monkeypatch.delenv("JUDGE_KEY", raising=False)
    with pytest.raises(InputError, match="environment variable JUDGE_KEY, which is not set"):
        check_verifier(verifier_settings(config))
    monkeypatch.setenv("JUDGE_KEY", "secret")
    check_verifier(verifier_settings(config))
    scorer = start_scorer(verifier_settings(config))
    assert scorer.score(PROBLEM, "2").status == "correct"
    assert judge.keys == ["Bearer secret"]
    assert "secret" not in json.dumps(config.to_dict())
