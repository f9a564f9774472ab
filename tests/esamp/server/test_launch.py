"""Our server is vLLM's: its app, with routes of ours."""

from types import SimpleNamespace
from typing import Any

import pytest
from fastapi import FastAPI
from vllm.entrypoints.launchers.api_server import entry

from esamp.server import launch
from esamp.server.routes import COUNTERS, ESampRoutes


@pytest.mark.parametrize("is_let_in", [False, True], ids=["alone", "with the plugin let in"])
def test_vllms_own_server_serves_an_app_that_has_our_routes_once(
    is_let_in: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def build_app(args: Any, *more: Any) -> FastAPI:
        app = FastAPI()
        if is_let_in:
            ESampRoutes().attach_router(app)
        return app

    async def run_server(args: Any) -> None:
        args.app = entry.build_app(args, (), None)

    monkeypatch.setattr(entry, "build_app", build_app)
    monkeypatch.setattr(entry, "run_server", run_server)
    args = SimpleNamespace()
    launch.serve(args)
    paths = list(args.app.openapi()["paths"])
    assert paths.count(COUNTERS) == 1 and "/esamp/records" in paths and "/esamp/reset" in paths
    assert sum(getattr(route, "path", None) == COUNTERS for route in args.app.routes) == 1
