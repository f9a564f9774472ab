"""How much of beta a slot gets: all of it at once, or as much as it explains of the deep state."""

import pytest
import torch

from esamp.config import ESampConfig
from esamp.distiller.bank import DistillerBank
from esamp.distiller.hidden_rows import HiddenRows
from esamp.distiller.warmup import FitWarmup, NoWarmup, build_warmup

H = 16


def make_bank() -> DistillerBank:
    config = ESampConfig(inner_width=16, learning_rate=1e-2)
    return DistillerBank(config, torch.ones(H), num_slots=3, device=torch.device("cpu"))


def test_without_warmup_beta_is_as_asked_for() -> None:
    beta = torch.tensor([0.25, 3.0])
    assert torch.equal(NoWarmup().scale(beta, make_bank(), torch.tensor([0, 2])), beta)


def test_fit_warmup_is_the_share_of_power_explained() -> None:
    bank = make_bank()
    bank.relative_error_S.copy_(torch.tensor([0.0, 0.25, 1.0]))
    scaled = FitWarmup().scale(torch.tensor([0.4, 0.4, 0.4, 2.0]), bank, torch.tensor([0, 1, 2, 1]))
    assert scaled.tolist() == pytest.approx([0.4, 0.3, 0.0, 1.5])


@pytest.mark.parametrize("error", [float("nan"), float("inf"), 7.0])
def test_a_slot_that_explains_nothing_gets_no_beta(error: float) -> None:
    """Before its first training, after one that ended badly, and while it is worse than predicting zero."""
    bank = make_bank()
    bank.relative_error_S.fill_(error)
    assert FitWarmup().scale(torch.tensor([0.25]), bank, torch.tensor([1])).item() == 0.0


def test_fit_warmup_rises_as_the_slot_learns_and_starts_over_with_it() -> None:
    bank = make_bank()
    source = torch.randn(24, H, generator=torch.Generator().manual_seed(1))
    rows = HiddenRows.of(source, source.tanh(), (1,) * 24)
    strengths = []
    for _ in range(120):
        bank.train(rows)
        strengths.append(FitWarmup().scale(torch.ones(1), bank, torch.tensor([1])).item())
    assert strengths[-1] > strengths[0] + 0.2
    assert max(strengths) <= 1.0
    bank.reset(1)
    assert FitWarmup().scale(torch.ones(1), bank, torch.tensor([1])).item() == 0.0


def test_the_config_chooses_the_rule() -> None:
    assert isinstance(build_warmup(ESampConfig(warmup="fit")), FitWarmup)
    assert isinstance(build_warmup(ESampConfig()), NoWarmup)
