"""The running mean is the mean of what a slot has seen, finite rows only."""

import pytest
import torch

from esamp.distiller.hidden_rows import HiddenRows
from esamp.distiller.running_mean import RunningMeanBank

H = 6


def make_bank() -> RunningMeanBank:
    return RunningMeanBank(H, num_slots=3, device=torch.device("cpu"))


def rows_of(target: torch.Tensor, slots: tuple[int, ...]) -> HiddenRows:
    return HiddenRows.of(torch.zeros(len(slots), H), target, slots)


def test_it_predicts_the_mean_of_all_rows_of_the_slot_so_far() -> None:
    bank, slots = make_bank(), (2, 0, 2, 2)
    targets = torch.randn(7, len(slots), H)
    for target in targets:
        bank.train(rows_of(target, slots))
    seen = {slot: targets[:, [row for row, s in enumerate(slots) if s == slot]].flatten(0, 1) for slot in (0, 2)}
    predicted = bank.predict(rows_of(targets[0], slots)).prediction_RH
    for row, slot in enumerate(slots):
        torch.testing.assert_close(predicted[row], seen[slot].mean(0))
    assert bank.steps_S.tolist() == [7, 0, 7]
    assert not bank.predict(rows_of(targets[0, :1], (1,))).prediction_RH.any(), "slot 1 has seen nothing"


def test_loss_and_relative_error_are_those_of_the_mean_before_the_step() -> None:
    bank = make_bank()
    first, second = torch.randn(2, 3, H)
    bank.train(rows_of(first, (0, 0, 0)))
    assert bank.loss_S[0].item() == pytest.approx(first.square().mean().item())
    assert bank.relative_error_S[0].item() == pytest.approx(1.0), "a slot that has seen nothing explains nothing"
    bank.train(rows_of(second, (0, 0, 0)))
    error = second - first.mean(0)
    assert bank.loss_S[0].item() == pytest.approx(error.square().mean().item(), rel=1e-5)
    assert bank.relative_error_S[0].item() == pytest.approx((error.norm() / second.norm()).square().item(), rel=1e-5)
    assert bank.loss_S[1:].isnan().all()


@pytest.mark.parametrize("poison", [float("nan"), float("inf")])
def test_rows_that_are_not_finite_do_not_count(poison: float) -> None:
    bank, clean = make_bank(), make_bank()
    target = torch.randn(3, H)
    clean.train(rows_of(target[:2], (1, 1)))
    target[2, 3] = poison
    bank.train(rows_of(target, (1, 1, 1)))
    torch.testing.assert_close(bank.mean_SH, clean.mean_SH)
    assert bank.rows_S.tolist() == clean.rows_S.tolist() == [0, 2, 0]


def test_a_reset_slot_forgets_and_the_others_do_not() -> None:
    bank = make_bank()
    bank.train(rows_of(torch.randn(4, H), (0, 1, 1, 2)))
    kept = bank.mean_SH[[0, 2]].clone()
    bank.reset(1)
    assert not bank.mean_SH[1].any() and bank.loss_S[1].isnan() and bank.steps_S.tolist() == [1, 0, 1]
    assert torch.equal(bank.mean_SH[[0, 2]], kept)
