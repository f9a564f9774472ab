"""What actors count while a run generates: one field of RunCounters per counter.

The summary's table, summary.json and its warnings read the fields and their metadata, so that a counter is added in this one place.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, Literal

from actors.types import WarningKind
from pipelines.runs.folder import Session


@dataclass(frozen=True, kw_only=True, slots=True)
class Counter:
    """How a counter is summed up over the completed sessions of a run, and how it is shown."""

    help: str
    unit: str
    shards: tuple[str, ...] = ()
    """Counters of actors.types.ShardStats that are added."""
    trainer: tuple[str, ...] = ()
    """Counters of actors.types.TrainerStats that are added."""
    session: tuple[str, ...] = ()
    """Fields of Session that are added."""
    of: Literal["every run", "exploring runs"] = "every run"
    """The runs that have it; "-" is shown for the others."""
    is_shown_at_zero: bool = False
    warning: WarningKind | None = None
    """A value above 0 is a warning of the summary, in place of the actors' own warnings of this kind, which say the same."""

    def total(self, sessions: Iterable[Session]) -> int:
        """The counter over sessions. A session of an older version that did not have it yet adds 0."""
        return sum(self._of_session(session) for session in sessions)

    def of_shard(self, counts: Mapping[str, Any]) -> int:
        """Its part of one shard, from that shard's counters by name."""
        return sum(counts.get(name, 0) for name in self.shards)

    def _of_session(self, session: Session) -> int:
        stored: list[tuple[tuple[str, ...], list[dict[str, Any]]]] = [
            (self.trainer, [] if session.trainer is None else [session.trainer]),
            (self.session, [vars_of(session)]),
        ]
        others = sum(counts.get(name, 0) for names, actors in stored for counts in actors for name in names)
        return others + sum(map(self.of_shard, session.shards))


def vars_of(session: Session) -> dict[str, Any]:
    """The session's own counters by name."""
    return {"shard_restarts": session.shard_restarts, "units_run_again": session.units_run_again}


def counter(help: str, **settings: Any) -> int:
    """A field of RunCounters; `settings` as in Counter."""
    counted: int = field(default=0, metadata={"counter": Counter(help=help, **settings)})
    return counted


@dataclass(frozen=True, kw_only=True, slots=True)
class RunCounters:
    """The counters of a run over its completed sessions."""

    rows_not_learned: int = counter(
        "Hidden-state rows that no Distiller learned from: dropped by a shard, lost with a trainer, or refused by one.",
        unit="rows",
        shards=("dropped_rows", "lost_rows"),
        trainer=("refused_rows",),
        of="exploring runs",
        is_shown_at_zero=True,
    )
    vanilla_groups: int = counter(
        "Prompt groups that stayed vanilla since every Distiller slot was taken.",
        unit="groups",
        shards=("vanilla_groups",),
        of="exploring runs",
        warning="vanilla_group",
    )
    diverged_slots: int = counter(
        "Distiller slots whose numbers became non-finite; their groups stayed vanilla from then on.",
        unit="slots",
        shards=("broken_slots", "diverged_slots"),
        of="exploring runs",
        warning="diverged_slot",
    )
    stale_rows: int = counter(
        "Rows whose beta was lowered since the Distiller's weights were too old.",
        unit="rows",
        shards=("stale_rows",),
        of="exploring runs",
    )
    nonfinite_rows: int = counter(
        "Rows left vanilla since their hidden state or prediction was not finite.",
        unit="rows",
        shards=("nonfinite_rows",),
        of="exploring runs",
    )
    trainer_failures: int = counter(
        "Calls to a trainer actor that failed.", unit="calls", shards=("trainer_failures",), of="exploring runs"
    )
    shard_restarts: int = counter("Times a shard ended and came back.", unit="restarts", session=("shard_restarts",))
    units_run_again: int = counter(
        "Work units under way on a shard, or for a stage, that ended, each time.",
        unit="work units",
        session=("units_run_again",),
    )


def counters_of() -> Iterator[tuple[str, Counter]]:
    """Name and meaning of every counter, in the order in which they are shown."""
    for entry in fields(RunCounters):
        yield entry.name, entry.metadata["counter"]


def run_counters(sessions: Sequence[Session]) -> dict[str, int]:
    """The counters of a run by their names."""
    return {name: counter.total(sessions) for name, counter in counters_of()}


def actor_warnings(sessions: Sequence[Session]) -> list[str]:
    """What actors warned of, a line for each actor and kind of warning, with the number of times over all sessions."""
    counted = {counter.warning for _, counter in counters_of() if counter.total(sessions)}
    counts: dict[tuple[str, str], int] = {}
    messages: dict[tuple[str, str], str] = {}
    for warning in (warning for session in sessions for warning in session.warnings):
        if warning["kind"] in counted:
            continue
        key = (warning["source"], warning["kind"])
        counts[key] = counts.get(key, 0) + warning["count"]
        messages[key] = warning["message"]
    return [
        f"{source}: {messages[source, kind]} ({kind.replace('_', ' ')}: {count})"
        for (source, kind), count in counts.items()
    ]
