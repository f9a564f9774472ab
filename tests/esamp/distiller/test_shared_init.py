"""Shared initial weights learn from all groups, a slot that is reset starts from them, and its learning stays its own."""

import pytest
import torch

from esamp.config import ESampConfig
from esamp.distiller.bank import DistillerBank
from esamp.distiller.hidden_rows import HiddenRows
from esamp.distiller.shared_init import SharedInitBank

H = 16
CPU = torch.device("cpu")
CONFIG = ESampConfig(inner_width=16, learning_rate=3e-3, scope="prior")
MAP = torch.randn(H, H, generator=torch.Generator().manual_seed(42))


def make_shared_init_bank() -> SharedInitBank:
    return SharedInitBank(CONFIG, torch.linspace(0.5, 2.0, H), num_slots=3, device=CPU)


def rows_of(seed: int, slots: tuple[int, ...]) -> HiddenRows:
    source = torch.randn(len(slots), H, generator=torch.Generator().manual_seed(seed))
    return HiddenRows.of(source, (source @ MAP).tanh(), slots)


def test_the_shared_weights_learn_what_one_distiller_of_all_groups_would() -> None:
    bank = make_shared_init_bank()
    shared = DistillerBank(CONFIG, torch.linspace(0.5, 2.0, H), num_slots=1, device=CPU)
    for step in range(20):
        # Batches grow and shrink.
        slots = (0, 0, 2, 1)[: 2 + step % 3]
        rows = rows_of(step, slots)
        bank.train(rows)
        shared.train(HiddenRows.of(rows.source_RH, rows.target_RH, (0,) * len(slots)))
    assert torch.equal(bank.theta_SP[bank.shared_slot], shared.theta_SP[0])


def test_slots_learn_what_they_would_without_shared_weights() -> None:
    bank = make_shared_init_bank()
    plain = DistillerBank(CONFIG, torch.linspace(0.5, 2.0, H), num_slots=3, device=CPU)
    for step in range(20):
        bank.train(rows_of(step, (0, 0, 2)))
        plain.train(rows_of(step, (0, 0, 2)))
    assert torch.equal(bank.theta_SP[:3], plain.theta_SP)


def test_a_new_slot_starts_from_the_shared_weights_with_a_history_of_its_own() -> None:
    bank = make_shared_init_bank()
    for step in range(200):
        bank.train(rows_of(step, (0, 0, 1, 1)))
    bank.reset(2)
    assert torch.equal(bank.theta_SP[2], bank.theta_SP[bank.shared_slot])
    assert bank.steps_S[2] == 0 and bank.loss_S[2].isnan()
    assert not bank.first_moment_SP[2].any() and not bank.second_moment_SP[2].any()
    fresh = make_shared_init_bank()
    for start in (bank, fresh):
        start.train(rows_of(1000, (2, 2, 2, 2)))
    assert bank.loss_S[2] < 0.8 * fresh.loss_S[2], "a warm start begins nearer to the goal"


def test_a_slot_that_started_warm_leaves_the_shared_weights_alone_when_reset() -> None:
    bank = make_shared_init_bank()
    bank.train(rows_of(1, (0, 1)))
    before = bank.theta_SP[bank.shared_slot].clone()
    bank.reset(0)
    bank.theta_SP[0].add_(1.0)
    assert torch.equal(bank.theta_SP[bank.shared_slot], before)


@pytest.mark.parametrize("poison", [float("nan"), float("inf")])
def test_diverged_shared_weights_are_not_passed_on(poison: float) -> None:
    bank = make_shared_init_bank()
    bank.theta_SP[bank.shared_slot, 5] = poison
    bank.train(rows_of(1, (0, 0)))
    assert bank.diverged_slots == 1
    bank.reset(1)
    assert torch.equal(bank.theta_SP[1], make_shared_init_bank().theta_SP[1])
