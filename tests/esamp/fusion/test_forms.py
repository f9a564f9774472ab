"""Fusion against the closed form, and its limits."""

import math

import pytest
import torch

from esamp.config import ESampConfig
from esamp.distiller.reference import fused_distribution
from esamp.fusion.forms import (
    ClampedFusion,
    EntropyMatchedTemperature,
    Fusion,
    ProposedFusion,
    SubtractionFusion,
    build_fusion,
    entropy,
)

fuse = ProposedFusion().fuse
FORMS = [ProposedFusion(), SubtractionFusion(), ClampedFusion(0.5), EntropyMatchedTemperature()]


def name_of(fusion: object) -> str:
    return type(fusion).__name__


def filtered_logits(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Model's and Distiller's logits of 8 rows; the later the row, the more of its entries are filtered out."""
    z_ref, z_dist = torch.randn(2, 8, 60, generator=torch.Generator().manual_seed(seed)) * 3
    for row in range(8):
        z_ref[row, 60 - 8 * row :] = -torch.inf
    return z_ref, z_dist


@pytest.mark.parametrize("temperature", [0.5, 1.0, 1.7])
@pytest.mark.parametrize("beta", [0.1, 0.25, 1.0, 4.0])
def test_fused_distribution_is_the_closed_form(beta: float, temperature: float) -> None:
    generator = torch.Generator().manual_seed(0)
    z_ref, z_dist = torch.randn(2, 16, 300, generator=generator) * 3
    fused = fuse(z_ref / temperature, z_dist / temperature, torch.full((16,), beta)).softmax(-1)
    for row in range(16):
        expected = fused_distribution(z_ref[row], z_dist[row], beta=beta, temperature=temperature)
        torch.testing.assert_close(fused[row].double(), expected, rtol=0, atol=1e-5)


def test_a_perfect_prediction_changes_no_bit() -> None:
    z = torch.randn(4, 50)
    assert torch.equal(fuse(z, z.clone(), torch.full((4,), 3.0)), z)


def test_beta_zero_rows_change_no_bit_whatever_the_distiller_says() -> None:
    z = torch.randn(2, 50)
    z[0, :7] = -torch.inf
    assert torch.equal(fuse(z, torch.randn(2, 50), torch.zeros(2)), z)


def test_a_flat_prediction_sharpens_like_a_lower_temperature() -> None:
    z = torch.randn(3, 40)
    fused = fuse(z, torch.full_like(z, 2.5), torch.full((3,), 0.25)).softmax(-1)
    torch.testing.assert_close(fused, (z * 1.25).softmax(-1))


def test_tokens_outside_the_candidates_stay_impossible() -> None:
    z = torch.randn(3, 40)
    z[:, 10:] = -torch.inf
    fused = fuse(z, torch.full_like(z, -1e4), torch.full((3,), 2.0))
    assert torch.isneginf(fused[:, 10:]).all() and torch.isfinite(fused[:, :10]).all()


@pytest.mark.parametrize("form", FORMS, ids=name_of)
def test_every_form_leaves_beta_zero_rows_to_the_last_bit(form: Fusion) -> None:
    z_ref, z_dist = filtered_logits()
    beta = torch.tensor([0.0, 0.7] * 4)
    fused = form.fuse(z_ref, z_dist, beta)
    assert torch.equal(fused[0::2], z_ref[0::2])
    assert not torch.equal(fused[1::2], z_ref[1::2])


@pytest.mark.parametrize("form", FORMS, ids=name_of)
def test_every_form_keeps_the_candidates(form: Fusion) -> None:
    z_ref, z_dist = filtered_logits()
    fused = form.fuse(z_ref, z_dist * 50, torch.full((8,), 2.0))
    assert torch.equal(torch.isneginf(fused), torch.isneginf(z_ref))
    assert not fused.isnan().any()


@pytest.mark.parametrize("form", FORMS, ids=name_of)
def test_a_shift_of_the_distillers_whole_row_changes_no_probability(form: Fusion) -> None:
    """Logits are known up to a constant: a form that depended on it would depend on an accident of the head."""
    z_ref, z_dist = filtered_logits()
    beta = torch.full((8,), 0.7)
    torch.testing.assert_close(
        form.fuse(z_ref, z_dist + 4.0, beta).softmax(-1),
        form.fuse(z_ref, z_dist, beta).softmax(-1),
        rtol=1e-4,
        atol=1e-5,
    )


def test_subtraction_is_the_closed_form_of_its_ablation() -> None:
    """pi_ref / q^beta: the model's half of the reward is missing."""
    z_ref, z_dist = torch.randn(2, 4, 30)
    wanted = (z_ref.double().log_softmax(-1) - 0.4 * z_dist.double().log_softmax(-1)).softmax(-1)
    fused = SubtractionFusion().fuse(z_ref, z_dist, torch.full((4,), 0.4)).softmax(-1)
    torch.testing.assert_close(fused.double(), wanted, rtol=0, atol=1e-5)


def test_clamped_shifts_stay_within_the_limit_of_the_rows_mean() -> None:
    z_ref, z_dist = filtered_logits()
    fused = ClampedFusion(0.5).fuse(z_ref, z_dist, torch.full((8,), 3.0))
    shift = (fused - z_ref)[~torch.isneginf(z_ref)]
    assert shift.abs().max() == pytest.approx(0.5, abs=1e-5)
    assert (shift.abs() < 0.45).any(), "small shifts are not rounded up to the limit"


def test_clamped_with_room_enough_is_the_proposed_form() -> None:
    z_ref, z_dist = filtered_logits()
    beta = torch.full((8,), 0.3)
    torch.testing.assert_close(
        ClampedFusion(1e3).fuse(z_ref, z_dist, beta).softmax(-1), fuse(z_ref, z_dist, beta).softmax(-1)
    )


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
@pytest.mark.parametrize("beta", [0.1, 0.25, 1.0, 4.0])
def test_entropy_matched_rows_have_the_entropy_of_the_proposed_form(beta: float, temperature: float) -> None:
    """Also where fusing flattens: a Distiller surer than the model raises the entropy."""
    z_ref, z_dist = (z / temperature for z in filtered_logits(1))
    z_dist[4:] = z_ref[4:].nan_to_num(neginf=0.0) * 1.5
    strength = torch.full((8,), beta)
    wanted = entropy(fuse(z_ref, z_dist, strength))
    matched = EntropyMatchedTemperature().fuse(z_ref, z_dist, strength)
    torch.testing.assert_close(entropy(matched), wanted, rtol=0, atol=1e-4)
    assert (wanted[4:] > entropy(z_ref)[4:]).any() or beta > 1


def test_entropy_matching_only_ever_changes_the_temperature() -> None:
    z_ref, z_dist = filtered_logits()
    matched = EntropyMatchedTemperature().fuse(z_ref, z_dist, torch.full((8,), 0.7))
    for row in range(8):
        is_candidate = ~torch.isneginf(z_ref[row])
        before, after = z_ref[row, is_candidate], matched[row, is_candidate]
        is_rival = before < before.max()
        inverse_temperature = (after - after.max())[is_rival] / (before - before.max())[is_rival]
        torch.testing.assert_close(inverse_temperature, inverse_temperature[:1].expand_as(inverse_temperature))


def test_entropy_has_its_limits() -> None:
    flat, certain = torch.zeros(1, 8), torch.tensor([[0.0] + [-torch.inf] * 7])
    assert entropy(flat).item() == pytest.approx(math.log(8))
    assert entropy(certain).item() == 0.0


@pytest.mark.parametrize(
    ("name", "form"), list(zip(["proposed", "subtraction", "clamped", "entropy_matched"], FORMS, strict=True))
)
def test_the_config_chooses_the_form(name: str, form: Fusion) -> None:
    built = build_fusion(ESampConfig.from_dict({"fusion": name, "max_shift": 0.5}))
    assert type(built) is type(form)
    assert not isinstance(built, ClampedFusion) or built.limit == 0.5


def test_a_directional_shift_is_uncorrelated_with_the_models_logits() -> None:
    """What it moves is no temperature: to first order, the entropy stays."""
    generator = torch.Generator().manual_seed(3)
    z_ref, z_dist = torch.randn(2, 5, 40, generator=generator) * 2
    z_ref[:, 30:] = -torch.inf
    beta = torch.full((5,), 1e-3)
    form = build_fusion(ESampConfig(fusion="directional"))
    change = (form.fuse(z_ref, z_dist, beta) - z_ref)[:, :30]
    p, z = z_ref[:, :30].softmax(-1), z_ref[:, :30]
    covariance = (p * change * z).sum(-1) - (p * change).sum(-1) * (p * z).sum(-1)
    assert covariance.abs().max() < 1e-6
    proposed = build_fusion(ESampConfig()).fuse(z_ref, z_dist, beta)
    drift = entropy(form.fuse(z_ref, z_dist, beta)) - entropy(z_ref)
    assert (drift.abs() < 0.05 * (entropy(proposed) - entropy(z_ref)).abs()).all()


def test_a_directional_shift_of_a_temperature_is_nothing() -> None:
    z_ref = torch.randn(3, 20, generator=torch.Generator().manual_seed(4))
    fused = build_fusion(ESampConfig(fusion="directional")).fuse(z_ref, 0.3 * z_ref, torch.full((3,), 0.5))
    assert torch.allclose(fused.log_softmax(-1), z_ref.log_softmax(-1), atol=1e-5)
