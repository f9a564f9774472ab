"""What a request may say to a sampling policy: the keys of vLLM's SamplingParams.extra_args (`vllm_xargs` over HTTP)."""

import hashlib

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


def group_of(request: NewRequest) -> str:
    """Name of the request's group; of a request that gave none: the same prompt, the same group."""
    return request.extra_args.get(GROUP_KEY) or group_of_prompt(request.prompt_token_ids)


def group_of_prompt(prompt_token_ids: tuple[int, ...]) -> str:
    """16 hexadecimal digits that depend on the prompt alone."""
    text = ",".join(map(str, prompt_token_ids))
    return hashlib.sha256(text.encode()).hexdigest()[:16]
