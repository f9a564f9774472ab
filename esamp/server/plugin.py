"""A vLLM plugin (entry point group vllm.general_plugins): engines that others start sample by a policy of ours.

    ESAMP_SAMPLER=quasi vllm serve Qwen/Qwen2.5-7B-Instruct
    ESAMP_SAMPLER='{"esamp": {"beta": 0.25}}' python train.py       a trainer that starts vLLM itself: TRL, verl, OpenRLHF, ...

vLLM calls `install` in each of its processes. Nothing happens without the variable.
"""

import os
from collections.abc import Callable
from functools import wraps
from typing import TYPE_CHECKING, Any

from esamp.server.arguments import ask_for_v1_runner, named_policy, our_arguments

if TYPE_CHECKING:
    from vllm.engine.arg_utils import EngineArgs

SAMPLER_VARIABLE = "ESAMP_SAMPLER"
DEFAULTS: dict[str, Any] = {
    "worker_cls": "auto",
    "additional_config": {},
    "logprobs_mode": "raw_logprobs",
    "logits_processors": None,
}
"""vLLM's own values of what we set: an engine that was given another one keeps it, or is refused."""

INSTALLED: list[Callable[..., Any]] = []
"""What `install` has put in the place of EngineArgs.create_engine_config in this process."""


def install() -> None:
    """Have every EngineArgs of this process make an engine of ours, if the variable is set.

    vLLM has no hook that may change engine arguments, so the method that makes an engine's config of them is wrapped. Raises ValueError at
    a variable that names no policy.
    """
    if SAMPLER_VARIABLE not in os.environ:
        return
    # Imported late: every vLLM process of this installation comes here, and most have no such variable.
    from vllm.engine.arg_utils import EngineArgs

    arguments = our_arguments(named_policy(os.environ[SAMPLER_VARIABLE]))
    ask_for_v1_runner()
    make_config = EngineArgs.create_engine_config
    if make_config in INSTALLED:
        return  # vLLM may load its plugins more than once

    @wraps(make_config)
    def create_engine_config(self: EngineArgs, *args: Any, **kwargs: Any) -> Any:
        set_arguments(self, arguments)
        return make_config(self, *args, **kwargs)

    INSTALLED.append(create_engine_config)
    EngineArgs.create_engine_config = create_engine_config


def set_arguments(engine_args: "EngineArgs", arguments: dict[str, Any]) -> None:
    """Raises ValueError if the engine was given another worker."""
    if engine_args.worker_cls not in (DEFAULTS["worker_cls"], arguments["worker_cls"]):
        raise ValueError(
            f"{SAMPLER_VARIABLE} puts a worker of its own into the engine, which was given worker_cls={engine_args.worker_cls!r}; "
            "unset one of the two."
        )
    for name, value in arguments.items():
        if getattr(engine_args, name) in (DEFAULTS[name], None):
            setattr(engine_args, name, value)
