"""What a run would do, told before any engine starts: its config, its first prompt, and how long it may take."""

from dataclasses import dataclass

import yaml
from rich.console import Console

from pipelines.capacity.model_speed import num_parameters, tokens_per_s
from pipelines.config.identity import config_hash
from pipelines.config.run import RunConfig
from pipelines.config.samplers import SAMPLERS
from pipelines.live.progress_line import clock
from pipelines.prepare.model_files import load_model_config, load_tokenizer
from pipelines.prepare.run import PreparedRun, prepare_run


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
