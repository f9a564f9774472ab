"""Who shares a Distiller. One object per scope says what it means for groups, slots and trainers. Standard library only."""

from dataclasses import dataclass
from typing import Literal

Scope = Literal["prompt", "shard", "cluster", "prior"]

SHARED_GROUP = "shared"
"""Name of the one prompt group of an engine whose prompts share a Distiller."""


@dataclass(frozen=True, kw_only=True, slots=True)
class DistillerScope:
    """What one value of the setting `scope` means."""

    name: Scope
    about: str
    """Who shares a Distiller, in one line."""
    is_shared: bool = False
    """All prompts of an engine have one Distiller."""
    spans_engines: bool = False
    """All engines have one Distiller: it is trained by a DistillerTrainer actor."""
    learns_init: bool = False
    """One more Distiller learns from the rows of all prompts, and gives new ones their initial weights."""

    @property
    def takes_one_trainer(self) -> bool:
        """All rows must reach one DistillerTrainer, since some Distiller learns from all of them."""
        return self.spans_engines or self.learns_init

    def group(self, prompt_group: str) -> str:
        """Group whose Distiller a request of `prompt_group` uses."""
        return SHARED_GROUP if self.is_shared else prompt_group

    def num_slots(self, max_groups: int) -> int:
        """Distiller slots of one engine that serves `max_groups` prompt groups at a time; the initial weights' own slot not counted."""
        return 1 if self.is_shared else max_groups

    def num_banks(self, num_engines: int) -> int:
        """Engines' worth of slots that the trainers of `num_engines` engines hold together."""
        return 1 if self.spans_engines else num_engines


SCOPES: dict[Scope, DistillerScope] = {
    scope.name: scope
    for scope in (
        DistillerScope(name="prompt", about="the samples of a prompt, as in the paper"),
        DistillerScope(name="shard", about="all requests of an engine", is_shared=True),
        DistillerScope(name="cluster", about='all engines (needs trainer="actor")', is_shared=True, spans_engines=True),
        DistillerScope(
            name="prior",
            about="each prompt its own, started from one that learns from all prompts of the engine",
            learns_init=True,
        ),
    )
}
"""Every scope, by the value of the setting."""
