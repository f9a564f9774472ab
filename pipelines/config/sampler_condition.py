"""A sampler with settings of its own, in one phrase of a command line, so that one command compares or measures several:

esamp                                    the sampler with the run's settings
esamp, distiller=rls, source-depth=0.75  with settings of its section
vanilla, temperature=0.8                 with sampling parameters
"""

import re
from dataclasses import dataclass, fields, replace
from types import NoneType
from typing import Any, Literal, get_args, get_origin, get_type_hints

from actors.config import SamplingConfig
from pipelines.config.run import RunConfig
from pipelines.config.samplers import SAMPLERS
from pipelines.errors import InputError

SAMPLING_PARAMETERS = ("temperature", "top_p", "top_k", "min_p")
"""Fields of SamplingConfig that a condition may set; max_tokens is the budget that all conditions share."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SamplerCondition:
    """A sampler and what it changes in a run's settings."""

    sampler: str
    settings: tuple[tuple[str, str], ...] = ()
    """Name and value of each setting, as they were written."""

    @classmethod
    def parse(cls, phrase: str) -> "SamplerCondition":
        """Raises InputError at an unknown sampler, and at what is no setting or one that comes twice.

        >>> SamplerCondition.parse("esamp, source-depth=0.75").settings
        (('source_depth', '0.75'),)
        """
        sampler, *parts = (part.strip() for part in phrase.split(","))
        if sampler not in SAMPLERS:
            raise InputError(f"samplers must be among {', '.join(SAMPLERS)}; got {sampler!r}.")
        settings = {}
        for part in parts:
            name, sign, value = (text.strip() for text in part.partition("="))
            name = name.replace("-", "_")
            if not (name and sign and value) or name in settings:
                raise InputError(f'a sampler takes settings such as "esamp, distiller=rls", each once; got {phrase!r}.')
            settings[name] = value
        return cls(sampler=sampler, settings=tuple(settings.items()))

    @property
    def folder_name(self) -> str:
        """The condition as a part of a path.

        >>> SamplerCondition.parse("quasi, start=token 8").folder_name
        'quasi-start-token-8'
        """
        words = [self.sampler, *(word for setting in self.settings for word in setting)]
        return re.sub(r"[^A-Za-z0-9.]+", "-", " ".join(words)).strip("-.")

    @property
    def changes_sampling(self) -> bool:
        """True if it sets a sampling parameter."""
        return any(name in SAMPLING_PARAMETERS for name, _ in self.settings)

    def applied_to(self, run: RunConfig) -> RunConfig:
        """The run with this sampler and its settings. Raises InputError at a setting that the sampler does not have, or whose value is out
        of its range."""
        run = replace(run, sampler=self.sampler)
        section = run.sampler_section
        own = type(vars(run)[section]) if section else None
        known = [field.name for field in fields(own)] if own else []
        changes: dict[str, dict[str, Any]] = {}
        for name, value in self.settings:
            if section and own and name in known:
                changes.setdefault(section, {})[name] = typed_value(name, value, get_type_hints(own)[name])
            elif name in SAMPLING_PARAMETERS:
                kind = get_type_hints(SamplingConfig)[name]
                changes.setdefault("sampling", {})[name] = typed_value(name, value, kind)
            else:
                raise InputError(
                    f"sampler {self.sampler} has no setting {name!r}; known are {', '.join([*known, *SAMPLING_PARAMETERS])}."
                )
        try:
            sections = {part: replace(vars(run)[part], **values) for part, values in changes.items()}
        except ValueError as error:
            raise InputError(str(error)) from error
        return replace(run, **sections)


def typed_value(name: str, value: str, kind: Any) -> Any:
    """A value of a config field's type: a number, a text, a choice, or None where the field allows it. Raises InputError."""
    alternatives = (kind,) if get_origin(kind) is Literal else get_args(kind) or (kind,)
    if NoneType in alternatives and value.lower() == "none":
        return None
    for alternative in alternatives:
        if alternative in (int, float):
            try:
                return alternative(value)
            except ValueError as error:
                raise InputError(f"{name} must be a number ({alternative.__name__}); got {value!r}.") from error
    return value  # a text or a choice, which the config itself checks
