"""What actors warn of reaches the driver counted, and takes no more room the longer it goes on."""

import json
from dataclasses import asdict

from actors.types import ActorWarning
from actors.warning_log import WarningLog


def test_a_warning_that_repeats_is_one_entry_with_a_count() -> None:
    log = WarningLog("shard-0")
    for number in range(1000):
        log.record("trainer_failed", f"failure {number}")
    log.record("shard_lost", "it ended")
    assert log.warnings() == (
        ActorWarning(source="shard-0", kind="trainer_failed", message="failure 999", count=1000),
        ActorWarning(source="shard-0", kind="shard_lost", message="it ended", count=1),
    )


def test_a_counter_of_zero_is_no_warning_and_a_later_count_replaces_an_earlier_one() -> None:
    log = WarningLog("shard-0")
    log.set_count("dropped_rows", "rows were dropped", 0)
    assert log.warnings() == ()
    for count in (3, 7):
        log.set_count("dropped_rows", "rows were dropped", count)
    assert [warning.count for warning in log.warnings()] == [7]


def test_warnings_can_be_stored_with_the_counters_of_a_session() -> None:
    log = WarningLog("router")
    log.record("shard_lost", "it ended")
    assert json.loads(json.dumps([asdict(warning) for warning in log.warnings()]))[0]["kind"] == "shard_lost"
