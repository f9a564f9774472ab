"""Sections of a command line for the engine's policies: one place for jobs that sample in an engine. ESamp's is each job's own, since where
its Distillers may learn differs."""

from dataclasses import dataclass, field

from esamp.baselines.config import ContrastiveConfig, FireConfig, OverrideConfig
from esamp.fork_bonus.config import NoveltyConfig, TrieConfig
from esamp.joint.config import LatentConfig, QuasiConfig


@dataclass(frozen=True, kw_only=True)
class PolicySections:
    """Settings of every policy but ESamp; a sampler reads its own."""

    quasi: QuasiConfig = field(default_factory=QuasiConfig)
    """Joint draws with exact marginals; used with --sampler quasi."""
    latent: LatentConfig = field(default_factory=LatentConfig)
    """Joint draws per cell of the deep state; used with --sampler latent."""
    novelty: NoveltyConfig = field(default_factory=NoveltyConfig)
    """Bonuses at forks for new successors; used with --sampler novelty."""
    trie: TrieConfig = field(default_factory=TrieConfig)
    """Bonuses at forks for tokens that no sibling drew; used with --sampler trie."""
    fire: FireConfig = field(default_factory=FireConfig)
    """FIRE; used with --sampler fire."""
    override: OverrideConfig = field(default_factory=OverrideConfig)
    """OverRIDE; used with --sampler override."""
    contrastive: ContrastiveConfig = field(default_factory=lambda: ContrastiveConfig(amateur="Qwen/Qwen3-0.6B"))
    """Contrastive decoding; used with --sampler contrastive. The amateur must have the model's vocabulary."""
