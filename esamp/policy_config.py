"""The configs an engine's policy may have. Standard library only: a light process can import it."""

from esamp.baselines.config import ContrastiveConfig, FireConfig, OverrideConfig
from esamp.config import ESampConfig

PolicyConfig = ESampConfig | FireConfig | OverrideConfig | ContrastiveConfig
