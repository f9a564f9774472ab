"""What the capacity model is asked about: shape of the model, of the batch, of the cluster. Standard library only."""

import math
from dataclasses import asdict, dataclass
from typing import Literal

from esamp.scope import SCOPES, Scope

Placement = Literal["local", "actor"]

FP32 = 4
"""Bytes of a number: rows, weights, gradients and moments are sent and kept as fp32."""
NUMBERS_PER_PARAMETER = 4
"""A slot's weights, gradient and two moments."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CapacityInputs:
    """Shards, their Distillers and the trainers. Raises ValueError on a value outside its range."""

    hidden_size: int
    """H of the model."""
    steps_per_s: float
    """d: decode steps of one shard a second."""
    shards: int = 8
    """LLM shards."""
    prompts: int = 8
    """Prompts in one shard's batch at a time; each has a Distiller of its own with scope "prompt" or "prior"."""
    samples: int = 16
    """Rows of each prompt in the batch; prompts x samples rows are learned from in a step."""
    answer_tokens: float = 512.0
    """Decode steps that a prompt's Distiller is in use: the length of its longest answer."""
    scope: Scope = "prompt"
    """Who shares a Distiller."""
    trainer: Placement = "actor"
    """Where Distillers learn."""
    trainers: int = 1
    """DistillerTrainer actors; groups are spread over them by name."""
    max_groups: int = 32
    """Distiller slots of one shard."""
    inner_width: int = 384
    """Distiller width."""
    num_blocks: int = 1
    """Distiller blocks."""
    exchange_share: float = 0.02
    """Largest share of a shard's time that its exchange with all trainers may take: ExchangeConfig.share."""
    max_staleness: int = 256
    """Lag in decode steps at which beta reaches 0, lowered from half of it on: ESampConfig.max_staleness."""
    network_bytes_per_s: float = math.inf
    """Of a trainer's node, each way; inf if shards and trainer share a node."""

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            if isinstance(value, float) and not value > 0:
                raise ValueError(f"{name} must be > 0; got {value}.")
            if isinstance(value, int) and value < 1:
                raise ValueError(f"{name} must be >= 1; got {value}.")
        if SCOPES[self.scope].spans_engines and self.trainer == "local":
            raise ValueError('scope "cluster" needs a trainer actor; got trainer local.')
        if self.is_per_prompt and self.prompts > self.max_groups:
            raise ValueError(
                f"prompts must be at most max_groups, or some stay vanilla; got {self.prompts} and {self.max_groups}."
            )

    @property
    def is_per_prompt(self) -> bool:
        """Every prompt has a Distiller of its own."""
        return not SCOPES[self.scope].is_shared

    @property
    def slots(self) -> int:
        """Distillers that one shard holds."""
        return (self.max_groups if self.is_per_prompt else 1) + SCOPES[self.scope].learns_init

    @property
    def rows(self) -> int:
        """R: rows of one decode step."""
        return self.prompts * self.samples

    @property
    def groups(self) -> int:
        """G: Distillers one shard's step trains."""
        return self.prompts if self.is_per_prompt else 1

    @property
    def parameters(self) -> int:
        """P: of one Distiller (esamp.distiller.bank.SlotLayout)."""
        return 3 * self.num_blocks * self.inner_width * self.hidden_size + self.hidden_size

    @property
    def row_bytes(self) -> int:
        """Of the hidden states of one step: shallow and deep."""
        return 2 * FP32 * self.rows * self.hidden_size

    @property
    def update_bytes(self) -> int:
        """Of a weight update of all of a shard's groups."""
        return FP32 * self.parameters * self.groups

    @property
    def slot_bytes(self) -> int:
        """Memory of one Distiller slot."""
        return NUMBERS_PER_PARAMETER * FP32 * self.parameters

    @property
    def part(self) -> float:
        """Share of a shard's groups, rows and weights that one trainer has. At least one group."""
        return 1.0 if self.trainer == "local" else max(1 / self.groups, 1 / self.trainers)

    @property
    def senders(self) -> float:
        """n: shards that send to one trainer, on average. The one group of scope "cluster" has one trainer, however many there are."""
        return self.shards if SCOPES[self.scope].spans_engines else self.shards / self.trainers / self.part
