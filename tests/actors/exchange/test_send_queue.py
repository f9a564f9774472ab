"""What waits for a trainer is bounded and in order, and what is dropped is counted, by either policy."""

import numpy as np
import pytest
import torch

from actors.exchange.messages import RegisterGroup, StepRows, UnregisterGroup
from actors.exchange.send_queue import (
    MAX_STEPS,
    MIN_STEPS,
    BackpressurePolicy,
    NewestFirst,
    SendQueue,
    UniformSubsample,
    WaitingStep,
)
from actors.exchange.transport import StagedRows
from esamp.distiller.hidden_rows import HiddenRows

GROUPS = ["a", "b"]
ROWS = 8
"""Of each group in a step."""


def waiting(step: int, groups: list[str] = GROUPS) -> WaitingStep:
    """A step whose rows all hold its number."""
    rows_RH = torch.full((ROWS * len(groups), 3), float(step))
    slots = tuple(index for index in range(len(groups)) for _ in range(ROWS))
    return WaitingStep(
        StagedRows(HiddenRows.of(rows_RH, rows_RH, slots)), None, groups, list(slots), [step] * len(groups)
    )


def steps_in(message: list[RegisterGroup | StepRows | UnregisterGroup]) -> list[StepRows]:
    return [item for item in message if isinstance(item, StepRows)]


def rows_per_step(message: list[RegisterGroup | StepRows | UnregisterGroup]) -> dict[int, int]:
    numbers = np.concatenate([step.source[:, 0] for step in steps_in(message)])
    return {int(number): int((numbers == number).sum()) for number in np.unique(numbers)}


@pytest.mark.parametrize("policy", [NewestFirst(), UniformSubsample()])
def test_a_trainer_that_keeps_up_gets_everything(policy: BackpressurePolicy) -> None:
    send_queue = SendQueue(policy)
    for step in range(MAX_STEPS):
        send_queue.put_step(waiting(step))
    message = steps_in(send_queue.take())
    assert [step.steps for step in message] == [[step, step] for step in range(MAX_STEPS)]
    assert send_queue.dropped_rows == 0 and len(send_queue) == 0 and send_queue.take() == []


def overflowed(policy: BackpressurePolicy) -> SendQueue:
    send_queue = SendQueue(policy)
    for _ in range(6):
        for step in range(8 * MAX_STEPS + 1):
            send_queue.put_step(waiting(step))
        send_queue.adapt()
    send_queue.take()
    send_queue.dropped_rows = 0
    return send_queue


def test_under_pressure_the_newest_steps_are_sent_complete() -> None:
    send_queue = overflowed(NewestFirst())
    for step in range(30):
        send_queue.put_step(waiting(step))
        assert send_queue.waiting_steps <= MIN_STEPS
    message = send_queue.take()
    assert rows_per_step(message) == {step: 2 * ROWS for step in range(30 - MIN_STEPS, 30)}
    assert send_queue.dropped_rows == 2 * ROWS * (30 - MIN_STEPS)


def test_under_pressure_a_uniform_subsample_represents_every_step_and_every_group() -> None:
    send_queue = overflowed(UniformSubsample())
    for step in range(16):
        send_queue.put_step(waiting(step))
    message = send_queue.take()
    counts = rows_per_step(message)
    assert counts == dict.fromkeys(range(16), 2 * ROWS * MIN_STEPS // 16), "the same share of each"
    assert len(steps_in(message)) == MIN_STEPS, "and no more work than complete steps would be"
    assert [step.steps for step in steps_in(message)] == [[last, last] for last in (3, 7, 11, 15)]
    for step in steps_in(message):
        assert step.groups == GROUPS and step.group_of_row.count(0) == step.group_of_row.count(1) == ROWS
    assert send_queue.dropped_rows + sum(counts.values()) == 16 * 2 * ROWS


def test_a_subsample_is_not_always_of_the_same_rows() -> None:
    step = waiting(0)
    policy = UniformSubsample()
    drawn = {tuple(thin.rows or ()) for _ in range(20) for [thin] in policy.select([step], 0.25)}
    assert len(drawn) > 10


@pytest.mark.parametrize("policy", [NewestFirst(), UniformSubsample()])
def test_what_waits_is_bounded_for_ever_and_every_row_is_accounted_for(policy: BackpressurePolicy) -> None:
    send_queue = SendQueue(policy)
    sent = 0
    for step in range(2000):
        send_queue.put_step(waiting(step))
        assert send_queue.waiting_steps <= UniformSubsample.REACH * MAX_STEPS
        if step % 333 == 332:
            sent += sum(len(item.group_of_row) for item in steps_in(send_queue.take()))
            send_queue.adapt()
    sent += sum(len(item.group_of_row) for item in steps_in(send_queue.take()))
    assert sent + send_queue.dropped_rows == 2000 * 2 * ROWS


def test_only_a_trainer_that_is_behind_is_sent_less() -> None:
    """Steps are also dropped where the rate limit, and not the trainer, makes a message wait; smaller messages would make that worse."""
    send_queue = SendQueue(NewestFirst())
    for step in range(2 * MAX_STEPS):
        send_queue.put_step(waiting(step))
    assert len(steps_in(send_queue.take())) == MAX_STEPS
    send_queue.adapt()
    for step in range(2 * MAX_STEPS):
        send_queue.put_step(waiting(step))
    send_queue.adapt()
    assert len(steps_in(send_queue.take())) == MAX_STEPS
    for step in range(MAX_STEPS):
        send_queue.put_step(waiting(step))
    assert send_queue.waiting_steps == MAX_STEPS // 2, "dropped while a message was in flight"


def test_registrations_keep_their_place_and_are_never_dropped() -> None:
    send_queue = SendQueue(NewestFirst())
    send_queue.put_register(RegisterGroup(group="a", registration=1))
    send_queue.take()
    send_queue.put_step(waiting(0))
    send_queue.put_unregister(UnregisterGroup(group="a"))
    send_queue.put_register(RegisterGroup(group="c", registration=2))
    for step in range(1, 2 * MAX_STEPS):
        send_queue.put_step(waiting(step, ["c"]))
    kinds = [type(item).__name__ for item in send_queue.take()]
    assert kinds == ["UnregisterGroup", "RegisterGroup", *["StepRows"] * MAX_STEPS]


def test_the_registrations_of_a_lost_message_come_first_in_the_next() -> None:
    send_queue = SendQueue(NewestFirst())
    assert send_queue.put_register(RegisterGroup(group="a", registration=1)) == 1
    [lost] = send_queue.take()
    assert isinstance(lost, RegisterGroup)
    send_queue.put_step(waiting(0, ["a"]))
    send_queue.put_first([lost])
    assert [type(item).__name__ for item in send_queue.take()] == ["RegisterGroup", "StepRows"]
    assert send_queue.put_register(RegisterGroup(group="b", registration=2)) == 3


def test_groups_that_come_and_go_while_a_trainer_is_away_leave_nothing() -> None:
    send_queue = SendQueue(NewestFirst())
    send_queue.put_register(RegisterGroup(group="stays", registration=1))
    for group in range(1000):
        name = f"group {group}"
        send_queue.put_register(RegisterGroup(group=name, registration=2 + group))
        send_queue.put_step(waiting(group, ["stays", name]))
        send_queue.put_unregister(UnregisterGroup(group=name))
    assert len(send_queue) == 1 + MAX_STEPS
    message = send_queue.take()
    assert all(step.groups == ["stays"] and set(step.group_of_row) == {0} for step in steps_in(message))
    assert send_queue.dropped_rows == 1000 * 2 * ROWS - MAX_STEPS * ROWS
