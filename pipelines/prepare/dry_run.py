"""What a run would do, told before any engine starts: its config, its first prompt, and how long it may take."""

from dataclasses import dataclass
from typing import Any

import yaml
from rich.console import Console

from pipelines.config.identity import config_hash
from pipelines.config.run import RunConfig
from pipelines.config.samplers import SAMPLERS
from pipelines.live.progress_line import clock
from pipelines.prepare.model_files import load_model_config, load_tokenizer
from pipelines.prepare.run import PreparedRun, prepare_run

CPU_FLOPS_PER_CORE = 2e10
GPU_FLOPS = 2e14
GPU_BYTES_PER_S = 1.5e12
STEP_OVERHEAD_S = {"cpu": 0.02, "gpu": 0.006}
"""Per decode step: the engine's own work, sampling and the Distiller. These four are orders of magnitude, not measurements of your
machine: the estimate is for telling minutes from days."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Estimate:
    """Upper bounds: every answer as long as it may be."""

    problems: int
    samples: int
    """Of the partition that is generated here."""
    units: int
    """Work units in that partition."""
    prompt_tokens: int
    """Of the first prompt."""
    answer_tokens: int
    """At most, of the whole run."""
    seconds: float
    """At most, once the engines run; an order of magnitude."""


def dry_run(config: RunConfig, console: Console, *, extend: int | None = None) -> None:
    """Print the resolved config, the first prompt and the estimate. Makes the checks a run makes; writes nothing."""
    run = prepare_run(config, extend=extend)
    config = run.config
    estimate = estimate_run(run)
    console.rule("config")
    console.print(yaml.safe_dump(config.to_dict(), sort_keys=False), markup=False, highlight=False, end="")
    console.rule("first prompt")
    console.print(run.plan.first_prompt, markup=False, highlight=False, soft_wrap=True)
    if run.verifier_line:
        console.rule("verifier")
        console.print(run.verifier_line, markup=False, highlight=False, soft_wrap=True)
    sampler = SAMPLERS[config.sampler]
    console.rule("sampler")
    for line in (sampler.about, *sampler.caveats, *filter(None, [run.trainer_line])):
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    console.rule("estimate")
    at_most = "" if config.stopping_rule is None else "at most "
    part = "" if config.partition is None else f", partition {config.partition} by {config.partition_by}"
    console.print(
        f"{estimate.problems} problems x {at_most}{config.samples} samples{part} = {estimate.samples} samples in "
        f"{estimate.units} work units\n"
        f"first prompt {estimate.prompt_tokens} tokens; at most {estimate.answer_tokens:,} answer tokens\n"
        f"at most about {clock(estimate.seconds)} on {config.shards} shard(s), engine start not included (an order of magnitude)\n"
        f"run folder {run.folder.path}, config hash {config_hash(config)}",
        highlight=False,
    )


def estimate_run(run: PreparedRun) -> Estimate:
    """Tokens and time of a run."""
    config = run.config
    model_config = load_model_config(config).get_text_config()
    units = config.run_partition.count(run.manifest.num_problems, len(run.manifest.group_sizes))
    # Units are all of one size, but for the last of a problem.
    samples = run.manifest.num_problems * config.samples * units // run.plan.num_units
    prompt_tokens = len(load_tokenizer(config)(run.plan.first_prompt).input_ids)
    longest = (config.engine.max_model_len or model_config.max_position_embeddings) - prompt_tokens
    answer_tokens = samples * max(1, min(config.sampling.max_tokens, longest))
    return Estimate(
        problems=run.manifest.num_problems,
        samples=samples,
        units=units,
        prompt_tokens=prompt_tokens,
        answer_tokens=answer_tokens,
        seconds=answer_tokens / (config.shards * tokens_per_s(config, num_parameters(model_config))),
    )


def tokens_per_s(config: RunConfig, parameters: float) -> float:
    """Of one shard with a full batch: two floating-point operations per parameter and token, or one pass over the weights per step
    where that takes longer."""
    engine = config.engine
    batch = engine.max_num_seqs
    if engine.num_gpus:
        arithmetic_s = 2 * parameters * batch / GPU_FLOPS
        weights_s = 2 * parameters / GPU_BYTES_PER_S
        return batch / (max(arithmetic_s, weights_s) + STEP_OVERHEAD_S["gpu"])
    return batch / (2 * parameters * batch / (CPU_FLOPS_PER_CORE * engine.num_cpus) + STEP_OVERHEAD_S["cpu"])


def num_parameters(model_config: Any) -> float:
    """Roughly: embeddings, and per layer attention and a gated MLP of the width the config states."""
    hidden, layers = model_config.hidden_size, model_config.num_hidden_layers
    # GPT-2 and its kin do not name the width of their feed-forward layers.
    width = model_config.to_dict().get("intermediate_size") or 4 * hidden
    return model_config.vocab_size * hidden + layers * (4 * hidden**2 + 3 * hidden * width)
