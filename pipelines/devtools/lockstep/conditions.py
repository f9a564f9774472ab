"""The conditions of the lockstep study behind docs/findings.md: one change of the paper's settings each, and the controls."""

from dataclasses import replace

from esamp.config import ESampConfig
from esamp.devtools.lockstep.config import LockstepConfig

PAPER = ESampConfig(trainer="sync")
FAST = replace(PAPER, learning_rate=3e-3)
"""A Distiller that learns within a short answer."""


def condition(esamp: ESampConfig = PAPER, **settings: float) -> LockstepConfig:
    """A condition from its ESamp settings and the rest."""
    return LockstepConfig(esamp=esamp, **settings)  # type: ignore[arg-type]


VANILLA = replace(PAPER, beta=0.0)

CONDITIONS: dict[str, LockstepConfig] = {
    "vanilla": condition(VANILLA),
    "T 0.9": condition(VANILLA, temperature=0.9),
    "T 0.8": condition(VANILLA, temperature=0.8),
    "T 1.1": condition(VANILLA, temperature=1.1),
    "esamp": condition(),
    **{f"beta {beta:g}": condition(replace(PAPER, beta=beta)) for beta in (0.1, 0.5, 1.0)},
    **{f"rate {rate:g}": condition(replace(PAPER, learning_rate=rate)) for rate in (1e-3, 3e-3, 1e-2)},
    **{f"rate 0.003, beta {beta:g}": condition(replace(FAST, beta=beta)) for beta in (0.5, 1.0)},
    **{f"rate 0.003, lag {lag}": condition(replace(FAST, lag=lag)) for lag in (4, 16)},
    **{f"rate 0.003, layer {layer}": condition(replace(FAST, source_layer=layer)) for layer in (3, 5)},
    **{f"rate 0.003, scope {scope}": condition(replace(FAST, scope=scope)) for scope in ("shard", "prior")},
    "rate 0.003, warmup fit": condition(replace(FAST, warmup="fit")),
    "rate 0.003, 8 rounds": condition(FAST, rounds=8),
    "rate 0.003, 8 rounds, 4 steps": condition(FAST, rounds=8, train_steps=4),
    "rate 0.003, 8 rounds, 4 steps, beta 1": condition(replace(FAST, beta=1.0), rounds=8, train_steps=4),
    "rate 0.003, 8 rounds, 4 steps, warmup fit, beta 1": condition(
        replace(FAST, beta=1.0, warmup="fit"), rounds=8, train_steps=4
    ),
    "entropy-matched": condition(replace(PAPER, fusion="entropy_matched")),
    "rate 0.003, 8 rounds, 4 steps, beta 1, entropy-matched": condition(
        replace(FAST, beta=1.0, fusion="entropy_matched"), rounds=8, train_steps=4
    ),
    **{
        f"rate 0.003, layer {layer}, 4 steps of replay": condition(
            replace(FAST, source_layer=layer), train_steps=4, replay=64
        )
        for layer in (1, 5)
    },
    **{
        f"rate 0.003, layer 5, 4 steps of replay, 4 rounds, beta {beta:g}": condition(
            replace(FAST, source_layer=5, beta=beta), train_steps=4, replay=64, rounds=4
        )
        for beta in (0.25, 1.0, 2.0)
    },
    "rate 0.003, layer 5, 4 steps of replay, 4 rounds, beta 1, entropy-matched": condition(
        replace(FAST, source_layer=5, beta=1.0, fusion="entropy_matched"), train_steps=4, replay=64, rounds=4
    ),
    "frozen": condition(replace(PAPER, trainer="none")),
    "running mean": condition(replace(PAPER, prediction="running_mean")),
    "shuffled": condition(replace(PAPER, prediction="shuffled")),
    "noise": condition(replace(PAPER, prediction="noise")),
    "rate 0.003, noise": condition(replace(FAST, prediction="noise")),
}
