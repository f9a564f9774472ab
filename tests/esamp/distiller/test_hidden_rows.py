"""Rows grouped by slot: every row in its slot's place, and back again."""

import pytest
import torch

from esamp.distiller.hidden_rows import HiddenRows, SlotBatch
from esamp.distiller.math import gather, scatter

CPU = torch.device("cpu")
ORDERS = {
    "one row": (3,),
    "one slot": (2, 2, 2),
    "aligned": (1, 1, 2, 2),
    "aligned, one row each": (4, 5, 6),
    "a slot without rows between": (0, 0, 3, 3),
    "uneven": (1, 2, 2, 2),
    "interleaved": (0, 1, 0, 1),
    "backwards": (6, 5, 4),
}


@pytest.mark.parametrize("slots", ORDERS.values(), ids=ORDERS)
def test_grouped_rows_lie_under_their_slot_and_padding_is_zero(slots: tuple[int, ...]) -> None:
    batch = SlotBatch.of(slots, CPU)
    rows = torch.arange(1.0, len(slots) + 1).unsqueeze(1).expand(-1, 5)
    grouped = gather(rows, batch.index_AM, batch.is_aligned)
    for a, slot in enumerate(range(batch.span.start, batch.span.stop)):
        mine = [row + 1 for row, its_slot in enumerate(slots) if its_slot == slot]
        assert [int(number) for number in grouped[a, :, 0].tolist() if number] == mine
        assert batch.num_rows_A[a] == len(mine)
    assert set(slots) <= set(range(batch.span.start, batch.span.stop))


@pytest.mark.parametrize("slots", ORDERS.values(), ids=ORDERS)
def test_scatter_undoes_gather(slots: tuple[int, ...]) -> None:
    batch = SlotBatch.of(slots, CPU)
    rows = torch.randn(len(slots), 7)
    grouped = gather(rows, batch.index_AM, batch.is_aligned)
    assert torch.equal(scatter(grouped, batch.index_AM, batch.is_aligned, len(slots)), rows)


@pytest.mark.parametrize("slots", ORDERS.values(), ids=ORDERS)
def test_grouping_is_a_view_exactly_where_it_says_so(slots: tuple[int, ...]) -> None:
    batch = SlotBatch.of(slots, CPU)
    rows = torch.randn(len(slots), 7)
    is_view = gather(rows, batch.index_AM, batch.is_aligned).data_ptr() == rows.data_ptr()
    assert is_view == batch.is_aligned
    evenly = len(set(map(slots.count, range(min(slots), max(slots) + 1)))) == 1
    assert batch.is_aligned == (evenly and list(slots) == sorted(slots))


def test_rows_of_a_slot_can_be_taken_out() -> None:
    source, target = torch.randn(2, 5, 3)
    rows = HiddenRows.of(source, target, (0, 2, 0, 1, 2))
    left = rows.without(2)
    assert left is not None and left.slots == (0, 0, 1)
    assert torch.equal(left.source_RH, source[[0, 2, 3]]) and torch.equal(left.target_RH, target[[0, 2, 3]])
    assert rows.without(7) is rows
    assert HiddenRows.of(source, target, (4,) * 5).without(4) is None
