"""Whether a run's trainer keeps up, by the capacity model, before anything starts; and who trains where the run leaves that open.

capacity = assess_exchange(config)      # RunConfig
capacity.keeps_up                       # False: rows would be dropped, or beta lowered because weights are old
capacity.estimate.trainer_bytes         # memory of one trainer; shard_bytes, object_store_bytes
capacity.advice                         # one sentence, with a suggestion where the trainer does not keep up
"""

from dataclasses import dataclass, replace

from actors.capacity.inputs import CapacityInputs
from actors.capacity.model import Capacity, estimate_capacity
from actors.capacity.trainer_costs import ASSUMED_GPU, MEASURED_CPU, TrainerCosts
from actors.config import learns_elsewhere
from esamp.config import ESampConfig, TrainerPlacement
from pipelines.capacity.model_speed import num_parameters, tokens_per_s
from pipelines.config.run import RunConfig
from pipelines.errors import InputError
from pipelines.prepare.model_files import load_model_config

COMFORTABLE_LOAD = 0.8
"""Load up to which messages hardly wait for each other."""
MOST_TRAINERS = 2
"""Per shard: more trainers than these would cost more than they are worth."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ExchangeCapacity:
    """An exchange, and what the capacity model says of it."""

    inputs: CapacityInputs
    costs: TrainerCosts
    estimate: Capacity

    @classmethod
    def of(cls, inputs: CapacityInputs, costs: TrainerCosts) -> "ExchangeCapacity":
        """`costs`: of the device that Distillers learn on."""
        return cls(inputs=inputs, costs=costs, estimate=estimate_capacity(inputs, costs))

    @property
    def keeps_up(self) -> bool:
        """No row is dropped, and beta is not lowered because weights are old. Always true with trainer="local"."""
        return self.estimate.keeps_up

    @property
    def advice(self) -> str:
        """One sentence, with a suggestion where the trainer does not keep up."""
        estimate = self.estimate
        if self.inputs.trainer == "local":
            return f"keeps up; a decode step takes at most {estimate.slowdown - 1:.0%} longer"
        if estimate.keeps_up:
            return f"keeps up; the {estimate.bottleneck} is {estimate.load:.0%} busy"
        return f"{self.problems}: {self.suggestion}"

    @property
    def problems(self) -> str:
        """Why learning does not keep up."""
        estimate, problems = self.estimate, []
        if estimate.dropped_share > 0:
            problems.append(
                f"the {estimate.bottleneck} is {factor(estimate.load)} too slow, {estimate.dropped_share:.0%} of rows are dropped"
            )
        if estimate.lag > self.inputs.max_staleness / 2:
            problems.append(
                f"beta is lowered: weights lag {estimate.lag:,.0f} decode steps, over half of max_staleness {self.inputs.max_staleness}"
            )
        return "; ".join(problems)

    @property
    def suggestion(self) -> str:
        """What to change so that learning keeps up."""
        trainers = trainers_needed(self.inputs, self.costs)
        if trainers is not None:
            return f"use --trainers {trainers}, or trainer local"
        if self.inputs.scope == "cluster":
            return "use scope shard with trainer local"
        return "more trainers do not help, use trainer local"


def exchange_warning(config: RunConfig) -> str | None:
    """One line if the run has trainer actors that may not keep up; None otherwise."""
    if not learns_elsewhere(config.policy):
        return None
    capacity = assess_exchange(config)
    if capacity.keeps_up:
        return None
    return f"the trainer may not keep up. By the capacity model (python -m jobs.capacity) {capacity.advice}."


def assess_exchange(config: RunConfig) -> ExchangeCapacity:
    """Of a run, with the constants of the devices that it asks for. Raises InputError if it trains no Distiller, or its model cannot be
    loaded."""
    inputs = run_inputs(config)
    num_gpus = config.engine.num_gpus if inputs.trainer == "local" else config.exchange.trainer_gpus
    return ExchangeCapacity.of(inputs, ASSUMED_GPU if num_gpus else MEASURED_CPU)


def choose_trainer(config: RunConfig, held: RunConfig | None) -> tuple[RunConfig, str]:
    """The config with esamp.trainer "auto" resolved, and a line that says to what and why; "" where there was nothing to choose.

    `held`: the run that is in the folder, which goes on with its own trainer. Raises InputError if the model cannot be loaded.
    """
    if config.esamp.trainer != "auto":
        return config, ""
    if held is not None:
        return with_trainer(config, held.esamp.trainer), ""
    policy = config.policy
    if not (isinstance(policy, ESampConfig) and policy.beta > 0 and policy.trainer == "auto"):
        return with_trainer(config, "local"), ""
    if config.engine.tensor_parallel_size > 1:
        return with_trainer(
            config, "local"
        ), "esamp.trainer: local, since a trainer actor cannot reach a tensor-parallel engine"
    for setting, is_set in {
        f"esamp.lag {policy.lag}": policy.lag > 1,
        "esamp.distiller rls": policy.distiller == "rls",
        "esamp.learns_prompt": policy.learns_prompt,
    }.items():
        if is_set:
            return with_trainer(config, "local"), f"esamp.trainer: local, since {setting} is the engine's own"
    actor = with_trainer(config, "actor")
    asked_for = {
        f"esamp.scope {policy.scope}": policy.distiller_scope.spans_engines,
        f"trainers {config.trainers}": config.trainers > 1,
        f"exchange.trainer_gpus {config.exchange.trainer_gpus:g}": config.exchange.trainer_gpus > 0,
        "spread": config.spread is True,
    }
    for setting, is_set in asked_for.items():
        if is_set:
            return actor, f"esamp.trainer: actor, since {setting} asks for it"
    capacity = assess_exchange(actor)
    if capacity.keeps_up:
        return actor, f"esamp.trainer: actor, since by the capacity model it {capacity.advice}"
    return with_trainer(config, "local"), (
        "esamp.trainer: local, each engine trains its own Distillers, since by the capacity model an actor would not keep up: "
        f"{capacity.problems}"
    )


def with_trainer(config: RunConfig, trainer: TrainerPlacement) -> RunConfig:
    """The config with another esamp.trainer."""
    return replace(config, esamp=replace(config.esamp, trainer=trainer))


def run_inputs(config: RunConfig) -> CapacityInputs:
    """The exchange of a run. Raises InputError if it trains no Distiller, or its model cannot be loaded."""
    policy = config.policy
    if not isinstance(policy, ESampConfig) or policy.beta == 0:
        raise InputError(
            f"a run with sampler {config.sampler} and beta {config.beta:g} trains no Distiller: its exchange has no capacity to estimate."
        )
    model_config = load_model_config(config).get_text_config()
    batch = config.engine.max_num_seqs
    samples = min(config.samples_per_work_unit or config.samples, config.samples, batch)
    return CapacityInputs(
        hidden_size=model_config.hidden_size,
        steps_per_s=tokens_per_s(config, num_parameters(model_config)) / batch,
        shards=config.shards,
        prompts=max(1, min(batch // samples, policy.max_groups)),
        samples=samples,
        answer_tokens=config.sampling.max_tokens,
        scope=policy.scope,
        trainer="actor" if policy.trainer in ("auto", "actor") else "local",
        trainers=config.trainers,
        exchange_share=config.exchange.share,
        max_groups=policy.max_groups,
        max_staleness=policy.max_staleness,
        inner_width=policy.inner_width,
        num_blocks=policy.num_blocks,
    )


def trainers_needed(inputs: CapacityInputs, costs: TrainerCosts) -> int | None:
    """A number of trainers with which the load is comfortable and learning keeps up; None if no number will do."""
    trainers = inputs.trainers
    while trainers <= MOST_TRAINERS * inputs.shards:
        estimate = estimate_capacity(replace(inputs, trainers=trainers), costs)
        if estimate.keeps_up and estimate.load <= COMFORTABLE_LOAD:
            return trainers
        trainers = max(trainers + 1, trainers * 9 // 8)
    return None


def factor(value: float) -> str:
    """3.21 as 3.2x, 321 as 321x."""
    return f"{value:.1f}x" if value < 10 else f"{value:,.0f}x"
