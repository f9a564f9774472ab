"""The arms of the lockstep study behind docs/findings.md: one change of the paper's settings each, and the controls."""

from dataclasses import replace

from esamp.config import ESampConfig
from esamp.devtools.lockstep.config import LockstepConfig

PAPER = ESampConfig(trainer="sync")
FAST = replace(PAPER, learning_rate=3e-3)
"""A Distiller that learns within a short answer."""


def arm(esamp: ESampConfig = PAPER, **settings: float) -> LockstepConfig:
    """An arm from its ESamp settings and the rest."""
    return LockstepConfig(esamp=esamp, **settings)  # type: ignore[arg-type]


VANILLA = replace(PAPER, beta=0.0)

ARMS: dict[str, LockstepConfig] = {
    "vanilla": arm(VANILLA),
    "T 0.9": arm(VANILLA, temperature=0.9),
    "T 0.8": arm(VANILLA, temperature=0.8),
    "T 1.1": arm(VANILLA, temperature=1.1),
    "esamp": arm(),
    **{f"beta {beta:g}": arm(replace(PAPER, beta=beta)) for beta in (0.1, 0.5, 1.0)},
    **{f"rate {rate:g}": arm(replace(PAPER, learning_rate=rate)) for rate in (1e-3, 3e-3, 1e-2)},
    **{f"rate 0.003, beta {beta:g}": arm(replace(FAST, beta=beta)) for beta in (0.5, 1.0)},
    **{f"rate 0.003, lag {lag}": arm(replace(FAST, lag=lag)) for lag in (4, 16)},
    **{f"rate 0.003, layer {layer}": arm(replace(FAST, source_layer=layer)) for layer in (3, 5)},
    **{f"rate 0.003, scope {scope}": arm(replace(FAST, scope=scope)) for scope in ("shard", "prior")},
    "rate 0.003, warmup fit": arm(replace(FAST, warmup="fit")),
    "rate 0.003, 8 waves": arm(FAST, waves=8),
    "rate 0.003, 8 waves, 4 steps": arm(FAST, waves=8, train_steps=4),
    "rate 0.003, 8 waves, 4 steps, beta 1": arm(replace(FAST, beta=1.0), waves=8, train_steps=4),
    "rate 0.003, 8 waves, 4 steps, warmup fit, beta 1": arm(
        replace(FAST, beta=1.0, warmup="fit"), waves=8, train_steps=4
    ),
    "entropy-matched": arm(replace(PAPER, fusion="entropy_matched")),
    "rate 0.003, 8 waves, 4 steps, beta 1, entropy-matched": arm(
        replace(FAST, beta=1.0, fusion="entropy_matched"), waves=8, train_steps=4
    ),
    **{
        f"rate 0.003, layer {layer}, 4 steps of replay": arm(
            replace(FAST, source_layer=layer), train_steps=4, replay=64
        )
        for layer in (1, 5)
    },
    **{
        f"rate 0.003, layer 5, 4 steps of replay, 4 waves, beta {beta:g}": arm(
            replace(FAST, source_layer=5, beta=beta), train_steps=4, replay=64, waves=4
        )
        for beta in (0.25, 1.0, 2.0)
    },
    "rate 0.003, layer 5, 4 steps of replay, 4 waves, beta 1, entropy-matched": arm(
        replace(FAST, source_layer=5, beta=1.0, fusion="entropy_matched"), train_steps=4, replay=64, waves=4
    ),
    "frozen": arm(replace(PAPER, trainer="none")),
    "running mean": arm(replace(PAPER, prediction="running_mean")),
    "shuffled": arm(replace(PAPER, prediction="shuffled")),
    "noise": arm(replace(PAPER, prediction="noise")),
    "rate 0.003, noise": arm(replace(FAST, prediction="noise")),
}
