"""How memory and time of a DistillerBank grow with its slots: one step of predict and train, without an engine around it."""

import time
from dataclasses import dataclass

import torch

from esamp.config import ESampConfig
from esamp.devtools.bench.shape import Shape
from esamp.distiller.bank import DistillerBank
from esamp.distiller.hidden_rows import HiddenRows

SLOTS = (1, 4, 16, 64, 256)
REPEATS = 5


@dataclass(frozen=True, kw_only=True, slots=True)
class SlotCost:
    """A bank of so many slots, each with `rows_per_slot` rows in the step."""

    slots: int
    rows_per_slot: int
    bank_bytes: int
    predict_ms: float
    """Best of some repeats: the least disturbed."""
    train_ms: float


def slot_costs(shape: Shape, *, rows_per_slot: int = 1) -> list[SlotCost]:
    """The cost at every count of SLOTS, at the shape's hidden size and inner width."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return [slot_cost(shape, slots, rows_per_slot, device) for slots in SLOTS]


def slot_cost(shape: Shape, slots: int, rows_per_slot: int, device: torch.device) -> SlotCost:
    """The cost of one step at one number of slots."""
    config = ESampConfig(inner_width=shape.inner_width)
    bank = DistillerBank(config, torch.ones(shape.hidden, device=device), num_slots=slots, device=device)
    source_RH, target_RH = torch.randn(2, slots * rows_per_slot, shape.hidden, device=device)
    rows = HiddenRows.of(source_RH, target_RH, tuple(slot for slot in range(slots) for _ in range(rows_per_slot)))
    predict_s, train_s = [], []
    for _ in range(REPEATS + 1):
        started = clock(device)
        forward = bank.predict(rows)
        predicted = clock(device)
        bank.train(rows, forward)
        predict_s.append(predicted - started)
        train_s.append(clock(device) - predicted)
    return SlotCost(
        slots=slots,
        rows_per_slot=rows_per_slot,
        bank_bytes=bank.num_bytes,
        predict_ms=1000 * min(predict_s[1:]),
        train_ms=1000 * min(train_s[1:]),
    )


def clock(device: torch.device) -> float:
    """Now, with the device's work done."""
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()
