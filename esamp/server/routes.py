"""Routes beside vLLM's own:

    GET  /esamp/counters    what the engine's policy did since it started
    POST /esamp/records     {"names": [...]}: per-token records of requests that had vllm_xargs esamp_record; forgotten once they are read
    POST /esamp/reset       the model's weights were changed behind vLLM's back: Distillers start anew; answers the new weight version

Also an endpoint plugin of vLLM (entry point group vllm.endpoint_plugins), for plain `vllm serve`: VLLM_PLUGINS=esamp lets it in.
"""

import math
from typing import Annotated, Any

from fastapi import Body, FastAPI, Request
from starlette.datastructures import State
from vllm.engine.protocol import EngineClient

COUNTERS = "/esamp/counters"


class ESampRoutes:
    """vLLM's protocol EndpointPlugin."""

    name = "esamp"
    required_tasks = ("generate",)

    def attach_router(self, app: FastAPI) -> None:
        """Register the routes."""
        app.get(COUNTERS)(counters)
        app.post("/esamp/records")(records)
        app.post("/esamp/reset")(reset)

    async def init_state(self, engine_client: EngineClient | None, state: State, args: Any) -> None:
        """Nothing to keep: the routes find vLLM's own engine client."""


async def counters(request: Request) -> dict[str, Any]:
    """Of the first worker: all of them sample the same tokens."""
    return await first_worker(request, "esamp_counters")


async def records(request: Request, names: Annotated[list[str], Body(embed=True)]) -> dict[str, Any]:
    """By name; a name that drew no token has an empty record. Numbers that are not known are null."""
    found = await first_worker(request, "esamp_records", names)
    return {name: {column: without_nan(values) for column, values in record.items()} for name, record in found.items()}


async def reset(request: Request) -> dict[str, int]:
    """See ESampWorker.esamp_reset."""
    return {"weight_version": await first_worker(request, "esamp_reset")}


async def first_worker(request: Request, method: str, *args: Any) -> Any:
    """What a method of the engine's first worker returns."""
    engine: EngineClient = request.app.state.engine_client
    return (await engine.collective_rpc(method, args=args))[0]


def without_nan(values: Any) -> Any:
    """JSON has no NaN."""
    if not isinstance(values, list):
        return values
    return [None if isinstance(value, float) and math.isnan(value) else value for value in values]
