"""What a user may set about engines and sampling. Standard library and esamp.config only, so that `--help` is instant."""

import json
import math
from dataclasses import dataclass, field
from typing import Any, Literal

from esamp.config import ESampConfig
from esamp.policy_config import PolicyConfig

RENAMED_OPTIONS = {"exchange.under_pressure": "exchange.backpressure"}
"""Old name -> present name of settings that a user may have typed, or that an old run.json has, by their path in the config."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SamplingConfig:
    """How one sample is generated. Raises ValueError on a value outside its range."""

    temperature: float = 1.0
    """Softmax temperature, > 0. The paper samples at 1."""
    top_p: float = 1.0
    """Nucleus mass in (0, 1]; 1 keeps every token."""
    top_k: int = 0
    """Keep this many most likely tokens; 0 keeps all."""
    min_p: float = 0.0
    """Keep tokens at least this likely relative to the likeliest, in [0, 1]; 0 keeps all."""
    max_tokens: int = 512
    """Most tokens of one sample, >= 1."""
    stop: tuple[str, ...] = ()
    """Texts at which a sample ends; they are not part of its text. None may be empty. The flag without a text stands for none."""

    def __post_init__(self) -> None:
        if not (math.isfinite(self.temperature) and self.temperature > 0):
            raise ValueError(f"temperature must be finite and > 0 for samples to differ; got {self.temperature}.")
        if not 0 < self.top_p <= 1:
            raise ValueError(f"top_p must be in (0, 1]; got {self.top_p}.")
        if self.top_k < 0:
            raise ValueError(f"top_k must be >= 0 (0 keeps all tokens); got {self.top_k}.")
        if not 0 <= self.min_p <= 1:
            raise ValueError(f"min_p must be in [0, 1]; got {self.min_p}.")
        if self.max_tokens < 1:
            raise ValueError(f"max_tokens must be >= 1; got {self.max_tokens}.")
        if "" in self.stop:
            raise ValueError(
                f"a text in stop must not be empty, since every sample would end at once; got {self.stop}."
            )


SET_ARGUMENTS = {
    "model": "use --model",
    "dtype": "use --engine.dtype",
    "max_model_len": "use --engine.max-model-len",
    "max_num_seqs": "use --engine.max-num-seqs",
    "enforce_eager": "use --engine.enforce-eager",
    "seed": "use --engine.seed",
    "gpu_memory_utilization": "use --engine.gpu-memory-utilization",
    "kv_cache_memory_bytes": "use --engine.kv-cache-gib",
    "tensor_parallel_size": "use --engine.num-gpus",
    "distributed_executor_backend": "shards choose it",
    "worker_cls": "samplers run in esamp's worker",
    "additional_config": "use the sampler's own settings, such as --esamp.beta",
    "disable_log_stats": "use --engine.vllm-metrics",
}
"""vLLM engine arguments that have a setting of their own, and which."""
UNSUPPORTED_ARGUMENTS = {
    "speculative_config": "the samplers draw one token a step, which speculative decoding does not",
    "pipeline_parallel_size": "the shallow hidden state is on the first stage, the deep one on the last; use more --shards",
    "data_parallel_size": "shards are the replicas; use more --shards",
    "skip_tokenizer_init": "prompts are texts, which the engine's tokenizer reads",
    "logits_processors": "what they change is unknown to the samplers' fusion and log-probabilities",
    "runner": "a shard generates text",
}
"""vLLM engine arguments that the samplers do not support, and why."""


@dataclass(frozen=True, kw_only=True, slots=True)
class EngineConfig:
    """One LLM shard: a vLLM engine and what it may use. Raises ValueError on a value outside its range."""

    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """Number format of the weights; "auto" takes the checkpoint's."""
    max_model_len: int | None = None
    """Longest prompt plus sample, in tokens; None takes the model's own limit."""
    max_num_seqs: int = 64
    """Samples decoded together in one shard, >= 1."""
    num_gpus: float = 0
    """GPUs of one shard, all on one node; 0 to run on CPU. Below 1 several shards share a GPU; 2, 4, ... make the engine tensor
    parallel."""
    num_cpus: float = 1.0
    """CPU cores Ray reserves for one shard, > 0."""
    kv_cache_gib: float = 1.0
    """KV cache of a CPU shard, in GiB, > 0."""
    gpu_memory_utilization: float = 0.9
    """Share of a GPU's memory that a GPU shard may take, in (0, 1]; of its part of the GPU where num_gpus is below 1."""
    enforce_eager: bool = False
    """Leave out torch.compile and CUDA graphs: slower decoding, faster start."""
    vllm_metrics: bool = True
    """Export vLLM's own metrics of the engine through Ray, beside the run's."""
    seed: int = 0
    """Seed of the engine; each sample has its own seed besides."""
    extra: str = "{}"
    """Further vLLM engine arguments as a JSON object, such as {"quantization": "fp8"}; those with a setting here, and those that the
    samplers do not support, are refused."""

    @property
    def extra_arguments(self) -> dict[str, Any]:
        """`extra` by name. Raises ValueError if it is no JSON object."""
        try:
            arguments = json.loads(self.extra)
        except json.JSONDecodeError as error:
            raise ValueError(
                f'engine.extra must be a JSON object such as {{"quantization": "fp8"}}; {self.extra!r}: {error}.'
            ) from error
        if not isinstance(arguments, dict):
            raise ValueError(
                f'engine.extra must be a JSON object such as {{"quantization": "fp8"}}; got {self.extra!r}.'
            )
        return arguments

    def __post_init__(self) -> None:
        for name in self.extra_arguments:
            if name in SET_ARGUMENTS:
                raise ValueError(f"engine.extra must not set {name}: {SET_ARGUMENTS[name]}.")
            if name in UNSUPPORTED_ARGUMENTS:
                raise ValueError(f"engine.extra must not set {name}: {UNSUPPORTED_ARGUMENTS[name]}.")
        if self.max_num_seqs < 1:
            raise ValueError(f"max_num_seqs must be >= 1; got {self.max_num_seqs}.")
        if not (0 <= self.num_gpus < 1 or self.num_gpus == round(self.num_gpus) >= 1):
            raise ValueError(
                f"num_gpus must be 0, a part of one GPU, or a whole number of GPUs; got {self.num_gpus:g}. A shard of several GPUs splits "
                "the model evenly."
            )
        if not self.num_cpus > 0:
            raise ValueError(f"num_cpus must be > 0; got {self.num_cpus}.")
        if not self.kv_cache_gib > 0:
            raise ValueError(f"kv_cache_gib must be > 0; got {self.kv_cache_gib}.")
        if not 0 < self.gpu_memory_utilization <= 1:
            raise ValueError(f"gpu_memory_utilization must be in (0, 1]; got {self.gpu_memory_utilization}.")

    @property
    def tensor_parallel_size(self) -> int:
        """GPUs that the model's weights are split over."""
        return max(1, int(self.num_gpus))


@dataclass(frozen=True, kw_only=True, slots=True)
class ExchangeConfig:
    """How shards and DistillerTrainers exchange rows and weights; used with esamp.trainer "actor". Raises ValueError on a value outside
    its range."""

    backpressure: Literal["newest", "uniform"] = "newest"
    """What is sent of the decode steps that wait while a trainer is behind: "newest", the newest of them; "uniform", an equal share of the
    rows of each."""
    share: float = 0.02
    """Largest share of an engine's time that its exchange may take, in (0, 1]: after each message it backs off until that holds."""
    trainer_gpus: float = 0.0
    """GPUs of one trainer, in [0, 1]: a fraction shares a GPU with others, 0 trains on a CPU."""

    def __post_init__(self) -> None:
        if self.backpressure not in ("newest", "uniform"):
            raise ValueError(f"backpressure must be newest or uniform; got {self.backpressure!r}.")
        if not 0 < self.share <= 1:
            raise ValueError(f"share must be in (0, 1]; got {self.share}.")
        if not 0 <= self.trainer_gpus <= 1:
            raise ValueError(f"trainer_gpus must be in [0, 1]; got {self.trainer_gpus}.")


@dataclass(frozen=True, kw_only=True, slots=True)
class ShardConfig:
    """Everything an LLMShard actor needs to start; travels to the actor as it is."""

    model: str
    """Hugging Face model id, or a folder with config.json and weights."""
    engine: EngineConfig = field(default_factory=EngineConfig)
    """The engine."""
    sampling: SamplingConfig = field(default_factory=SamplingConfig)
    """How samples are generated."""
    policy: PolicyConfig | None = None
    """Exploratory Sampling or a baseline; None samples as vLLM does."""
    exchange: ExchangeConfig = field(default_factory=ExchangeConfig)
    """Its side of the exchange with trainers."""
    spread: bool = False
    """Other shards may generate samples of the same problems: with a trainer actor they then share a problem's Distiller."""
    record_rollouts: bool = False
    """Record of each token also what trainers need: see Sample.sampling_logprobs and Sample.kept_token_ids."""

    def __post_init__(self) -> None:
        is_lora = bool(self.engine.extra_arguments.get("enable_lora"))
        if is_lora and self.policy is not None and not self.policy.supports_lora:
            raise ValueError(
                f"policy {self.policy.name} does not support LoRA, whose adapters change lm_head and a prompt's distribution by request. "
                "Merge the adapter into the weights, leave enable_lora out, or use --sampler vanilla."
            )
        if self.record_rollouts and isinstance(self.policy, ESampConfig) and self.policy.record == "behaviour":
            raise ValueError(
                'record_rollouts looks at the plain model, which esamp.record="behaviour" does not; leave one of the two out.'
            )
        if self.engine.tensor_parallel_size > 1 and learns_elsewhere(self.policy):
            raise ValueError(
                f"with num_gpus={self.engine.num_gpus:g} the Distillers live in the engine's own workers, which a trainer actor cannot "
                "reach. Use --esamp.trainer local, or shards of one GPU."
            )


def learns_elsewhere(policy: PolicyConfig | None) -> bool:
    """True if a DistillerTrainer takes part."""
    return isinstance(policy, ESampConfig) and policy.trainer == "actor" and policy.beta > 0
