"""Draws by inversion: exact marginals for whole sequences, stratified first tokens, and remainders that stay uniform."""

import math

import numpy as np
import torch
from scipy import stats
from torch import Tensor

from esamp.joint.codes import GroupCodes
from esamp.joint.inverse_cdf import draw_at
from esamp.joint.random_bits import uniform_at


def fill(num_rows: int, position: int, key: int = 0) -> Tensor:
    return uniform_at(torch.arange(num_rows) + key * 1_000_003, torch.full((num_rows,), position))


def next_logits(tokens_RT: Tensor) -> Tensor:
    """A small language model: five tokens, whose logits depend on all tokens before."""
    state_R = (tokens_RT * torch.tensor([3**t for t in range(tokens_RT.shape[1])])).sum(-1) if tokens_RT.numel() else 0
    table = torch.linspace(-1.5, 1.5, 5)
    return torch.stack([torch.roll(table, int(s) % 5) * (1 + int(s) % 3) for s in state_R.tolist()])


def sequences(uniform_R: Tensor, *, length: int, key: int = 0) -> tuple[Tensor, Tensor]:
    tokens_RT = torch.zeros(len(uniform_R), 0, dtype=torch.long)
    for position in range(length):
        logits_RV = next_logits(tokens_RT) if position else torch.linspace(-1, 1, 5).expand(len(uniform_R), 5)
        drawn = draw_at(logits_RV, uniform_R, fill(len(uniform_R), position, key))
        tokens_RT = torch.cat([tokens_RT, drawn.tokens_R.unsqueeze(1)], 1)
        uniform_R = drawn.remainder_R
    return tokens_RT, uniform_R


def exact_probabilities(length: int) -> Tensor:
    """[5^length] probability of each sequence, by multiplying conditionals."""
    prefixes, probabilities = torch.zeros(1, 0, dtype=torch.long), torch.ones(1, dtype=torch.float64)
    for position in range(length):
        logits = next_logits(prefixes) if position else torch.linspace(-1, 1, 5).expand(1, 5)
        conditional = torch.softmax(logits.double(), -1)
        probabilities = (probabilities.unsqueeze(1) * conditional).flatten()
        prefixes = torch.cat([prefixes.repeat_interleave(5, 0), torch.arange(5).repeat(len(prefixes)).unsqueeze(1)], 1)
    return probabilities


def test_whole_sequences_of_any_sibling_have_the_models_marginal() -> None:
    """Chi-squared over group offsets, for the sibling with index 11: coupling with siblings must not show in it."""
    uniform_R = torch.tensor([GroupCodes.of(seed, "p").uniform(11) for seed in range(20_000)], dtype=torch.float64)
    tokens_RT, _ = sequences(uniform_R, length=3)
    observed = torch.bincount((tokens_RT * torch.tensor([25, 5, 1])).sum(-1), minlength=125)
    expected = exact_probabilities(3) * len(uniform_R)
    assert stats.chisquare(observed.numpy(), expected.numpy()).pvalue > 1e-3


def test_first_tokens_of_siblings_are_stratified() -> None:
    """Each token comes as often as its probability says, to within the few samples a golden-ratio sequence may be off."""
    codes = GroupCodes.of(5, "p")
    uniform_R = torch.tensor([codes.uniform(j) for j in range(64)], dtype=torch.float64)
    logits = torch.linspace(-1, 1, 5)
    drawn = draw_at(logits.expand(64, 5), uniform_R, fill(64, 0))
    counts = torch.bincount(drawn.tokens_R, minlength=5).double()
    assert (counts - 64 * torch.softmax(logits.double(), -1)).abs().max() < 3
    independent = torch.multinomial(
        torch.softmax(logits, -1), 64, replacement=True, generator=torch.Generator().manual_seed(1)
    )
    assert (torch.bincount(independent, minlength=5) - 64 * torch.softmax(logits, -1)).abs().max() > 3


def test_remainders_stay_uniform_over_thousands_of_tokens() -> None:
    """A token of probability p uses up log2(1/p) bits: without fresh ones u would be used up after some 40 tokens here."""
    uniform_R = torch.tensor([GroupCodes.of(seed, "p").uniform(0) for seed in range(64)], dtype=torch.float64)
    logits_RV = torch.linspace(-1, 1, 5).expand(64, 5)
    seen = []
    for position in range(2000):
        drawn = draw_at(logits_RV, uniform_R, fill(64, position))
        uniform_R = drawn.remainder_R
        if position >= 1000:
            seen.append(uniform_R)
    sample = torch.cat(seen)[::7]
    assert stats.kstest(sample.numpy(), "uniform").pvalue > 1e-3
    assert len(torch.unique(sample)) > 0.999 * len(sample)


def test_a_code_is_not_used_up_by_tokens_whose_probabilities_are_powers_of_two() -> None:
    """Four equal tokens take two bits each, with nothing rounded: after 27 of them only fresh bits are left."""
    uniform_R = torch.tensor([GroupCodes.of(seed, "p").uniform(0) for seed in range(256)], dtype=torch.float64)
    counts_V = torch.zeros(4)
    for position in range(60):
        drawn = draw_at(torch.zeros(256, 4), uniform_R, fill(256, position))
        uniform_R = drawn.remainder_R
        if position >= 30:
            counts_V += torch.bincount(drawn.tokens_R, minlength=4)
    assert stats.chisquare(counts_V.numpy()).pvalue > 1e-3


def test_filtered_tokens_are_never_drawn_not_even_at_the_ends() -> None:
    logits_RV = torch.full((3, 7), -torch.inf)
    logits_RV[:, 2], logits_RV[:, 4] = 0.0, 0.0
    drawn = draw_at(logits_RV, torch.tensor([0.0, 0.5, 1 - 2.0**-53], dtype=torch.float64), fill(3, 0))
    assert drawn.tokens_R.tolist() == [2, 4, 4]
    assert torch.allclose(drawn.logprobs_R, torch.full((3,), math.log(0.5)))


def test_log_probabilities_are_those_of_the_softmax() -> None:
    logits_RV = torch.randn(50, 1000, generator=torch.Generator().manual_seed(2)) * 4
    drawn = draw_at(logits_RV, uniform_at(torch.arange(50), torch.zeros(50, dtype=torch.long)), fill(50, 1))
    expected = torch.log_softmax(logits_RV, -1).gather(1, drawn.tokens_R.unsqueeze(1)).squeeze(1)
    assert torch.allclose(drawn.logprobs_R, expected, atol=1e-5)


def test_random_bits_are_those_of_splitmix64() -> None:
    """Against the generator in plain Python integers."""

    def reference(key: int, position: int) -> float:
        z = (key + (position + 1) * 0x9E3779B97F4A7C15) % 2**64
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) % 2**64
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) % 2**64
        return ((z ^ (z >> 31)) >> 11) * 2.0**-53

    keys, positions = [0, 1, -5, 2**62, -(2**63)], [0, 3, 10**6, 2**40, 9]
    found = uniform_at(torch.tensor(keys), torch.tensor(positions))
    assert found.tolist() == [reference(key, position) for key, position in zip(keys, positions, strict=True)]
    assert np.isclose(
        uniform_at(torch.arange(10_000), torch.zeros(10_000, dtype=torch.long)).mean().item(), 0.5, atol=0.02
    )
