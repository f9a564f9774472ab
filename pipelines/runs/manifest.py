"""What a run is and where it came from: run.json in its folder."""

import json
import os
import sys
import uuid
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

from pipelines.config.identity import config_hash, settings_that_matter
from pipelines.config.renamed import from_stored, to_stored
from pipelines.config.run import RunConfig
from pipelines.runs.plan import work_unit_groups
from pipelines.runs.provenance import git_commit, now, package_versions

RUN_ID = "ESAMP_RUN_ID"
"""Environment variable: the id that a run which begins now takes. jobs.submit chooses it, so as to know the run from its start on."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Event:
    """Something that was done to a run after it had begun."""

    kind: Literal["extended", "verified", "merged"]
    at: str
    """ISO 8601, UTC."""
    argv: list[str]
    git_commit: str | None
    versions: dict[str, str]
    details: dict[str, Any]
    """What was done, in the words of its kind."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Manifest:
    """What a run is, and where it came from."""

    run_id: str
    config: RunConfig
    """With `samples` as they are after the last extension."""
    data_fingerprint: str
    model_fingerprint: str
    num_problems: int
    num_units: int
    started: str
    """ISO 8601, UTC."""
    argv: list[str]
    git_commit: str | None
    """Commit of the checkout the code runs from, with "-dirty" if it was changed; None outside one."""
    versions: dict[str, str]
    extended_from: tuple[int, ...] = ()
    """Samples per problem before each extension: (16,) if a run of 16 now has config.samples of them."""
    verification: str | None = None
    """Folder in verdicts/ whose verdicts count; None for those given as the samples were drawn."""
    events: tuple[Event, ...] = field(default=())
    """What was done to the run since, oldest first."""

    @property
    def rounds(self) -> tuple[int, ...]:
        """Samples per problem after each extension round; the first round is the run as it was begun. Rounds share no Distiller."""
        return (*self.extended_from, self.config.samples)

    @property
    def identity(self) -> dict[str, Any]:
        """What must not change while the run goes on, flat."""
        return {
            **settings_that_matter(self.config),
            "extended_from": self.extended_from,
            "data_fingerprint": self.data_fingerprint,
            "model_fingerprint": self.model_fingerprint,
        }

    @property
    def group_sizes(self) -> list[int]:
        """Sizes of the groups of siblings that a problem's samples are drawn in, in launch order."""
        return [len(unit) for extension_round in work_unit_groups(self.config, self.rounds) for unit in extension_round]

    def grown_to(self, wanted: "Manifest") -> "Manifest":
        """This run with the rounds that an extension adds to it; this run as it is if `wanted` adds none."""
        if len(wanted.rounds) <= len(self.rounds) or wanted.rounds[: len(self.rounds)] != self.rounds:
            return self
        grown = replace(
            self,
            config=replace(self.config, samples=wanted.config.samples),
            extended_from=wanted.extended_from,
            num_units=wanted.num_units,
        )
        return grown.with_event("extended", samples_before=self.config.samples, samples=wanted.config.samples)

    def with_event(self, kind: Literal["extended", "verified", "merged"], **details: Any) -> "Manifest":
        """The same run after something was done to it now."""
        event = Event(
            kind=kind, at=now(), argv=sys.argv, git_commit=git_commit(), versions=package_versions(), details=details
        )
        return replace(self, events=(*self.events, event))

    def to_json(self) -> str:
        """The text of run.json."""
        plain = {name: value for name, value in asdict(self).items() if name != "config"}
        return json.dumps(
            {**plain, "config_hash": config_hash(self.config), "config": to_stored(self.config.to_dict())},
            indent=2,
            ensure_ascii=False,
        )

    @classmethod
    def from_json(cls, text: str) -> "Manifest":
        """The manifest that `to_json` gave, or that of an older version, which knew neither extensions nor events."""
        plain = json.loads(text)
        del plain["config_hash"]
        manifest = cls(
            **{
                **plain,
                "config": RunConfig.from_dict(from_stored(plain["config"])),
                "extended_from": tuple(plain.get("extended_from", ())),
                "events": tuple(Event(**event) for event in plain.get("events", ())),
            }
        )
        return manifest.as_planned()

    def as_planned(self) -> "Manifest":
        """This run with work units of the size that its plan on disk has.

        Older versions planned samples beyond a batch as one work unit, where this one plans one for each batch.
        """
        is_split = self.config.spreads and self.config.samples_per_work_unit is None
        if is_split and self.num_units < self.num_problems * len(self.group_sizes):
            return replace(self, config=replace(self.config, samples_per_work_unit=self.config.samples))
        return self


def new_manifest(
    config: RunConfig,
    *,
    data_fingerprint: str,
    model_fingerprint: str,
    num_problems: int,
    num_units: int,
    extended_from: tuple[int, ...] = (),
) -> Manifest:
    """The manifest of a run that begins now."""
    return Manifest(
        run_id=os.environ.get(RUN_ID) or uuid.uuid4().hex[:12],
        config=config,
        data_fingerprint=data_fingerprint,
        model_fingerprint=model_fingerprint,
        num_problems=num_problems,
        num_units=num_units,
        started=now(),
        argv=sys.argv,
        git_commit=git_commit(),
        versions=package_versions(),
        extended_from=extended_from,
    )


def differing(held: dict[str, Any], wanted: dict[str, Any]) -> Iterable[str]:
    """The settings in which two runs differ, as "name: held -> wanted"."""
    for name in sorted({*held, *wanted}):
        if held.get(name) != wanted.get(name):
            yield f"{name}: {held.get(name)} -> {wanted.get(name)}"
