"""vLLM's OpenAI server with a sampling policy, as a replica of a Ray Serve deployment: the routes of jobs.serve behind Serve's proxy.

Siblings explore together where they reach the same engine: the samples of one request (n) do, on any number of replicas. Requests that name
an esamp_group may be sent to different replicas, each with Distillers of its own.
"""

from collections.abc import Sequence
from contextlib import AsyncExitStack
from typing import Any

from esamp.policy_config import PolicyConfig
from esamp.server.arguments import ask_for_v1_runner


class OpenAIServer:
    """Holds one engine, in a process of its own below the replica's."""

    def __init__(self, model: str, policy: PolicyConfig, options: Sequence[str]) -> None:
        """`options`: further words of vLLM's command line."""
        ask_for_v1_runner()  # before vLLM is imported
        # Imported late: the process that builds the application, on the head, needs no vLLM.
        from esamp.server.vllm_options import vllm_arguments

        self._args = vllm_arguments(model, policy, options)
        self._stack = AsyncExitStack()
        self._engine: Any = None

    async def __serve_build_asgi_app__(self) -> Any:
        """Start the engine; what Serve hands requests to. Serve calls it once."""
        from esamp.server.launch import openai_app

        app = await self._stack.enter_async_context(openai_app(self._args))
        self._engine = app.state.engine_client
        return app

    async def check_health(self) -> None:
        """Serve replaces a replica where this raises: an engine that died takes no more requests."""
        if self._engine is not None:
            await self._engine.check_health()

    async def __del__(self) -> None:
        """Serve waits for this when a replica goes."""
        await self._stack.aclose()
