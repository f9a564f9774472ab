"""What stands for the deep state: the group's own Distiller, or a control that differs from it in one thing."""

import pytest
import torch

from esamp.config import ESampConfig
from esamp.distiller.bank import DistillerBank
from esamp.distiller.hidden_rows import HiddenRows
from esamp.distiller.predictors import NoisePrediction, OwnPrediction, ShuffledPrediction, build_predictor

H = 12


@pytest.fixture
def bank() -> DistillerBank:
    """Three slots that have learned different things."""
    bank = DistillerBank(
        ESampConfig(inner_width=8, learning_rate=1e-2), torch.ones(H), num_slots=3, device=torch.device("cpu")
    )
    for step in range(20):
        bank.train(rows_of(step, (0, 1, 2), spread=torch.tensor([[1.0], [-2.0], [5.0]])))
    return bank


def rows_of(seed: int, slots: tuple[int, ...], spread: torch.Tensor | float = 1.0) -> HiddenRows:
    source, target = torch.randn(2, len(slots), H, generator=torch.Generator().manual_seed(seed))
    return HiddenRows.of(source, target * spread, slots)


def test_own_prediction_is_the_banks_and_training_can_go_on_from_it(bank: DistillerBank) -> None:
    rows = rows_of(100, (0, 2, 2))
    prediction = OwnPrediction(bank).predict(rows)
    assert prediction.forward is not None
    assert torch.equal(prediction.hidden_RH, bank.predict(rows).prediction_RH)


def test_shuffled_rows_are_predicted_by_the_next_group_in_the_batch(bank: DistillerBank) -> None:
    rows = rows_of(100, (0, 2, 0, 1))
    shuffled = ShuffledPrediction(bank).predict(rows)
    by_others = bank.predict(HiddenRows.of(rows.source_RH, rows.target_RH, (1, 0, 1, 2)))
    torch.testing.assert_close(shuffled.hidden_RH, by_others.prediction_RH)
    assert shuffled.forward is None, "learning must not go on from another group's forward pass"
    assert not torch.allclose(shuffled.hidden_RH, bank.predict(rows).prediction_RH)


def test_a_group_alone_has_nobody_to_be_shuffled_with(bank: DistillerBank) -> None:
    assert ShuffledPrediction(bank).predict(rows_of(100, (1, 1))).hidden_RH.isnan().all()


def test_noise_has_the_length_of_the_error_and_another_direction(bank: DistillerBank) -> None:
    rows = rows_of(100, (0, 1, 2) * 20)
    noise = NoisePrediction(bank, seed=3).predict(rows)
    error = rows.target_RH - bank.predict(rows).prediction_RH
    noisy_error = rows.target_RH - noise.hidden_RH
    torch.testing.assert_close(noisy_error.norm(dim=-1), error.norm(dim=-1))
    cosines = torch.cosine_similarity(noisy_error, error, dim=-1)
    assert cosines.abs().mean() < 0.5, "directions of R^12 are nearly orthogonal on average"
    assert noise.forward is not None, "its Distiller learns as ever, or its error would be another"


def test_noise_is_drawn_from_its_own_generator(bank: DistillerBank) -> None:
    """The global generator draws the tokens of seedless requests: whoever else uses it changes them."""
    rows = rows_of(100, (0, 1))
    before = torch.get_rng_state()
    first, again = (NoisePrediction(bank, seed=3).predict(rows).hidden_RH for _ in range(2))
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(first, again)
    assert not torch.equal(first, NoisePrediction(bank, seed=4).predict(rows).hidden_RH)


@pytest.mark.parametrize(
    ("prediction", "way"),
    [("distiller", OwnPrediction), ("running_mean", OwnPrediction), ("shuffled", ShuffledPrediction)],
)
def test_the_config_chooses_the_way(prediction: str, way: type, bank: DistillerBank) -> None:
    assert isinstance(build_predictor(ESampConfig.from_dict({"prediction": prediction}), bank), way)
