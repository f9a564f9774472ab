"""What every sampling policy's config has. Standard library only: a light process can import it."""

from dataclasses import asdict, dataclass, fields
from typing import Any, ClassVar, Self


@dataclass(frozen=True, kw_only=True, slots=True)
class PolicyConfig:
    """Settings of one sampling policy, and how they travel in vLLM's additional_config.

    A policy is added by a subclass of this and its entry in esamp.policies.POLICIES.
    """

    name: ClassVar[str]
    """Key of the policy in additional_config, and its section on the command line."""
    policy_factory: ClassVar[str]
    """What makes its SamplingPolicy of the config and the worker, as "module.callable". A name in place of an import, like vLLM's
    worker_cls: the callable needs torch and vLLM, which a process that only reads settings does without."""
    about: ClassVar[str]
    """The policy in one line, for --help."""
    caveats: ClassVar[tuple[str, ...]] = ()
    """What a user must know before comparing its samples with another policy's; a sentence each."""

    acts_on_first_token: ClassVar[bool] = True
    """True if it takes part in a sample's first token, which comes from the step that reads the prompt."""
    siblings_form_sequence: ClassVar[bool] = False
    """True if siblings are drawn from one low-discrepancy sequence by their index: any k neighbours are then distributed as a group of k,
    and a random k-subset is not."""
    keeps_marginals: ClassVar[bool] = False
    """True if each sample by itself is distributed as the plain model's, however siblings depend on each other."""

    @property
    def couples_samples(self) -> bool:
        """True if a sample's tokens depend on what other samples of its prompt generated."""
        return False

    @property
    def stagger(self) -> int:
        """Decode steps, >= 0, between the starts of a work unit's samples; a setting of policies whose samples learn from each other."""
        return 0

    @property
    def supports_lora(self) -> bool:
        """True if it works where requests bring LoRA adapters: it neither reads lm_head, which LoRA pads and changes by request, nor groups
        requests, whose adapters it does not tell apart."""
        return not self.couples_samples

    @classmethod
    def from_dict(cls, settings: dict[str, Any]) -> Self:
        """Config from plain settings such as vLLM's additional_config["esamp"]. Raises ValueError on an unknown or missing name, or a
        value outside its range."""
        known = sorted(field.name for field in fields(cls))
        unknown = sorted(set(settings) - set(known))
        if unknown:
            raise ValueError(f"unknown {cls.name} settings {unknown}; known are {known}.")
        try:
            return cls(**settings)
        except TypeError as error:
            raise ValueError(f"{cls.name} settings {settings}: {error}.") from error

    def to_dict(self) -> dict[str, Any]:
        """Plain settings that `from_dict` reads back; they fit vLLM's additional_config."""
        return asdict(self)
