"""vLLM's OpenAI server with our routes."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import wraps
from typing import Any

import uvloop
from fastapi import FastAPI
from vllm.entrypoints.launchers.api_server import entry
from vllm.entrypoints.launchers.api_server.app_state import init_app_state

from esamp.server.routes import COUNTERS, ESampRoutes


def serve(args: Any) -> None:
    """Serve until the process is told to stop. `args`: what vLLM's own server parses, with our_arguments in it.

    vLLM has no place for the routes of others but a plugin that the user must let in by name, so the function that builds its app is
    wrapped. All else is vLLM's own: every option of its command line, and SIGTERM, which ends the engine's processes also while they start.
    """
    entry.build_app = with_routes(entry.build_app)
    uvloop.run(entry.run_server(args))


@asynccontextmanager
async def openai_app(args: Any) -> AsyncIterator[FastAPI]:
    """vLLM's routes and ours, for a server that is not vLLM's; for the `with` block an engine is behind them, `app.state.engine_client`."""
    async with entry.build_async_engine_client(args) as engine:
        tasks = await engine.get_supported_tasks()
        app: FastAPI = with_routes(entry.build_app)(args, tasks, engine.model_config)
        await init_app_state(engine, app.state, args, tasks)
        yield app


def with_routes(build_app: Any) -> Any:
    """vLLM's build_app, whose app has our routes as well."""

    @wraps(build_app)
    def build(*args: Any, **kwargs: Any) -> FastAPI:
        app: FastAPI = build_app(*args, **kwargs)
        # With the plugin let in it has them already.
        if not any(getattr(route, "path", None) == COUNTERS for route in app.routes):
            ESampRoutes().attach_router(app)
        return app

    return build
