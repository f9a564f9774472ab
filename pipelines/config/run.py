"""One Pass@k run. The command line is generated from these fields, and the strings under them are its help."""

import json
import re
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any

from typing_extensions import Doc

from actors.config import EngineConfig, ExchangeConfig, SamplingConfig, ShardConfig
from esamp.baselines.config import ContrastiveConfig
from esamp.config import ESampConfig
from esamp.policy_config import PolicyConfig
from pipelines.config.early_stopping import WORK_UNITS_PER_PROBLEM, StoppingConfig
from pipelines.config.partition import Partition, PartitionBy, parse_partition
from pipelines.config.policy_sections import PolicySections
from pipelines.config.problem_settings import ProblemSettings
from pipelines.config.samplers import SAMPLER_HELP, SAMPLERS
from pipelines.config.yaml_flags import config_from_dict
from pipelines.errors import InputError
from pipelines.statistics.stopping_rule import StoppingRule

EMBEDDED_MODEL = Path(__file__).parents[1] / "countdown_model"
"""The model that `--model embedded` names."""


SECONDS = {"s": 1.0, "m": 60.0, "h": 3600.0}
"""Of a unit of time."""


@dataclass(frozen=True, kw_only=True)
class RunConfig(PolicySections, ProblemSettings):
    """Generate samples of every problem of a dataset, score them, estimate pass@k."""

    model: str = "embedded"
    """Hugging Face model id or local folder; "embedded" is the small Countdown model that ships with the project."""
    samples: int = 16
    """Samples per problem (n)."""
    pass_at: tuple[int, ...] = ()
    """Report pass@k for these k; by default 1, 2, 4, ... n."""
    sampler: Annotated[str, Doc(SAMPLER_HELP)] = "quasi"
    partition: str | None = None
    """Generate only this partition of the run, such as 2/4, the second of four; other places generate the others, and
    jobs.merge joins them."""
    partition_by: PartitionBy = "problems"
    """What partitions differ in: problems, or samples (work units) of the same problems."""
    output: str | Path | None = None
    """Run folder: a path, or a URL such as s3://bucket/runs/x (fsspec says which package it needs); by default
    runs/<dataset>-<sampler>-<seed>. The same command goes on with a run that was stopped."""
    shards: int = 1
    """LLM shards (vLLM engines)."""
    trainers: int = 1
    """DistillerTrainer actors, each with its part of the problems; used with esamp.trainer actor."""
    min_shards: int | None = None
    """Shards that must be ready before the first sample is generated; the others join as the cluster grows. By default all."""
    wait_for_resources: str = "0s"
    """How long to wait for a cluster that grows to hold the first shards and the trainers: 90s, 30m or 2h. What is wanted is told to the
    autoscaler first. By default a cluster that is too small is refused at once."""
    work_unit_attempts: int = 3
    """Engines that may end while they generate a work unit, before it is given up and its rows say why."""
    samples_per_work_unit: int | None = None
    """Samples of one problem that are generated, and saved, as one work unit; by default all of them, so that they share a Distiller, an
    eighth of them where problems may --stop early, and no more than a shard's batch where they spread."""
    spread: bool | None = None
    """Generate a problem's samples on several shards at a time; a trainer actor lets them share the problem's Distiller. By default only
    where they are more than a shard's batch (engine.max_num_seqs) and the sampler allows it."""
    work_units_per_file: int | None = None
    """Work units per output file. By default 4, and more in runs of thousands. A kill loses no more by it: see save_every."""
    verifiers: int = 1
    """Processes that score samples."""
    save_every: float = 10.0
    """Seconds, > 0: a finished sample is on disk so long after its last token, and its verdict so long after it was given, whatever the
    other samples of its work unit do."""
    grace: float = 20.0
    """Seconds, >= 0, that samples under way get after SIGTERM or Ctrl-C, before the session ends. Samples that are finished are saved at
    once; a second signal ends the session at once. Keep it below what the cluster waits before it kills (Kubernetes: 30)."""
    stall_after: float = 10.0
    """Minutes without a token, with samples running, after which a shard is killed and started again, and what it had not finished is
    generated again; 0 for never."""
    seed: int = 0
    """Seed of the run; every sample's seed follows from it, the problem's id and the sample's index."""
    record_rollouts: bool = False
    """Store of each token also what trainers need: its log-probability under the plain model at the run's temperature and on the tokens
    that filters kept, and these tokens. jobs.rollouts turns it on in the runs it makes."""
    stop: StoppingConfig = field(default_factory=StoppingConfig)
    """Early stopping: stop a problem when it is solved so often, or given up after too many wrong samples."""
    engine: EngineConfig = field(default_factory=EngineConfig)
    """One shard's engine."""
    sampling: SamplingConfig = field(default_factory=SamplingConfig)
    """How a sample is drawn."""
    esamp: ESampConfig = field(default_factory=lambda: ESampConfig(trainer="auto"))
    """Exploratory Sampling; used with --sampler esamp, its ablations and controls."""
    exchange: ExchangeConfig = field(default_factory=ExchangeConfig)
    """How shards and trainers exchange rows and weights; used with esamp.trainer actor."""

    def __post_init__(self) -> None:
        self.check_problems()
        if self.sampler not in SAMPLERS:
            raise InputError(f"sampler must be one of {', '.join(SAMPLERS)}; got {self.sampler!r}.")
        for name in ("samples", "shards", "trainers", "work_unit_attempts", "work_units_per_file", "verifiers"):
            value = asdict(self)[name]
            if value is not None and value < 1:
                raise InputError(f"{name} must be >= 1; got {value}.")
        if not self.save_every > 0:
            raise InputError(f"save_every must be > 0 seconds; got {self.save_every}.")
        if not (self.grace >= 0 and self.stall_after >= 0):
            raise InputError(f"grace and stall_after must be >= 0; got {self.grace} s and {self.stall_after} minutes.")
        if isinstance(self.output, str) and "://" not in self.output:
            object.__setattr__(self, "output", Path(self.output))
        parse_partition(self.partition, self.partition_by)
        if self.min_shards is not None and not 1 <= self.min_shards <= self.shards:
            raise InputError(f"min_shards must be in 1..shards; got {self.min_shards} with shards={self.shards}.")
        if self.samples_per_work_unit is not None and self.samples_per_work_unit < 1:
            raise InputError(
                f"samples_per_work_unit must be >= 1; got {self.samples_per_work_unit}. Leave it out to draw all at once."
            )
        _ = self.wait_for_resources_s
        self._check_ks()
        self._check_trainers()
        if self.spread and not self._may_spread:
            raise InputError(
                f"spread generates a problem's samples on several shards, but what they share with sampler {self.sampler} "
                f"{self._what_stays}. Leave spread out."
            )
        if self.spread and self.work_unit_size >= self.samples:
            raise InputError(
                f"spread puts a problem's work units on several shards, but all its {self.samples} samples are one work unit; give a "
                f"--samples-per-work-unit below {self.samples}."
            )
        try:
            _ = self.shard
        except ValueError as error:
            raise InputError(str(error)) from error

    def _check_ks(self) -> None:
        rule = self.stopping_rule
        if rule is not None and self.verifier_name == "none":
            raise InputError(
                "stop.successes needs a verifier that says what is correct; leave it out, or give --verifier."
            )
        if rule is not None and self.siblings_form_sequence:
            raise InputError(
                f"stop.successes needs exchangeable samples, which those of sampler {self.sampler} are not; leave --stop out, or use "
                "another --sampler."
            )
        if rule is not None and self.partition is not None and self.partition_by == "samples":
            raise InputError(
                "a problem that may stop early must be generated in one place; use --partition-by problems, or leave --stop out."
            )
        impossible = [k for k in self.pass_at if not 1 <= k <= self.largest_k]
        if impossible and impossible[0] <= self.samples:
            raise InputError(
                f"problems are given up after {self.largest_k} samples, so pass@k is not defined at k={impossible[0]}. "
                "Raise --stop.give-up-after or ask for a smaller --pass-at."
            )
        if impossible:
            raise InputError(
                f"pass@k needs 1 <= k <= samples; got k={impossible[0]} with samples={self.samples}. "
                "Draw more --samples or ask for a smaller --pass-at."
            )

    def _check_trainers(self) -> None:
        if self.trainers == 1 or not isinstance(self.policy, ESampConfig):
            return
        if self.policy.trainer not in ("auto", "actor"):
            raise InputError(
                f"trainers={self.trainers} needs esamp.trainer actor; got {self.policy.trainer!r}. Use --trainers 1."
            )
        if self.policy.distiller_scope.takes_one_trainer:
            raise InputError(
                f"esamp.scope {self.policy.scope!r} has one Distiller that all groups share, so it takes one trainer; got "
                f"trainers={self.trainers}. Use --trainers 1, or --esamp.scope prompt."
            )

    @property
    def wait_for_resources_s(self) -> float:
        """`wait_for_resources` in seconds. Raises InputError if it is no duration."""
        match = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)([smh])", self.wait_for_resources)
        if match is None:
            raise InputError(f"wait_for_resources must be such as 90s, 30m or 2h; got {self.wait_for_resources!r}.")
        return float(match[1]) * SECONDS[match[2]]

    @property
    def stopping_rule(self) -> StoppingRule | None:
        """When a problem stops; None if all its samples are generated."""
        return self.stop.rule(self.samples)

    @property
    def largest_k(self) -> int:
        """The largest k at which pass@k is defined."""
        rule = self.stopping_rule
        return self.samples if rule is None else rule.give_up_after

    @property
    def work_unit_size(self) -> int:
        """Samples in one work unit, but for the last of a problem."""
        usual = self.samples if self.stopping_rule is None else max(1, self.samples // WORK_UNITS_PER_PROBLEM)
        if self.spreads:
            usual = min(usual, self.engine.max_num_seqs)
        return min(self.samples_per_work_unit or usual, self.samples)

    @property
    def run_partition(self) -> Partition:
        """What is drawn here."""
        return parse_partition(self.partition, self.partition_by)

    @property
    def run_folder(self) -> str | Path:
        """Where the run is kept: a path or a URL."""
        return self.output or Path("runs") / f"{self.dataset_name}-{self.sampler}-{self.seed}"

    @property
    def _may_spread(self) -> bool:
        """False where what the samples of a problem share is kept in one engine."""
        policy = self.policy
        # Siblings of one sequence share nothing but their indices.
        if policy is None or not policy.couples_samples or policy.siblings_form_sequence:
            return True
        return isinstance(policy, ESampConfig) and policy.trainer in ("auto", "actor")

    @property
    def _what_stays(self) -> str:
        if isinstance(self.policy, ESampConfig):
            return f"is trained inside one engine by esamp.trainer {self.policy.trainer}; give --esamp.trainer actor"
        return "stays in one engine"

    @property
    def spreads(self) -> bool:
        """True if a problem's samples may be drawn on several shards at a time."""
        wanted = self.samples > self.engine.max_num_seqs if self.spread is None else self.spread
        return wanted and self._may_spread

    @property
    def beta(self) -> float:
        """Strength of exploration; 0 where no Distiller, nor what stands for one, takes part."""
        policy = self.policy
        return policy.beta if isinstance(policy, ESampConfig) else 0.0

    @property
    def policy(self) -> PolicyConfig | None:
        """What stands between the model's logits and the draw; None for vLLM's own draw."""
        return SAMPLERS[self.sampler].policy(self._sampler_config, self.seed)

    @property
    def siblings_form_sequence(self) -> bool:
        """As PolicyConfig has it: pass@k is then estimated over windows of neighbours."""
        return self.policy is not None and self.policy.siblings_form_sequence

    @property
    def effective_sampling(self) -> SamplingConfig:
        """The sampling parameters that the sampler makes of the run's."""
        return SAMPLERS[self.sampler].sampling(self.sampling, self._sampler_config)

    def check_sampler_settings(self) -> None:
        """Raise InputError if another sampler's settings were given: they would do nothing."""
        usual = vars(RunConfig())
        for section, value in vars(self).items():
            if isinstance(value, PolicyConfig) and section != self.sampler_section and value != usual[section]:
                changed = [
                    f"{section}.{name}"
                    for name, given in asdict(value).items()
                    if given != asdict(usual[section])[name]
                ]
                users = [name for name, sampler in SAMPLERS.items() if sampler.config is type(value)]
                raise InputError(
                    f"{', '.join(changed)}: not a setting of sampler {self.sampler}; leave it out, or choose --sampler "
                    f"{' or '.join(users)}."
                )

    @property
    def sampler_section(self) -> str | None:
        """The field with the sampler's own settings; None for a sampler without any."""
        config = SAMPLERS[self.sampler].config
        return next((name for name, value in vars(self).items() if config is not None and type(value) is config), None)

    @property
    def _sampler_config(self) -> PolicyConfig | None:
        if self.sampler_section is None:
            return None
        config: PolicyConfig = vars(self)[self.sampler_section]
        return replace(config, amateur=model_path(config.amateur)) if isinstance(config, ContrastiveConfig) else config

    @property
    def model_path(self) -> str:
        """What vLLM and transformers load."""
        return model_path(self.model)

    @property
    def shard(self) -> ShardConfig:
        """What one LLMShard needs."""
        return ShardConfig(
            model=self.model_path,
            engine=self.engine,
            sampling=self.effective_sampling,
            policy=self.policy,
            exchange=self.exchange,
            spread=self.spreads,
            record_rollouts=self.record_rollouts,
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as in a YAML file."""
        plain: dict[str, Any] = json.loads(json.dumps(asdict(self), default=str))
        return plain

    @classmethod
    def from_dict(cls, settings: dict[str, Any]) -> "RunConfig":
        """The config that `to_dict` gave. Raises InputError on a name that does not exist."""
        config: RunConfig = config_from_dict(cls, settings)
        return config


def model_path(model: str) -> str:
    """What vLLM and transformers load: a hub id, or a folder; "embedded" is the model that ships with the project."""
    return str(EMBEDDED_MODEL) if model == "embedded" else model
