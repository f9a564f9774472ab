"""The conditions of the lockstep study that docs/esamp-study.md reports: one change of the paper's settings each, and the controls."""

from dataclasses import replace

from esamp.config import ESampConfig
from esamp.devtools.lockstep.config import LockstepConfig

PAPER = ESampConfig(trainer="sync")
VANILLA = replace(PAPER, beta=0.0)
FAST = replace(PAPER, learning_rate=3e-3)
"""A Distiller that learns within a short answer."""
LAYER_5 = replace(FAST, source_layer=5)
"""The source layer that predicts the last one of six best."""

CONDITIONS: dict[str, LockstepConfig] = {
    "vanilla": LockstepConfig(esamp=VANILLA),
    "T 0.8": LockstepConfig(esamp=VANILLA, temperature=0.8),
    "esamp": LockstepConfig(esamp=PAPER),
    "entropy-matched": LockstepConfig(esamp=replace(PAPER, fusion="entropy_matched")),
    "frozen": LockstepConfig(esamp=replace(PAPER, trainer="none")),
    "noise": LockstepConfig(esamp=replace(PAPER, prediction="noise")),
    "running mean": LockstepConfig(esamp=replace(PAPER, prediction="running_mean")),
    **{f"beta {beta:g}": LockstepConfig(esamp=replace(PAPER, beta=beta)) for beta in (0.5, 1.0)},
    **{f"rate {rate:g}": LockstepConfig(esamp=replace(PAPER, learning_rate=rate)) for rate in (3e-3, 1e-2)},
    **{f"rate 0.003, scope {scope}": LockstepConfig(esamp=replace(FAST, scope=scope)) for scope in ("shard", "prior")},
    "rate 0.003, lag 16": LockstepConfig(esamp=replace(FAST, lag=16)),
    "rate 0.003, layer 3": LockstepConfig(esamp=replace(FAST, source_layer=3)),
    "rate 0.003, warmup fit": LockstepConfig(esamp=replace(FAST, warmup="fit")),
    "rate 0.003, 8 rounds, 4 steps": LockstepConfig(esamp=FAST, rounds=8, train_steps=4),
    "rate 0.003, layer 5, 4 steps of replay": LockstepConfig(esamp=LAYER_5, train_steps=4, replay=64),
    "rate 0.003, layer 5, 4 steps of replay, 4 rounds, beta 1": LockstepConfig(
        esamp=replace(LAYER_5, beta=1.0), train_steps=4, replay=64, rounds=4
    ),
}
"""By name; the first is the baseline."""
