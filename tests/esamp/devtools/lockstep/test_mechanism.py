"""Measures of what a Distiller did, on shifts whose truth is known."""

import numpy as np
import pytest
import torch

from esamp.devtools.lockstep.mechanism import auc_within_places, first_divergence, sharpening, visits
from esamp.devtools.lockstep.sampler import LockstepSamples


def made_up(tokens: list[list[int]], shift_of_logits: float, vocabulary: int = 5) -> LockstepSamples:
    """One problem; the shift is so many times the logits."""
    tokens_PNT = torch.tensor([tokens])
    z = torch.randn(*tokens_PNT.shape, vocabulary, generator=torch.Generator().manual_seed(0))
    ones = torch.ones(tokens_PNT.shape)
    return LockstepSamples(tokens_PNT, z.half(), (shift_of_logits * z).half(), ones, ones)


def test_a_change_of_temperature_is_all_slope() -> None:
    found = sharpening(made_up([[1, 2, 3]], 0.25))
    torch.testing.assert_close(found.slope_PNT, torch.full((1, 1, 3), 0.25), rtol=0.01, atol=0.01)
    torch.testing.assert_close(found.explained_PNT, torch.ones(1, 1, 3), rtol=0.01, atol=0.01)
    assert (found.fused_entropy_PNT < found.plain_entropy_PNT).all() and (found.distance_PNT > 0).all()


def test_a_shift_that_has_nothing_to_do_with_the_logits_is_explained_by_no_slope() -> None:
    samples = made_up([[1] * 200], 0.0)
    samples.shifts_PNTV.copy_(torch.randn(samples.shifts_PNTV.shape, generator=torch.Generator().manual_seed(1)))
    found = sharpening(samples)
    assert abs(float(found.slope_PNT.median())) < 0.1
    assert float(found.explained_PNT.mean()) < 0.4  # five tokens: a line fits some of it by luck


def test_visits_count_siblings_of_earlier_waves_with_the_same_prefix_and_see_where_the_shift_leads() -> None:
    samples = made_up([[1, 2, 4], [1, 2, 3], [1, 2, 3], [2, 2, 3]], 0.0)
    samples.shifts_PNTV[0, 2, 2, 3] = samples.shifts_PNTV[0, 2, 2, 4] = 1.0
    found = visits(samples, rounds=2)
    assert found.seen_PNT[0].tolist() == [[-1] * 3, [-1] * 3, [-1, 2, 2], [-1, 0, 0]]
    p = samples.logits_PNTV[0, :2, 2].float().softmax(-1)
    assert found.pull_PNT[0, 2, 2] == pytest.approx(1.0 - float((p[:, 3] + p[:, 4]).mean()), abs=1e-3)
    assert found.pull_PNT[0, 2, 1] == 0 and np.isnan(found.pull_PNT[0, 3]).all()


def test_auc_compares_tokens_at_the_same_place_only() -> None:
    score = np.array([[[0.0, 9.0], [1.0, 8.0], [2.0, 7.0]]])
    label = np.array([[[False, False], [False, False], [True, True]]])
    counted = np.ones_like(label)
    assert auc_within_places(score, label, counted) == 0.5  # above both at one place, below both at the other
    assert auc_within_places(score[..., :1], label[..., :1], counted[..., :1]) == 1.0
    assert np.isnan(auc_within_places(score, np.ones_like(label), counted))


def test_divergence_is_the_first_token_that_differs() -> None:
    a, b = torch.tensor([[[1, 2, 3], [1, 2, 3]]]), torch.tensor([[[1, 2, 3], [1, 5, 3]]])
    assert first_divergence(a, b).tolist() == [[-1, 1]]
