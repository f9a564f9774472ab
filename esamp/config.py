"""What a user may set about Exploratory Sampling. Standard library only: a light process can import it.

Defaults are the profile of the paper (arXiv:2604.24927, section 5.1 and appendix E.2). Values the paper leaves open say so.
"""

import math
from dataclasses import asdict, dataclass
from typing import ClassVar, Literal, get_args

from esamp.policy_config import PolicyConfig
from esamp.scope import SCOPES, DistillerScope
from esamp.scope import Scope as Scope  # a setting's type, read from here with the others

TrainerPlacement = Literal["auto", "local", "sync", "actor", "none"]
Prediction = Literal["distiller", "shuffled", "noise", "running_mean", "vocabulary"]
FusionForm = Literal["proposed", "subtraction", "clamped", "directional", "entropy_matched"]
DistillerKind = Literal["mlp", "rls"]

CHOICES: dict[str, tuple[str, ...]] = {
    "trainer": get_args(TrainerPlacement),
    "scope": tuple(SCOPES),
    "distiller": get_args(DistillerKind),
    "prediction": get_args(Prediction),
    "fusion": get_args(FusionForm),
    "warmup": ("none", "fit"),
    "record": ("behaviour", "full"),
}


@dataclass(frozen=True, kw_only=True, slots=True)
class ESampConfig(PolicyConfig):
    """Distiller, fusion and training settings of one engine. Raises ValueError on a value outside its range."""

    name: ClassVar[str] = "esamp"
    policy_factory: ClassVar[str] = "esamp.exploration.explorer.explorer_or_vanilla"
    about: ClassVar[str] = "Exploratory Sampling"
    acts_on_first_token: ClassVar[bool] = False
    caveats: ClassVar[tuple[str, ...]] = (
        "The samples of a prompt share a Distiller, so what one sample explores depends on the samples generated with it.",
    )
    beta: float = 0.25
    """Strength of exploration, >= 0: z = (1+beta) z_model - beta z_distiller. 0 leaves the engine exactly as vLLM ships it."""
    scope: Scope = "prompt"
    """Who shares a Distiller: "prompt", the samples of a prompt, as in the paper; "shard", all requests of an engine; "cluster", all
    engines (needs trainer="actor"); "prior", each prompt its own, started from one that learns from all prompts of the engine."""
    distiller: DistillerKind = "mlp"
    """How the Distiller learns: "mlp", the paper's network by Adam; "rls", recursive least squares on random projections, which fits a row
    in the step that shows it. Learning inside the engine only (trainer "local", "sync" or "none")."""
    prediction: Prediction = "distiller"
    """What predicts the deep state. Besides the Distiller, controls: "shuffled", the Distiller of another prompt; "noise", the
    true state plus noise as long as the Distiller's error; "running_mean", the mean of the group's deep states; "vocabulary", a
    Distiller trained on the model's next-token distribution instead of its hidden state."""
    fusion: FusionForm = "proposed"
    """How predictions are fused: "proposed", the paper's; "subtraction", its ablation z_model - beta z_distiller; "clamped", the
    paper's with at most `max_shift`; "directional", the paper's without the part of the shift that is a change of temperature;
    "entropy_matched", a control: the model at the temperature that gives the same entropy."""
    max_shift: float = 2.0
    """Largest change of a logit relative to the others, in nats, > 0; with fusion="clamped"."""
    max_groups: int = 32
    """Distiller slots, >= 1: prompt groups that can explore at the same time. Further groups stay vanilla and are counted.
    A Distiller that prompts share takes one slot and any number of them."""
    source_layer: int = 1
    """Shallow hidden state the Distiller reads: the residual stream after this many decoder layers, >= 1. The paper: 1."""
    source_depth: float | None = None
    """The same as a share of the model's decoder layers, in (0, 1), rounded to a whole layer; None: `source_layer` counts."""
    rls_features: int = 512
    """Random projections that recursive least squares works on, >= 1. Memory of a slot: 4 (features + hidden size) bytes per feature."""
    rls_ridge: float = 10.0
    """Weight of the zero prediction against one row, > 0: how little a slot trusts its first rows."""
    rls_forgetting: float = 1.0
    """Weight of what earlier rows said about a step's rows, in (0, 1]: below 1 a slot follows a map that changes."""
    inner_width: int = 384
    """Inner width of each SwiGLU block, >= 1. The paper: 384."""
    num_blocks: int = 1
    """Residual SwiGLU blocks, >= 1. The paper's memory figure fits 1; its ablation found no difference up to 4."""
    init_scale: float = 0.02
    """Standard deviation of the random initial weights. The paper says only "random"."""
    learning_rate: float = 4e-4
    """Adam step size, > 0."""
    adam_beta1: float = 0.9
    """Decay of Adam's first moment, in [0, 1). Not stated in the paper."""
    adam_beta2: float = 0.999
    """Decay of Adam's second moment, in [0, 1). Not stated in the paper."""
    adam_eps: float = 1e-4
    """Adam's epsilon, > 0."""
    clip_norm: float = 0.5
    """Largest gradient norm of one slot, > 0. Clipped per slot, so that one group never scales another's step."""
    warmup: Literal["none", "fit"] = "none"
    """"fit" lets beta grow with the share of the deep state that the slot explains; "none" is the paper."""
    warmup_steps: int = 0
    """Optimiser steps a slot must have taken before its prediction changes sampling, >= 0. The paper: 0."""
    max_staleness: int = 256
    """Decode steps of its group that a slot's weights may lag before beta falls to 0 (linearly from half this bound), >= 2.
    Only trainer="actor" can lag by more than one step."""
    seed: int = 0
    """Seed of the initial weights. Every slot starts from the same draw, so the result does not depend on allocation order."""
    trainer: TrainerPlacement = "local"
    """Where slots learn: "auto", in a run, a trainer actor where it keeps up by the capacity model, else the engine itself, and the engine
    itself outside a run; "local" trains in the background of the next forward pass and is joined before it predicts (lag 1,
    deterministic); "sync" trains within the step, token for token the same; "actor" sends rows to a DistillerTrainer; "none" is a
    control: random weights that never learn."""
    stagger: int = 0
    """Decode steps, >= 0, between the starts of a work unit's samples, so that each meets what those before it have taught; 0 starts all at
    once, as in the paper. Of runs: users of plain vLLM choose when to add a request."""
    learns_prompt: bool = False
    """Train a prompt's Distiller on the tokens of the prompt before those of its samples. Not in the paper. What vLLM finds in its prefix
    cache is not computed, and not learned from."""
    lag: int = 1
    """Decode steps until a row is learned from, >= 1, for experiments with trainer="local" or "sync"; the paper: 1."""
    candidate_cap: int = 256
    """Requests whose top_k is at most this have the Distiller's logits computed for their candidates alone, >= 1."""
    record: Literal["behaviour", "full"] = "full"
    """What requests with esamp_record keep per token: "full" adds the plain model's log-probability, the number of candidates and
    whether the token was flipped, for which the model's own logits are needed as well as the fused ones; "behaviour" leaves them out."""

    @property
    def distiller_scope(self) -> DistillerScope:
        """What `scope` means."""
        return SCOPES[self.scope]

    def layer_of(self, num_layers: int) -> int:
        """Decoder layers before the shallow state, in a model of `num_layers`."""
        if self.source_depth is None:
            return self.source_layer
        return min(max(1, round(self.source_depth * num_layers)), num_layers - 1)

    @property
    def num_slots(self) -> int:
        """Distillers that one engine holds: one where its prompts share it."""
        return self.distiller_scope.num_slots(self.max_groups)

    @property
    def is_shared(self) -> bool:
        """True if all prompts of an engine have one Distiller."""
        return self.distiller_scope.is_shared

    @property
    def couples_samples(self) -> bool:
        """See PolicyConfig: true as long as Distillers learn and their predictions count."""
        return self.beta > 0 and self.trainer != "none"

    @property
    def supports_lora(self) -> bool:
        """See PolicyConfig: predictions go through lm_head, also those of a Distiller that never learns."""
        return self.beta == 0

    def __post_init__(self) -> None:
        if not (math.isfinite(self.beta) and self.beta >= 0):
            raise ValueError(
                f"beta must be finite and >= 0; got {self.beta}. Use 0 for vanilla sampling, 0.25 as in the paper."
            )
        for name in (
            "max_groups",
            "source_layer",
            "inner_width",
            "num_blocks",
            "rls_features",
            "lag",
            "candidate_cap",
        ):
            value = asdict(self)[name]
            if value < 1:
                raise ValueError(f"{name} must be >= 1; got {value}.")
        for name in ("learning_rate", "adam_eps", "clip_norm", "init_scale", "max_shift", "rls_ridge"):
            value = asdict(self)[name]
            if not (math.isfinite(value) and value > 0):
                raise ValueError(f"{name} must be finite and > 0; got {value}.")
        for name in ("adam_beta1", "adam_beta2"):
            value = asdict(self)[name]
            if not 0 <= value < 1:
                raise ValueError(f"{name} must be in [0, 1); got {value}.")
        for name in ("warmup_steps", "stagger"):
            value = asdict(self)[name]
            if value < 0:
                raise ValueError(f"{name} must be >= 0; got {value}.")
        if self.max_staleness < 2:
            raise ValueError(f"max_staleness must be >= 2 decode steps; got {self.max_staleness}.")
        for name, choices in CHOICES.items():
            value = asdict(self)[name]
            if value not in choices:
                raise ValueError(f"{name} must be one of {', '.join(choices)}; got {value!r}.")
        if self.distiller_scope.spans_engines and self.trainer not in ("auto", "actor"):
            raise ValueError(f'scope="{self.scope}" needs trainer="actor"; got trainer={self.trainer!r}.')
        if self.trainer == "actor" and self.prediction in ("running_mean", "vocabulary"):
            raise ValueError(f'prediction={self.prediction!r} learns inside the engine; use trainer="local".')
        if self.distiller_scope.learns_init and self.prediction in ("running_mean", "vocabulary"):
            raise ValueError(
                f'prediction={self.prediction!r} has no shared initial weights; use scope="prompt" or "shard".'
            )
        if self.source_depth is not None and not 0 < self.source_depth < 1:
            raise ValueError(f"source_depth must be in (0, 1); got {self.source_depth}. Leave it out for source_layer.")
        self._check_learning()

    def _check_learning(self) -> None:
        """Refuse ways to learn that exclude each other."""
        if not 0 < self.rls_forgetting <= 1:
            raise ValueError(f"rls_forgetting must be in (0, 1]; got {self.rls_forgetting}.")
        if self.distiller == "rls" and self.trainer == "actor":
            raise ValueError('distiller="rls" learns inside the engine; use trainer="local".')
        if self.distiller == "rls" and (self.distiller_scope.learns_init or self.prediction == "vocabulary"):
            raise ValueError(
                f'distiller="rls" has neither shared initial weights nor a vocabulary form; got scope={self.scope!r}, '
                f"prediction={self.prediction!r}."
            )
        if self.learns_prompt and (self.trainer in ("actor", "none") or self.scope != "prompt"):
            raise ValueError(
                'learns_prompt needs Distillers of one prompt that learn inside the engine, scope="prompt" and trainer="local" or "sync"; '
                f"got scope={self.scope!r}, trainer={self.trainer!r}."
            )
        if self.trainer == "none" and (self.warmup != "none" or self.warmup_steps > 0):
            raise ValueError('trainer="none" never ends a warmup; use warmup="none" and warmup_steps=0.')
        if self.lag > 1 and self.trainer not in ("auto", "local", "sync"):
            raise ValueError(f'lag={self.lag} needs trainer="local" or "sync"; got trainer={self.trainer!r}.')
