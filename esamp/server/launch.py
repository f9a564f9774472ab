"""vLLM's OpenAI server with our routes."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import uvloop
import vllm.envs as envs
from fastapi import FastAPI
from vllm.entrypoints.launchers.api_server.app_state import init_app_state
from vllm.entrypoints.launchers.api_server.entry import build_async_engine_client
from vllm.entrypoints.launchers.app import build_app
from vllm.entrypoints.launchers.launcher import serve_http, setup_server

from esamp.server.routes import COUNTERS, ESampRoutes


def serve(args: Any) -> None:
    """Serve until the process is told to stop. `args`: what vLLM's own server parses, with our_arguments in it."""
    uvloop.run(run_server(args))


@asynccontextmanager
async def openai_app(args: Any) -> AsyncIterator[FastAPI]:
    """vLLM's routes and ours, with an engine behind them for the `with` block: `app.state.engine_client`."""
    async with build_async_engine_client(args) as engine:
        tasks = await engine.get_supported_tasks()
        app = build_app(args, tasks, engine.model_config)
        if not any(route.path == COUNTERS for route in app.routes):  # else the plugin was let in as well
            ESampRoutes().attach_router(app)
        await init_app_state(engine, app.state, args, tasks)
        yield app


async def run_server(args: Any) -> None:
    """vLLM's own run_server, which has no place for the routes of others but a plugin that the user must let in by name."""
    _, sock = setup_server(args, reuse_port=False)
    try:
        async with openai_app(args) as app:
            stopped = await serve_http(
                app,
                sock=sock,
                enable_ssl_refresh=args.enable_ssl_refresh,
                host=args.host,
                port=args.port,
                log_level=args.uvicorn_log_level,
                access_log=not args.disable_uvicorn_access_log,
                timeout_keep_alive=envs.VLLM_HTTP_TIMEOUT_KEEP_ALIVE,
                ssl_keyfile=args.ssl_keyfile,
                ssl_certfile=args.ssl_certfile,
                ssl_ca_certs=args.ssl_ca_certs,
                ssl_cert_reqs=args.ssl_cert_reqs,
            )
        # Once the engine has ended, as vLLM does it.
        await stopped
    finally:
        sock.close()
