"""What esamp relies on inside vLLM: every private name, where it lives and what for. Checked when a worker starts.

None of this is a documented interface. A release that moves one of these names is refused by its name at start-up, before the first
token; one that keeps the name and changes its meaning is what tests/esamp/test_engine_*.py are for.
"""

import importlib
import inspect
from dataclasses import dataclass
from operator import attrgetter
from typing import Any


class UnsupportedEngine(RuntimeError):
    """This engine cannot run Exploratory Sampling; the message says why and what would."""


@dataclass(frozen=True, slots=True)
class ReliedFunction:
    """A function or method that is called or overridden."""

    module: str
    name: str
    """Dotted, within the module."""
    parameters: tuple[str, ...]
    """Those that are passed by name or counted on by place."""
    purpose: str


@dataclass(frozen=True, slots=True)
class ReliedFields:
    """A class whose instances are read."""

    module: str
    name: str
    fields: tuple[str, ...]
    purpose: str


FUNCTIONS = (
    ReliedFunction("vllm.v1.worker.gpu_worker", "Worker.load_model", ("load_dummy_weights",), "attach the policy"),
    ReliedFunction("vllm.v1.worker.gpu_worker", "Worker.execute_model", ("scheduler_output",), "follow requests"),
    ReliedFunction("vllm.v1.worker.gpu_worker", "Worker.sample_tokens", ("grammar_output",), "fuse, and learn"),
    ReliedFunction(
        "vllm.v1.sample.sampler", "Sampler.__init__", ("logprobs_mode", "use_fp64_gumbel"), "take over settings"
    ),
    ReliedFunction(
        "vllm.v1.sample.sampler", "Sampler.forward", ("logits", "sampling_metadata"), "record what was drawn"
    ),
    ReliedFunction(
        "vllm.v1.sample.ops.topk_topp_sampler",
        "TopKTopPSampler.__init__",
        ("logprobs_mode", "use_fp64_gumbel"),
        "draw as vLLM does",
    ),
    ReliedFunction(
        "vllm.v1.sample.ops.topk_topp_sampler",
        "TopKTopPSampler.forward_native",
        ("logits", "generators", "k", "p"),
        "draw as vLLM does",
    ),
    ReliedFunction(
        "vllm.v1.sample.ops.topk_topp_sampler",
        "apply_top_k_top_p",
        ("logits", "k", "p"),
        "filter before logits are fused",
    ),
    ReliedFunction(
        "vllm.model_executor.models.interfaces", "supports_eagle3", ("model",), "know who has a shallow state"
    ),
    ReliedFunction(
        "vllm.model_executor.models.interfaces",
        "SupportsEagle3.set_aux_hidden_state_layers",
        ("layers",),
        "have the shallow state returned",
    ),
)
"""Code that esamp calls or overrides."""

FIELDS = (
    ReliedFields(
        "vllm.v1.worker.gpu_model_runner",
        "ExecuteModelState",
        ("logits", "hidden_states", "sample_hidden_states", "aux_hidden_states"),
        "read a step before it is sampled",
    ),
    ReliedFields(
        "vllm.v1.core.sched.output",
        "SchedulerOutput",
        ("finished_req_ids", "scheduled_new_reqs"),
        "follow requests",
    ),
    ReliedFields(
        "vllm.v1.core.sched.output",
        "NewRequestData",
        ("req_id", "prompt_token_ids", "sampling_params"),
        "know what a request asked for",
    ),
    ReliedFields(
        "vllm.v1.sample.metadata",
        "SamplingMetadata",
        (
            "temperature",
            "top_k",
            "top_p",
            "generators",
            "no_penalties",
            "allowed_token_ids_mask",
            "bad_words_token_ids",
            "max_num_logprobs",
            "logprob_token_ids",
            "logitsprocs",
            "thinking_budget_state_holder",
        ),
        "know what stands between the logits and the draw",
    ),
    ReliedFields(
        "vllm.v1.outputs", "SamplerOutput", ("sampled_token_ids", "logprobs_tensors"), "hand over what was drawn"
    ),
    ReliedFields(
        "vllm.sampling_params",
        "SamplingParams",
        (
            "temperature",
            "top_k",
            "top_p",
            "min_p",
            "presence_penalty",
            "frequency_penalty",
            "repetition_penalty",
            "logit_bias",
            "logprobs",
            "logprob_token_ids",
            "extra_args",
        ),
        "know which requests nothing filters",
    ),
    ReliedFields(
        "vllm.sampling_params",
        "SamplingParams",
        ("stop_token_ids", "ignore_eos", "_all_stop_token_ids"),
        "know which tokens end a sample",
    ),
    ReliedFields(
        "vllm.config.scheduler", "SchedulerConfig", ("async_scheduling",), "know whether steps wait for tokens"
    ),
)
"""Messages and settings that esamp reads."""

RUNNER_ATTRIBUTES = {
    "dtype": "round fused hidden states as the model does",
    "get_model": "reach the model",
    "use_aux_hidden_state_outputs": "have the shallow state returned",
    "execute_model_state": "read a step before it is sampled",
    "sampler.topk_topp_sampler": "fuse between filters and draw",
    "sampler.logprobs_mode": "take over settings",
    "sampler.use_fp64_gumbel": "take over settings",
    "input_batch.num_reqs": "know the rows of a step",
    "input_batch.req_ids": "know whose rows they are",
    "input_batch.num_prompt_tokens": "distinguish decode rows from prompts",
    "input_batch.generators": "keep the seeds of prompts that are only partly read",
    "input_batch.logitsprocs.all": "know whether other processors change the logits",
    "discard_request_mask.np": "recognise prompts that are only partly read",
    "optimistic_seq_lens_cpu": "distinguish decode rows from prompts",
    "query_start_loc.gpu": "find each row's shallow state",
    "query_start_loc.np": "find the tokens of each prompt",
}
"""Dotted names on the model runner, and why each is needed."""

PROCESSED_LOGPROBS_MODES = ("processed_logits", "processed_logprobs")
"""Values of logprobs_mode with which vLLM reports what was drawn from. Of its own: vLLM 0.26 has no name for them."""

PROCESSOR_ACTIVITY = {
    "MinTokensLogitsProcessor": "min_toks",
    "LogitBiasLogitsProcessor": "biases",
    "MinPLogitsProcessor": "min_p_count",
}
"""vLLM's own logits processors, by class, and the attribute of each that is empty or 0 while no request of the batch uses it."""


def check_surface(runner: Any) -> None:
    """Raise UnsupportedEngine that names whatever this vLLM does not have. `runner`: its V1 model runner, with the model loaded."""
    missing = [
        *(name for relied in FUNCTIONS for name in missing_of_function(relied)),
        *(name for relied in FIELDS for name in missing_of_fields(relied)),
        *(
            f"{type(runner).__name__}.{path} (to {purpose})"
            for path, purpose in RUNNER_ATTRIBUTES.items()
            if not has_path(runner, path)
        ),
        *missing_of_processors(runner),
    ]
    if missing:
        raise UnsupportedEngine(
            f"this vLLM lacks what esamp relies on inside it: {'; '.join(missing)}. Install vllm==0.32.0, or adapt esamp/engine/adapter.py."
        )


def missing_of_processors(runner: Any) -> list[str]:
    """What is missing of vLLM's own logits processors, in words."""
    path = "input_batch.logitsprocs.all"
    processors = attrgetter(path)(runner) if has_path(runner, path) else ()
    return [
        f"{name}.{PROCESSOR_ACTIVITY[name]} (to know which processors are idle)"
        for processor in processors
        if (name := type(processor).__name__) in PROCESSOR_ACTIVITY
        and not has_path(processor, PROCESSOR_ACTIVITY[name])
    ]


def missing_of_function(relied: ReliedFunction) -> list[str]:
    """What is missing of it, in words."""
    found = find(relied.module, relied.name)
    if found is None:
        return [f"{relied.module}.{relied.name} (to {relied.purpose})"]
    known = inspect.signature(found).parameters
    return [
        f"parameter {name!r} of {relied.module}.{relied.name} (to {relied.purpose})"
        for name in relied.parameters
        if name not in known
    ]


def missing_of_fields(relied: ReliedFields) -> list[str]:
    """What is missing of it, in words."""
    found = find(relied.module, relied.name)
    if found is None:
        return [f"{relied.module}.{relied.name} (to {relied.purpose})"]
    # Named tuples, dataclasses and msgspec structs all annotate their fields.
    known = {name for base in found.__mro__ for name in inspect.get_annotations(base)}
    return [
        f"{relied.module}.{relied.name}.{name} (to {relied.purpose})" for name in relied.fields if name not in known
    ]


def find(module: str, name: str) -> Any:
    """The thing of that dotted name, or None."""
    try:
        return attrgetter(name)(importlib.import_module(module))
    except (ImportError, AttributeError):
        return None


def has_path(thing: Any, path: str) -> bool:
    """True if the dotted `path` leads somewhere from `thing`; where it ends may be None."""
    try:
        attrgetter(path)(thing)
    except AttributeError:
        return False
    return True
