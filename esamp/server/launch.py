"""vLLM's OpenAI server with our routes."""

from functools import wraps
from typing import Any

import uvloop
from fastapi import FastAPI
from vllm.entrypoints.launchers.api_server import entry

from esamp.server.routes import COUNTERS, ESampRoutes


def serve(args: Any) -> None:
    """Serve until the process is told to stop. `args`: what vLLM's own server parses, with our_arguments in it.

    vLLM has no place for the routes of others but a plugin that the user must let in by name, so the function that builds its app is
    wrapped. All else is vLLM's own: every option of its command line, and SIGTERM, which ends the engine's processes also while they start.
    """
    entry.build_app = with_routes(entry.build_app)
    uvloop.run(entry.run_server(args))


def with_routes(build_app: Any) -> Any:
    """vLLM's build_app, whose app has our routes as well."""

    @wraps(build_app)
    def build(*args: Any, **kwargs: Any) -> FastAPI:
        app: FastAPI = build_app(*args, **kwargs)
        if not any(
            getattr(route, "path", None) == COUNTERS for route in app.routes
        ):  # else the plugin was let in as well
            ESampRoutes().attach_router(app)
        return app

    return build
