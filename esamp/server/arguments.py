"""What makes an engine ours: the values of four of vLLM's engine arguments, and one environment variable. Standard library only."""

import json
import os
from typing import Any

from esamp.policies import POLICIES, parse_policy
from esamp.policy_config import PolicyConfig

RUNNER_VARIABLE = "VLLM_USE_V2_MODEL_RUNNER"
VANILLA = "vanilla"
"""Names vLLM's own sampling, with the same routes and records."""


def our_arguments(policy: PolicyConfig) -> dict[str, Any]:
    """Fields of vLLM's EngineArgs, by name.

    Log-probabilities are those of what was drawn from. vLLM's default are the plain model's: a trainer that corrects for the difference
    between its policy and the sampler's would see none, whatever the policy does.
    """
    return {
        "worker_cls": "esamp.worker.ESampWorker",
        "additional_config": {policy.name: policy.to_dict()},
        "logprobs_mode": "processed_logprobs",
        "logits_processors": ["esamp.engine.request_checks:RequestChecks"],
    }


def ask_for_v1_runner() -> None:
    """Have the engine use vLLM's V1 model runner, which on CUDA is not the default. For this process and those it starts."""
    os.environ.setdefault(RUNNER_VARIABLE, "0")


def named_policy(text: str) -> PolicyConfig:
    """A policy by its name, such as "quasi", or with settings, such as {"esamp": {"beta": 0.5}} (JSON). Raises ValueError."""
    if text == VANILLA:
        return parse_policy({"esamp": {"beta": 0.0}})
    if not text.startswith("{"):
        if text not in POLICIES:
            raise ValueError(f"unknown sampler {text!r}; known are {', '.join([VANILLA, *POLICIES])}.")
        return parse_policy({text: {}})
    try:
        settings = json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(f'a sampler with settings is JSON such as {{"esamp": {{"beta": 0.5}}}}; {error}.') from error
    return parse_policy(settings)
