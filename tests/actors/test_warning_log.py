"""What actors warn of reaches the driver counted, and takes no more room the longer it goes on."""

import json
from dataclasses import asdict, fields

from actors.types import ActorWarning, ShardStats
from actors.warning_log import WarningLog, warnings_of


def test_a_warning_that_repeats_is_one_entry_with_a_count() -> None:
    log = WarningLog("shard-0")
    for number in range(1000):
        log.record("trainer_failed", f"failure {number}")
    log.record("shard_lost", "it ended")
    assert log.warnings() == (
        ActorWarning(source="shard-0", kind="trainer_failed", message="failure 999", count=1000),
        ActorWarning(source="shard-0", kind="shard_lost", message="it ended", count=1),
    )


def stats_with(**counts: int) -> ShardStats:
    counters = {counter.name: 0 for counter in fields(ShardStats) if counter.name not in ("shard", "warnings")}
    return ShardStats(shard="shard-1", **{**counters, **counts})  # type: ignore[arg-type]


def test_counters_of_a_shard_are_warnings_unless_they_are_zero() -> None:
    assert warnings_of(stats_with()) == ()
    found = warnings_of(stats_with(broken_slots=2, vanilla_groups=3, dropped_rows=70, samples=100))
    assert [(warning.source, warning.kind, warning.count) for warning in found] == [
        ("shard-1", "diverged_slot", 2),
        ("shard-1", "vanilla_group", 3),
        ("shard-1", "dropped_rows", 70),
    ]


def test_warnings_can_be_stored_with_the_counters_of_a_session() -> None:
    log = WarningLog("router")
    log.record("shard_lost", "it ended")
    assert json.loads(json.dumps([asdict(warning) for warning in log.warnings()]))[0]["kind"] == "shard_lost"
