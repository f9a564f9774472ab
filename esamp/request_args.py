"""What a request may say to a sampling policy: the keys of vLLM's SamplingParams.extra_args (`vllm_xargs` over HTTP)."""

import hashlib
import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from esamp.batch import NewRequest

GROUP_KEY = "esamp_group"
"""Name of the request's prompt group (str). Default: a hash of the prompt's tokens."""
GROUP_SIZE_KEY = "esamp_group_size"
"""Requests of the group that are expected on this engine in all (int >= 1): its Distiller lives until so many have ended. Default: it lives
as long as requests of the group run."""
SAMPLE_KEY = "esamp_sample"
"""Index of the sample in its group (int >= 0)."""
BETA_KEY = "esamp_beta"
"""Exploration strength of this request (float >= 0). Default: the engine's."""
VANILLA_KEY = "esamp_vanilla"
"""True leaves a request to vLLM (bool). Default: False."""
RECORD_KEY = "esamp_record"
"""Name (str) to record this request's tokens under, until they are popped."""
RECORD_ROLLOUT_KEY = "esamp_record_rollout"
"""True records also what a trainer needs (bool): the sampling policy's log-probabilities, and what filters kept. Default: False."""

PREFIX = "esamp_"
"""Of all keys above; others are other people's."""


def check_request_args(extra_args: Mapping[str, Any]) -> None:
    """Raise ValueError, which names the key, the rule and the value, if some key of ours is unknown or has a value that it cannot have.
    A bool may be 0 or 1: HTTP's `vllm_xargs` has none."""
    for key, value in extra_args.items():
        if not key.startswith(PREFIX):
            continue
        if key not in RULES:
            raise ValueError(f"unknown {key}; known are {', '.join(RULES)}.")
        rule, is_good = RULES[key]
        if not is_good(value):
            raise ValueError(f"{key} must be {rule}; got {value!r}.")


def is_name(value: Any) -> bool:
    return isinstance(value, str) and value != ""


def is_whole(value: Any, *, least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def is_strength(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) and value >= 0


def is_truth(value: Any) -> bool:
    return isinstance(value, int | float) and value in (0, 1)


RULES: dict[str, tuple[str, Callable[[Any], bool]]] = {
    GROUP_KEY: ("a name", is_name),
    GROUP_SIZE_KEY: ("an int >= 1", partial(is_whole, least=1)),
    SAMPLE_KEY: ("an int >= 0", partial(is_whole, least=0)),
    BETA_KEY: ("a finite number >= 0", is_strength),
    VANILLA_KEY: ("true or false", is_truth),
    RECORD_KEY: ("a name", is_name),
    RECORD_ROLLOUT_KEY: ("true or false", is_truth),
}
"""What each key may be, in words and as a test."""


def group_of(request: NewRequest) -> str:
    """Name of the request's group; of a request that gave none: the same prompt, the same group."""
    return request.extra_args.get(GROUP_KEY) or group_of_prompt(request.prompt_token_ids)


def group_of_prompt(prompt_token_ids: tuple[int, ...]) -> str:
    """16 hexadecimal digits that depend on the prompt alone."""
    text = ",".join(map(str, prompt_token_ids))
    return hashlib.sha256(text.encode()).hexdigest()[:16]
