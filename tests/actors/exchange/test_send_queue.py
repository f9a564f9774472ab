"""What waits for a trainer is bounded and in order, and what is dropped is counted, by either policy."""

import numpy as np
import pytest
import torch

from actors.exchange.send_queue import (
    LEAST_STEPS,
    MOST_STEPS,
    HostRows,
    NewestFirst,
    Outbox,
    PressurePolicy,
    UniformSubsample,
    WaitingStep,
)
from actors.types import Ending, Opening, StepRows
from esamp.distiller.hidden_rows import HiddenRows

GROUPS = ["a", "b"]
ROWS = 8
"""Of each group in a step."""


def waiting(step: int, groups: list[str] = GROUPS) -> WaitingStep:
    """A step whose rows all hold its number."""
    rows_RH = torch.full((ROWS * len(groups), 3), float(step))
    slots = tuple(index for index in range(len(groups)) for _ in range(ROWS))
    return WaitingStep(
        HostRows(HiddenRows.of(rows_RH, rows_RH, slots)), None, groups, list(slots), [step] * len(groups)
    )


def steps_in(letter: list[Opening | StepRows | Ending]) -> list[StepRows]:
    return [item for item in letter if isinstance(item, StepRows)]


def rows_per_step(letter: list[Opening | StepRows | Ending]) -> dict[int, int]:
    numbers = np.concatenate([step.source[:, 0] for step in steps_in(letter)])
    return {int(number): int((numbers == number).sum()) for number in np.unique(numbers)}


@pytest.mark.parametrize("policy", [NewestFirst(), UniformSubsample()])
def test_a_trainer_that_keeps_up_gets_everything(policy: PressurePolicy) -> None:
    outbox = Outbox(policy)
    for step in range(MOST_STEPS):
        outbox.put_step(waiting(step))
    letter = steps_in(outbox.take())
    assert [step.steps for step in letter] == [[step, step] for step in range(MOST_STEPS)]
    assert outbox.dropped_rows == 0 and len(outbox) == 0 and outbox.take() == []


def under_pressure(policy: PressurePolicy) -> Outbox:
    outbox = Outbox(policy)
    for _ in range(6):
        for step in range(8 * MOST_STEPS + 1):
            outbox.put_step(waiting(step))
        outbox.adapt()
    outbox.take()
    outbox.dropped_rows = 0
    return outbox


def test_under_pressure_the_newest_steps_are_sent_whole() -> None:
    outbox = under_pressure(NewestFirst())
    for step in range(30):
        outbox.put_step(waiting(step))
        assert outbox.waiting_steps <= LEAST_STEPS
    letter = outbox.take()
    assert rows_per_step(letter) == {step: 2 * ROWS for step in range(30 - LEAST_STEPS, 30)}
    assert outbox.dropped_rows == 2 * ROWS * (30 - LEAST_STEPS)


def test_under_pressure_a_uniform_subsample_represents_every_step_and_every_group() -> None:
    outbox = under_pressure(UniformSubsample())
    for step in range(16):
        outbox.put_step(waiting(step))
    letter = outbox.take()
    counts = rows_per_step(letter)
    assert counts == dict.fromkeys(range(16), 2 * ROWS * LEAST_STEPS // 16), "the same share of each"
    assert len(steps_in(letter)) == LEAST_STEPS, "and no more work than whole steps would be"
    assert [step.steps for step in steps_in(letter)] == [[last, last] for last in (3, 7, 11, 15)]
    for step in steps_in(letter):
        assert step.groups == GROUPS and step.group_of_row.count(0) == step.group_of_row.count(1) == ROWS
    assert outbox.dropped_rows + sum(counts.values()) == 16 * 2 * ROWS


def test_a_subsample_is_not_always_of_the_same_rows() -> None:
    step = waiting(0)
    policy = UniformSubsample()
    drawn = {tuple(thin.rows or ()) for _ in range(20) for [thin] in policy.select([step], 0.25)}
    assert len(drawn) > 10


@pytest.mark.parametrize("policy", [NewestFirst(), UniformSubsample()])
def test_what_waits_is_bounded_for_ever_and_every_row_is_accounted_for(policy: PressurePolicy) -> None:
    outbox = Outbox(policy)
    sent = 0
    for step in range(2000):
        outbox.put_step(waiting(step))
        assert outbox.waiting_steps <= UniformSubsample.REACH * MOST_STEPS
        if step % 333 == 332:
            sent += sum(len(item.group_of_row) for item in steps_in(outbox.take()))
            outbox.adapt()
    sent += sum(len(item.group_of_row) for item in steps_in(outbox.take()))
    assert sent + outbox.dropped_rows == 2000 * 2 * ROWS


def test_only_a_trainer_that_is_behind_is_sent_less() -> None:
    """Steps are also dropped where the pace, and not the trainer, holds a letter back; smaller letters would make that worse."""
    outbox = Outbox(NewestFirst())
    for step in range(2 * MOST_STEPS):
        outbox.put_step(waiting(step))
    assert len(steps_in(outbox.take())) == MOST_STEPS
    outbox.adapt()
    for step in range(2 * MOST_STEPS):
        outbox.put_step(waiting(step))
    outbox.adapt()
    assert len(steps_in(outbox.take())) == MOST_STEPS
    for step in range(MOST_STEPS):
        outbox.put_step(waiting(step))
    assert outbox.waiting_steps == MOST_STEPS // 2, "dropped while a letter was under way"


def test_notices_keep_their_place_and_are_never_dropped() -> None:
    outbox = Outbox(NewestFirst())
    outbox.put_opening(Opening(group="a", opening=1))
    outbox.take()
    outbox.put_step(waiting(0))
    outbox.put_ending(Ending(group="a"))
    outbox.put_opening(Opening(group="c", opening=2))
    for step in range(1, 2 * MOST_STEPS):
        outbox.put_step(waiting(step, ["c"]))
    kinds = [type(item).__name__ for item in outbox.take()]
    assert kinds == ["Ending", "Opening", *["StepRows"] * MOST_STEPS]


def test_a_lost_letters_notices_come_first_in_the_next() -> None:
    outbox = Outbox(NewestFirst())
    assert outbox.put_opening(Opening(group="a", opening=1)) == 1
    [lost] = outbox.take()
    assert isinstance(lost, Opening)
    outbox.put_step(waiting(0, ["a"]))
    outbox.put_back([lost])
    assert [type(item).__name__ for item in outbox.take()] == ["Opening", "StepRows"]
    assert outbox.put_opening(Opening(group="b", opening=2)) == 3


def test_groups_that_come_and_go_while_a_trainer_is_away_leave_nothing() -> None:
    outbox = Outbox(NewestFirst())
    outbox.put_opening(Opening(group="stays", opening=1))
    for group in range(1000):
        name = f"group {group}"
        outbox.put_opening(Opening(group=name, opening=2 + group))
        outbox.put_step(waiting(group, ["stays", name]))
        outbox.put_ending(Ending(group=name))
    assert len(outbox) == 1 + MOST_STEPS
    letter = outbox.take()
    assert all(step.groups == ["stays"] and set(step.group_of_row) == {0} for step in steps_in(letter))
    assert outbox.dropped_rows == 1000 * 2 * ROWS - MOST_STEPS * ROWS
