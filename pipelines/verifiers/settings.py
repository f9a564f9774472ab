"""What a verifier needs to start, wherever it runs."""

import os
from dataclasses import dataclass

from pipelines.config.run import RunConfig
from pipelines.errors import InputError
from pipelines.verifiers.registry import VerifierEntry, find_verifier


@dataclass(frozen=True, kw_only=True, slots=True)
class JudgeSettings:
    """Where the judge is."""

    url: str
    """Base URL of the API."""
    model: str
    key_variable: str | None = None
    """Environment variable with the API key; None for a server that wants none."""

    def api_key(self) -> str:
        """The key. Raises InputError if the variable is not set here."""
        if self.key_variable is None:
            return "none"
        key = os.environ.get(self.key_variable)
        if not key:
            raise InputError(
                f"the judge's key is looked for in the environment variable {self.key_variable}, which is not set; "
                "set it on every node, or leave --judge-key-variable out."
            )
        return key


@dataclass(frozen=True, kw_only=True, slots=True)
class VerifierSettings:
    """What a scorer needs to start, in an actor elsewhere."""

    name: str
    """A name of registry.VERIFIERS, or module:function."""
    timeout_s: float
    judge: JudgeSettings | None = None
    """For the verifier judge."""
    allow_unsafe_execution: bool = False
    """For the verifier code: run without a sandbox where there is none."""

    @property
    def entry(self) -> VerifierEntry:
        """Its entry in the registry."""
        return find_verifier(self.name)


def verifier_settings(config: RunConfig) -> VerifierSettings:
    """The settings of a run's verifier."""
    judge = None
    if config.verifier_name == "judge" and config.judge_url and config.judge_model:
        judge = JudgeSettings(url=config.judge_url, model=config.judge_model, key_variable=config.judge_key_variable)
    return VerifierSettings(
        name=config.verifier_name,
        timeout_s=config.verdict_timeout_s,
        judge=judge,
        allow_unsafe_execution=config.allow_unsafe_execution,
    )
