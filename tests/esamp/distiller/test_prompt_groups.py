"""The table of prompt groups: which has which slot."""

from esamp.distiller.prompt_groups import ExploringRequest, GroupTable


def make_table(num_slots: int) -> tuple[GroupTable, list[str]]:
    events: list[str] = []
    table = GroupTable(
        num_slots, lambda slot, name: events.append(f"open {slot} {name}"), lambda slot: events.append(f"close {slot}")
    )
    return table, events


def request(request_id: str, group: str, size: int = 1) -> ExploringRequest:
    return ExploringRequest(request_id, group, 0.25, group_size=size)


def test_a_slot_opens_at_the_first_decode_row_and_closes_with_the_last_request() -> None:
    table, events = make_table(2)
    a, b = request("a", "g"), request("b", "g")
    table.add(a)
    table.add(b)
    assert events == []
    assert table.group_with_slot(a) is table.group_with_slot(b)
    table.remove("a")
    assert events == ["open 0 g"]
    table.remove("b")
    assert events == ["open 0 g", "close 0"]
    assert len(table) == 0


def test_a_name_that_returns_is_a_new_group() -> None:
    table, events = make_table(2)
    for _ in range(2):
        table.add(request("a", "g"))
        group = table.group_with_slot(request("a", "g"))
        assert group is not None and group.steps_seen == 0
        group.steps_seen = 9
        table.remove("a")
    assert events == ["open 0 g", "close 0", "open 0 g", "close 0"]


def test_a_preempted_request_that_returns_is_the_same() -> None:
    table, events = make_table(1)
    table.add(request("a", "g"))
    table.group_with_slot(request("a", "g"))
    table.add(request("a", "g"))
    table.remove("a")
    assert events == ["open 0 g", "close 0"]


def test_groups_beyond_the_slots_stay_vanilla_for_life_and_are_counted() -> None:
    table, _ = make_table(1)
    first, second = request("a", "g"), request("b", "h")
    table.add(first)
    table.add(second)
    assert table.group_with_slot(first) is not None
    assert table.group_with_slot(second) is None
    table.remove("a")
    assert table.group_with_slot(second) is None, "half a group explored would mix two distributions"
    assert table.vanilla_groups == 1


def test_the_lowest_free_slot_is_taken_so_that_slots_in_use_stay_together() -> None:
    table, events = make_table(3)
    for name in "abc":
        table.add(request(name, name))
        table.group_with_slot(request(name, name))
    table.remove("b")
    table.remove("a")
    table.add(request("d", "d"))
    table.group_with_slot(request("d", "d"))
    assert events[-1] == "open 0 d"


def test_unknown_requests_are_not_ours() -> None:
    table, events = make_table(1)
    table.remove("never seen")
    assert table.request("never seen") is None and events == []


def test_a_group_keeps_its_slot_until_its_last_expected_sibling_has_ended() -> None:
    """One sibling at a time, as with fewer places in the batch than samples: the Distiller used to be reset for each of them."""
    table, events = make_table(2)
    for name in "abc":
        table.add(request(name, "g", size=3))
        table.group_with_slot(request(name, "g", size=3))
        table.remove(name)
    assert events == ["open 0 g", "close 0"]
    assert len(table) == 0


def test_an_idle_group_gives_its_slot_to_one_that_decodes() -> None:
    table, events = make_table(1)
    waiting, other = request("a", "g", size=8), request("b", "h")
    table.add(waiting)
    table.group_with_slot(waiting)
    table.remove("a")
    table.add(other)
    assert table.group_with_slot(other) is not None
    assert events == ["open 0 g", "close 0", "open 0 h"]
    assert table.vanilla_groups == 0


def test_slots_never_leak_though_expected_siblings_never_come() -> None:
    table, _ = make_table(4)
    for number in range(200):
        late = request(f"r{number}", f"g{number}", size=16)
        table.add(late)
        assert table.group_with_slot(late) is not None
        table.remove(late.request_id)
    assert table.vanilla_groups == 0
    table.expect_no_more()
    assert sorted(table._free) == [0, 1, 2, 3]


def test_a_cancelled_group_frees_its_slot_once_its_running_requests_have_ended() -> None:
    table, events = make_table(2)
    running, other = request("a", "g", size=16), request("b", "h", size=16)
    for each in (running, other):
        table.add(each)
        table.group_with_slot(each)
    table.expect_no_more("g")
    table.expect_no_more("never seen")
    assert events == ["open 0 g", "open 1 h"], "a request of it still runs"
    table.remove("a")
    table.remove("b")
    assert events[2:] == ["close 0"], "the other group waits for its siblings"
    table.expect_no_more("h")
    assert events[3:] == ["close 1"]


def test_slots_never_leak_over_200_groups_of_several_work_units_of_which_some_are_cancelled() -> None:
    """Four problems side by side on four slots, each in 8 work units of 2 samples that come in turns; every third stops after its first."""
    table, events = make_table(4)
    for first in range(0, 200, 4):
        names = [f"g{number}" for number in range(first, first + 4)]
        for unit in range(8):
            for name in names:
                if unit and int(name[1:]) % 3 == 0:
                    continue
                siblings = [request(f"{name}/{unit}/{index}", name, size=16) for index in range(2)]
                for sibling in siblings:
                    table.add(sibling)
                    assert table.group_with_slot(sibling) is not None
                for sibling in siblings:
                    table.remove(sibling.request_id)
                if int(name[1:]) % 3 == 0:
                    table.expect_no_more(name)
    assert table.vanilla_groups == 0
    assert sorted(table._free) == [0, 1, 2, 3]
    assert len([event for event in events if event.startswith("open")]) == 200, (
        "each met one Distiller, in all of its units"
    )
