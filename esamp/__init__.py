"""Exploratory Sampling (arXiv:2604.24927): Distiller, fusion, and their place inside vLLM. Never imports Ray."""

from esamp.config import ESampConfig

__all__ = ["ESampConfig"]
