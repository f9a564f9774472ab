"""Recursive least squares: the exact fit after every row, slots that never touch each other, and precision over many rows."""

import pytest
import torch

from esamp.config import ESampConfig
from esamp.distiller.hidden_rows import HiddenRows
from esamp.distiller.rls import RecursiveLeastSquaresBank

HIDDEN = 24


def make_bank(*, num_slots: int = 4, features: int = 16, **settings: float) -> RecursiveLeastSquaresBank:
    config = ESampConfig(distiller="rls", rls_features=features, **settings)  # type: ignore[arg-type]
    return RecursiveLeastSquaresBank(config, HIDDEN, num_slots=num_slots, device=torch.device("cpu"))


def rows(slots: tuple[int, ...], seed: int) -> HiddenRows:
    generator = torch.Generator().manual_seed(seed)
    source = torch.randn(len(slots), HIDDEN, generator=generator) * torch.linspace(0.1, 30, HIDDEN)
    mixing = torch.randn(HIDDEN, HIDDEN, generator=torch.Generator().manual_seed(99))
    return HiddenRows.of(source, source @ mixing, slots)


def ridge_fit(bank: RecursiveLeastSquaresBank, seen: list[HiddenRows], slot: int) -> torch.Tensor:
    """[D, H] the batch solution of (sum phi' phi + ridge I) W = sum phi' y, in fp64, on the bank's own features."""
    phi, target = [], []
    for step in seen:
        keep = [row for row, its_slot in enumerate(step.slots) if its_slot == slot]
        if keep:
            alone = HiddenRows.of(step.source_RH[keep], step.target_RH[keep], (slot,) * len(keep))
            phi.append(bank._features(alone)[0].double())
            target.append(alone.target_RH.double())
    phi_RD, target_RH = torch.cat(phi), torch.cat(target)
    gram = phi_RD.T @ phi_RD + bank.config.rls_ridge * torch.eye(phi_RD.shape[1], dtype=torch.float64)
    return torch.linalg.solve(gram, phi_RD.T @ target_RH)


@pytest.mark.parametrize("num_steps", [1, 7, 60])
def test_it_is_the_ridge_regression_of_all_rows_seen(num_steps: int) -> None:
    bank = make_bank()
    seen = [rows((0, 0, 2, 2, 2), seed) for seed in range(num_steps)]
    for step in seen:
        bank.train(step)
    for slot in (0, 2):
        assert torch.allclose(bank.weights_SDH[slot].double(), ridge_fit(bank, seen, slot), rtol=2e-3, atol=2e-3)


def test_ten_thousand_rows_keep_single_precision_within_a_thousandth_of_double() -> None:
    bank = make_bank(num_slots=1)
    seen = [rows((0,) * 16, seed) for seed in range(625)]
    for step in seen:
        bank.train(step)
    exact = ridge_fit(bank, seen, 0)
    assert (bank.weights_SDH[0].double() - exact).norm() / exact.norm() < 1e-3
    eigenvalues = torch.linalg.eigvalsh(bank.covariance_SDD[0].double())
    assert eigenvalues.min() > 0


def test_a_prediction_is_that_of_the_rows_own_slot_whatever_shares_the_batch() -> None:
    bank = make_bank()
    for seed in range(5):
        bank.train(rows((0, 1, 1, 3), seed))
    asked = rows((3, 0, 1), 77)
    together = bank.predict(asked).prediction_RH
    alone = [
        bank.predict(HiddenRows.of(asked.source_RH[[r]], asked.target_RH[[r]], (slot,))).prediction_RH[0]
        for r, slot in enumerate((3, 0, 1))
    ]
    assert torch.allclose(together, torch.stack(alone), atol=1e-4)


def test_training_one_slot_changes_no_bit_of_another() -> None:
    bank = make_bank()
    bank.train(rows((0, 1, 2), 0))
    before = bank.weights_SDH[1].clone(), bank.covariance_SDD[1].clone()
    bank.train(rows((0, 2, 2), 1))
    assert torch.equal(before[0], bank.weights_SDH[1])
    assert torch.equal(before[1], bank.covariance_SDD[1])


def test_a_slot_that_was_reset_equals_a_new_one() -> None:
    bank = make_bank()
    bank.train(rows((0, 1), 0))
    bank.reset(1)
    assert not bank.weights_SDH[1].any()
    assert torch.equal(bank.covariance_SDD[1], bank.covariance_SDD[3])
    assert bank.predict(rows((1,), 5)).prediction_RH.abs().max() == 0


def test_uncertainty_falls_where_rows_were_seen_and_stays_elsewhere() -> None:
    bank = make_bank(features=64)
    bank.train(rows((0, 0), 0))  # fixes the scale
    seen, new = rows((0,) * 4, 1), rows((0,) * 4, 2)
    before = bank.uncertainty(seen), bank.uncertainty(new)
    for _ in range(20):
        bank.train(seen)
    assert (bank.uncertainty(seen) < 0.4 * before[0]).all()
    assert (bank.uncertainty(new) > 0.5 * before[1]).all()


def test_rows_that_are_not_finite_teach_nothing() -> None:
    bank, clean = make_bank(), make_bank()
    good = rows((0, 1), 0)
    bad = HiddenRows.of(
        torch.cat([good.source_RH, torch.full((1, HIDDEN), torch.nan)]),
        torch.cat([good.target_RH, torch.ones(1, HIDDEN)]),
        (0, 1, 1),
    )
    clean.train(good)
    clean_state = clean._scale
    bank.train(bad)
    assert torch.isfinite(bank.weights_SDH).all()
    assert int(bank.diverged_slots) == 0
    assert torch.isfinite(clean_state._mean_H).all()


def test_forgetting_follows_a_map_that_changes_and_stays_bounded() -> None:
    forgetting, keeping = make_bank(features=48, rls_forgetting=0.8), make_bank(features=48)
    for bank in (forgetting, keeping):
        for seed in range(40):
            bank.train(rows((0,) * 4, seed))
    for seed in range(40, 80):
        step = rows((0,) * 4, seed)
        for bank in (forgetting, keeping):
            bank.train(HiddenRows.of(step.source_RH, -step.target_RH, step.slots))
    assert forgetting.relative_error_S[0] < 0.5 * keeping.relative_error_S[0]
    for _ in range(500):
        forgetting.train(rows((0,), 0))
    new_slot = forgetting.covariance_SDD[1].diagonal().sum()
    assert forgetting.covariance_SDD[0].diagonal().sum() <= new_slot
