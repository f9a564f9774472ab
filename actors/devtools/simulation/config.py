"""What is simulated, and what a simulated shard must know. Standard library and esamp.config only, so that `--help` is instant."""

from dataclasses import asdict, dataclass

from actors.capacity.inputs import CapacityInputs
from actors.config import EngineConfig, ExchangeConfig, SamplingConfig, ShardConfig
from esamp.config import ESampConfig, Scope

CPUS_PER_SHARD = 0.01
"""What Ray reserves for a shard that sleeps most of the time."""
QUEUED_BATCHES = 2
"""Units that a shard is given, by the prompts of its batch: as pipelines.runs.plan.units_in_flight."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SimulationConfig:
    """Shards with simulated engines, and a real exchange. Raises ValueError on a value outside its range."""

    shards: int = 64
    """Simulated shards, each a process."""
    steps_per_s: float = 1.0
    """Decode steps of one shard a second."""
    hidden_size: int = 64
    """H."""
    prompts: int = 4
    """Units in a shard's batch at a time."""
    samples: int = 4
    """Rows of each."""
    answer_tokens: int = 30
    """Decode steps of a unit."""
    scope: Scope = "prompt"
    """Who shares a Distiller."""
    trainers: int = 1
    """DistillerTrainer actors."""
    inner_width: int = 32
    """Distiller width."""
    exchange_share: float = 0.02
    """As ExchangeConfig.share."""
    warmup_s: float = 40.0
    """Not measured, from the first unit on."""
    seconds: float = 45.0
    """Measured."""

    def __post_init__(self) -> None:
        for name in ("answer_tokens", "warmup_s", "seconds"):
            value = asdict(self)[name]
            if not value > 0:
                raise ValueError(f"{name} must be > 0; got {value}.")
        _ = self.inputs  # which checks the others

    @property
    def inputs(self) -> CapacityInputs:
        """The same for the capacity model."""
        return CapacityInputs(
            hidden_size=self.hidden_size,
            steps_per_s=self.steps_per_s,
            shards=self.shards,
            prompts=self.prompts,
            samples=self.samples,
            answer_tokens=self.answer_tokens,
            scope=self.scope,
            trainer="actor",
            trainers=self.trainers,
            max_groups=QUEUED_BATCHES * self.prompts,
            inner_width=self.inner_width,
            exchange_share=self.exchange_share,
        )

    @property
    def leases(self) -> int:
        """Work units that the router has in flight."""
        return QUEUED_BATCHES * self.prompts * self.shards

    @property
    def callers(self) -> int:
        """Work units that are asked for at a time: an eighth of them, and at least one, wait for a lease."""
        return self.leases + max(1, self.leases // 8)


@dataclass(frozen=True, kw_only=True, slots=True)
class SimulatedShardConfig(ShardConfig):
    """A ShardConfig whose engine is simulated."""

    hidden_size: int
    steps_per_s: float
    prompts: int
    """Units in the batch."""

    @classmethod
    def of(cls, config: SimulationConfig) -> "SimulatedShardConfig":
        """Of every shard."""
        return cls(
            model="none",
            engine=EngineConfig(num_cpus=CPUS_PER_SHARD, max_num_seqs=config.prompts * config.samples),
            sampling=SamplingConfig(max_tokens=config.answer_tokens),
            policy=ESampConfig(
                scope=config.scope,
                trainer="actor",
                inner_width=config.inner_width,
                max_groups=config.inputs.max_groups,
            ),
            exchange=ExchangeConfig(share=config.exchange_share),
            hidden_size=config.hidden_size,
            steps_per_s=config.steps_per_s,
            prompts=config.prompts,
        )


SIMULATED_POINTS = {
    "quiet": SimulationConfig(shards=16),
    "light": SimulationConfig(),
    "cluster": SimulationConfig(scope="cluster"),
    "busy": SimulationConfig(shards=8, steps_per_s=12.0, hidden_size=256, samples=8, answer_tokens=240, inner_width=64),
    "saturated": SimulationConfig(
        shards=8, steps_per_s=30.0, hidden_size=256, prompts=8, samples=8, answer_tokens=600, inner_width=384
    ),
}
"""Those of docs/scaling.md."""
