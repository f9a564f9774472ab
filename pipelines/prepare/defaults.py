"""Settings that a run takes where its user gives none: those of the run in its folder, else of its task, its model and this machine.

    what                        a run that goes on      a new run
    temperature, top_p, top_k,  run.json                the model's generation_config.json, else the task, else SamplingConfig
    min_p
    max_tokens                  run.json                the task, which knows how long chat and thinking models answer
    stop                        run.json                the task, where no chat template is applied
    engine.num_cpus             this machine            the cores of this machine over the shards, for shards on CPUs

jobs.rollouts takes the same, but for temperature 1 without filters in a new run.

A command line is parsed twice: first to know the task and the model, then over these values, so that whatever the user gives wins.
"""

import os
from dataclasses import asdict, dataclass, replace
from typing import Any

from transformers import GenerationConfig

from actors.config import SamplingConfig
from pipelines.config.run import RunConfig
from pipelines.prepare.model_files import load_model_config, load_tokenizer
from pipelines.prepare.prompt import has_chat_prompt
from pipelines.runs.folder import RunFolder

MODEL_CARD = "the model's generation_config.json"
FROM_MODEL_CARD = ("temperature", "top_p", "top_k", "min_p")
"""Settings of generation_config.json that a run takes."""
NOT_SUPPORTED = {"repetition_penalty": 1.0, "no_repeat_ngram_size": 0}
"""Settings of generation_config.json that the samplers here do not have, and their values that do nothing."""
THINKING_MARKS = ("<think>", "</think>", "enable_thinking", "reasoning_effort")
"""What chat templates of thinking models name: Qwen3, DeepSeek-R1 and their kin, gpt-oss."""
PIPELINE_CORES = 1
"""Left to the driver, the verifiers and Ray, where there are more than FEW_CORES."""
FEW_CORES = 2


@dataclass(frozen=True, kw_only=True, slots=True)
class RunDefaults:
    """What a run takes unless it is told otherwise."""

    sampling: SamplingConfig
    sources: dict[str, str]
    """Field of `sampling` -> where it is from."""
    left_out: tuple[str, ...] = ()
    """What the model's generation_config.json asks for and no sampler here has."""
    num_cpus: float = 1.0
    """Cores of a CPU shard."""

    def apply(self, config: RunConfig) -> RunConfig:
        """The config with these values in place of the general ones."""
        num_cpus = config.engine.num_cpus if config.engine.num_gpus else self.num_cpus
        return replace(config, sampling=self.sampling, engine=replace(config.engine, num_cpus=num_cpus))

    def line(self, config: RunConfig) -> str:
        """Which sampling the run has, and where each value is from."""
        taken: dict[str, list[str]] = {}
        for name, value in vars_of(config.sampling).items():
            source = self.sources[name] if value == vars_of(self.sampling)[name] else "given"
            if value or name == "temperature":
                shown = f"{value:g}" if isinstance(value, (int, float)) else " ".join(map(repr, value))
                taken.setdefault(source, []).append(f"{name} {shown}")
        said = "; ".join(f"{', '.join(values)} ({source})" for source, values in taken.items())
        left_out = f". Left out, since no sampler here has it: {', '.join(self.left_out)}" if self.left_out else ""
        return f"sampling: {said}{left_out}"


def run_defaults(config: RunConfig) -> RunDefaults:
    """The defaults of a run. `config`: with its task, model and folder; other settings do not matter. Raises InputError if the model cannot
    be loaded."""
    num_cpus = default_num_cpus(config.shards)
    folder = RunFolder(config.run_folder)
    if folder.has_run:
        held = folder.manifest().config.sampling
        return RunDefaults(sampling=held, sources=dict.fromkeys(vars_of(held), "run.json"), num_cpus=num_cpus)
    return replace(model_defaults(config), num_cpus=num_cpus)


def rollout_defaults(config: RunConfig) -> RunDefaults:
    """The defaults of a run that is made for a trainer: as `run_defaults`, but a new run samples at temperature 1 without filters, whatever
    the model card says. Trainers compare with log-probabilities over the whole vocabulary, which filters and most exports exclude."""
    defaults = run_defaults(config)
    if RunFolder(config.run_folder).has_run:
        return defaults
    plain = {name: vars_of(SamplingConfig())[name] for name in FROM_MODEL_CARD}
    return replace(
        defaults,
        sampling=replace(defaults.sampling, **plain),
        sources=defaults.sources
        | dict.fromkeys(plain, "rollouts: trainers' log-probabilities are over the whole vocabulary"),
    )


def model_defaults(config: RunConfig) -> RunDefaults:
    """The sampling that users of the task and the model expect."""
    load_model_config(config)
    task, general = config.chosen_task, SamplingConfig()
    sampling, sources = vars_of(general), dict.fromkeys(vars_of(general), "default")
    for name, value in (("temperature", task.temperature), ("top_p", task.top_p)):
        if value is not None:
            sampling[name], sources[name] = value, f"task {task.name}"
    is_thinking = thinks(config)
    max_tokens = task.thinking_max_tokens if is_thinking else task.max_tokens
    if max_tokens is not None:
        sampling["max_tokens"] = max_tokens
        sources["max_tokens"] = f"task {task.name}, {'thinking' if is_thinking else 'chat or base'} model"
    if task.raw_stop and not has_chat_prompt(config, load_tokenizer(config)):
        sampling["stop"], sources["stop"] = task.raw_stop, f"task {task.name}, no chat template"
    card = generation_config(config)
    for name in FROM_MODEL_CARD:
        # A temperature of 0 stands for greedy decoding, of which all samples would be the same.
        if card.get(name) is not None and (name != "temperature" or card[name] > 0):
            sampling[name], sources[name] = type(sampling[name])(card[name]), MODEL_CARD
    left_out = tuple(
        f"{name} {card[name]:g}" for name, idle in NOT_SUPPORTED.items() if card.get(name) not in (None, idle)
    )
    return RunDefaults(sampling=SamplingConfig(**sampling), sources=sources, left_out=left_out)


def thinks(config: RunConfig) -> bool:
    """True if the model writes down its thoughts before it answers, by its chat template, and the run applies that."""
    if not (config.chat and config.chosen_task.chat):
        return False
    template = load_tokenizer(config).chat_template
    return isinstance(template, str) and any(mark in template for mark in THINKING_MARKS)


def generation_config(config: RunConfig) -> dict[str, Any]:
    """What the model's generation_config.json says; empty if it has none, or says that it decodes greedily."""
    try:
        card = GenerationConfig.from_pretrained(config.model_path).to_diff_dict()
    except (OSError, ValueError):
        return {}  # many models have none
    return {} if card.get("do_sample") is False else card


def default_num_cpus(shards: int) -> float:
    """Cores of one CPU shard: this machine's over its shards, one left to the pipeline where there are more than two.

    On 2 cores both are the shard's: Qwen2.5-Coder-0.5B decoded 16 samples under ESamp at 135 tokens/s with two threads and 105 with one
    (medians of 3 turns, other work beside it), for 8% more processor time a token.

    OMP_NUM_THREADS, by which users limit the threads of a process, wins. On a cluster (RAY_ADDRESS) other machines run the shards: 1.
    """
    if limit := os.environ.get("OMP_NUM_THREADS"):
        return max(1.0, float(limit)) if limit.isdecimal() else 1.0
    if "RAY_ADDRESS" in os.environ:
        return 1.0
    cores = len(os.sched_getaffinity(0))
    return float(max(1, (cores - PIPELINE_CORES * (cores > FEW_CORES)) // shards))


def vars_of(sampling: SamplingConfig) -> dict[str, Any]:
    """Its fields by name."""
    return asdict(sampling)
