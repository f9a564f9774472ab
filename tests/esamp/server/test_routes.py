"""The routes beside vLLM's own, in front of an engine that is none."""

import asyncio
import json
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from esamp.server.routes import ESampRoutes, records

NAN = float("nan")


class TwoWorkers:
    """What the routes ask vLLM's engine client for: an answer of each worker, of which all but the first have nothing to say."""

    def __init__(self, answers: dict[str, Any]) -> None:
        self.answers = answers
        self.asked: list[tuple[str, tuple[Any, ...]]] = []

    async def collective_rpc(self, method: str, args: tuple[Any, ...] = ()) -> list[Any]:
        self.asked.append((method, args))
        return [self.answers[method], None]


@pytest.fixture
def engine() -> TwoWorkers:
    record = {"novelty": [NAN, 0.5], "intervened": [False, True], "version": "a:1", "kept_token_ids": None}
    answers = {"esamp_counters": {"explored_rows": 3}, "esamp_records": {"one": record}, "esamp_reset": 4}
    return TwoWorkers(answers)


@pytest.fixture
def client(engine: TwoWorkers) -> Iterator[TestClient]:
    app = FastAPI()
    app.state.engine_client = engine
    ESampRoutes().attach_router(app)
    with TestClient(app) as client:
        yield client


def test_counters_are_those_of_the_first_worker(client: TestClient, engine: TwoWorkers) -> None:
    assert client.get("/esamp/counters").json() == {"explored_rows": 3}
    assert engine.asked == [("esamp_counters", ())]


def test_records_are_asked_for_by_name_and_numbers_that_are_not_known_are_null(
    client: TestClient, engine: TwoWorkers
) -> None:
    """JSON has no NaN. Some releases of FastAPI write null for it, and others answer 500, so that the route has none itself."""
    reply = client.post("/esamp/records", json={"names": ["one"]})
    assert "NaN" not in reply.text
    expected = {"novelty": [None, 0.5], "intervened": [False, True], "version": "a:1", "kept_token_ids": None}
    assert reply.json() == {"one": expected}
    assert engine.asked == [("esamp_records", (["one"],))]
    request = SimpleNamespace(app=SimpleNamespace(state=SimpleNamespace(engine_client=engine)))
    json.dumps(asyncio.run(records(request, ["one"])), allow_nan=False)  # type: ignore[arg-type]
    assert client.post("/esamp/records", json=["one"]).status_code == 422


def test_a_reset_answers_the_weight_version(client: TestClient) -> None:
    assert client.post("/esamp/reset").json() == {"weight_version": 4}
    assert client.get("/esamp/reset").status_code == 405, "what changes the engine is no GET"
