"""What each scope means for slots, groups and trainers, by hand."""

import pytest

from esamp.scope import SCOPES, SHARED_GROUP, Scope


@pytest.mark.parametrize(
    ("name", "slots", "banks", "group", "takes_one_trainer"),
    [
        ("prompt", 8, 3, "p17", False),
        ("shard", 1, 3, SHARED_GROUP, False),
        ("cluster", 1, 1, SHARED_GROUP, True),
        ("prior", 8, 3, "p17", True),
    ],
)
def test_a_scope_says_how_many_distillers_there_are_and_whose(
    name: Scope, slots: int, banks: int, group: str, takes_one_trainer: bool
) -> None:
    scope = SCOPES[name]
    assert (scope.num_slots(8), scope.num_banks(3), scope.group("p17")) == (slots, banks, group)
    assert scope.takes_one_trainer == takes_one_trainer
