"""The vocabulary-space Distiller: its gradient is autograd's of the KL, and it fits distributions."""

import pytest
import torch

from esamp.config import ESampConfig
from esamp.distiller.hidden_rows import HiddenRows
from esamp.distiller.reference import ReferenceDistiller
from esamp.distiller.vocabulary_distiller import VocabularyDistillerBank

H, V = 16, 30
HEAD = torch.randn(V, H, generator=torch.Generator().manual_seed(5))
GAIN = torch.linspace(0.5, 2.0, H)


def make_bank(**settings: object) -> tuple[VocabularyDistillerBank, ESampConfig]:
    config = ESampConfig.from_dict({"inner_width": 8, "prediction": "vocabulary", "learning_rate": 1e-2, **settings})
    bank = VocabularyDistillerBank(config, GAIN, num_slots=3, device=torch.device("cpu"), head_weight_VH=HEAD)
    return bank, config


def rows_of(seed: int, slots: tuple[int, ...]) -> HiddenRows:
    source, target = torch.randn(2, len(slots), H, generator=torch.Generator().manual_seed(seed))
    return HiddenRows.of(source * 2, target, slots)


def divergence(distiller: ReferenceDistiller, rows: HiddenRows, mine: list[int]) -> torch.Tensor:
    """KL(model || distiller) in nats, averaged over the rows `mine`."""
    logp = (rows.target_RH[mine] @ HEAD.T).log_softmax(-1)
    logq = (distiller(rows.source_RH[mine]) @ HEAD.T).log_softmax(-1)
    return torch.nn.functional.kl_div(logq, logp, log_target=True, reduction="batchmean")


@pytest.mark.parametrize("num_blocks", [1, 2])
def test_the_gradient_is_that_of_autograd(num_blocks: int) -> None:
    bank, config = make_bank(num_blocks=num_blocks, clip_norm=1e6)
    slots = (0, 2, 0, 0)
    rows = rows_of(1, slots)
    bank.train(rows)
    for slot in (0, 2):
        reference = ReferenceDistiller(config, GAIN)
        loss = divergence(reference, rows, [row for row, s in enumerate(slots) if s == slot])
        loss.backward()
        assert bank.loss_S[slot].item() == pytest.approx(loss.item(), rel=1e-4)
        up_gate, down, gain = bank.layout.split(bank.gradient_SP[slot : slot + 1])
        for b in range(num_blocks):
            torch.testing.assert_close(up_gate[0, b], reference.up_gate[b].grad, rtol=1e-3, atol=1e-5)
            torch.testing.assert_close(down[0, b], reference.down[b].grad, rtol=1e-3, atol=1e-5)
        torch.testing.assert_close(gain[0], reference.gain.grad, rtol=1e-3, atol=1e-5)


def test_a_distiller_that_predicts_the_state_has_nothing_to_learn() -> None:
    bank, _ = make_bank()
    rows = rows_of(2, (0, 0))
    exact = bank.predict(rows)
    perfect = HiddenRows.of(rows.source_RH, exact.prediction_RH, (0, 0))
    bank.train(perfect, exact)
    assert bank.loss_S[0].item() == pytest.approx(0.0, abs=1e-6)
    assert bank.gradient_SP[0].abs().max() < 1e-6


def test_the_divergence_falls_on_a_repeated_mapping() -> None:
    bank, _ = make_bank()
    rows = rows_of(3, (1,) * 16)
    losses = []
    for _ in range(150):
        bank.train(rows)
        losses.append(bank.loss_S[1].item())
    assert losses[-1] < 0.5 * losses[0]


def test_rows_that_are_not_finite_neither_train_nor_poison() -> None:
    clean, bank = make_bank()[0], make_bank()[0]
    rows = rows_of(4, (0, 0, 0))
    clean.train(HiddenRows.of(rows.source_RH[:2], rows.target_RH[:2], (0, 0)))
    target = rows.target_RH.clone()
    target[2, 1] = torch.nan
    bank.train(HiddenRows.of(rows.source_RH, target, (0, 0, 0)))
    torch.testing.assert_close(bank.theta_SP, clean.theta_SP)
    assert bank.diverged_slots == 0
