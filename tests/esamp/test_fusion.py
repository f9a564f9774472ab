"""Fusion against the closed form, and its limits."""

import pytest
import torch

from esamp.fusion import ProposedFusion, stale_beta
from esamp.reference import fused_distribution

fuse = ProposedFusion().fuse


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


def test_beta_fades_with_staleness() -> None:
    assert [stale_beta(0.4, lag, 8) for lag in (1, 4, 6, 8, 100)] == pytest.approx([0.4, 0.4, 0.2, 0.0, 0.0])
