"""Cells and their visits: siblings are spread within a cell, and a sample never meets its own sequence twice."""

from collections import Counter
from itertools import product

import numpy as np
import pytest
import torch
from scipy import stats

from esamp.joint.cells import LatentCells, PrefixCells, SuffixCells
from esamp.joint.visits import GROUPS_KEPT, VisitCounts


def test_visits_of_siblings_to_a_cell_are_spread() -> None:
    visits = VisitCounts(seed=0)
    for j in range(16):
        visits.add("g", f"r{j}")
    u = np.sort([visits.uniform("g", f"r{j}", 7) for j in range(16)])
    assert np.diff(u).min() > 0.38 / 16
    assert np.diff(u).max() < 2.618 / 16


def test_a_sample_that_returns_to_its_cell_draws_an_independent_number() -> None:
    """Of one golden-ratio sequence a fair coin would fall alike twice in a row with .236 and not .5."""
    alike = []
    for group in range(4000):
        visits = VisitCounts(seed=1)
        visits.add(str(group), "r")
        first, second = (visits.uniform(str(group), "r", 7) for _ in range(2))
        alike.append((first < 0.5) == (second < 0.5))
    assert stats.binomtest(sum(alike), len(alike), 0.5).pvalue > 1e-3


def test_numbers_that_are_used_up_stay_so_for_siblings_that_come_later() -> None:
    visits = VisitCounts(seed=0)
    visits.add("g", "a")
    first = visits.uniform("g", "a", 7)
    visits.remove("g", "a")
    visits.add("g", "b")
    assert visits.uniform("g", "b", 7) != first


def test_groups_of_the_past_are_forgotten() -> None:
    visits = VisitCounts(seed=0)
    for g in range(3 * GROUPS_KEPT):
        visits.add(f"g{g}", "r")
        visits.remove(f"g{g}", "r")
    assert len(visits._groups) <= GROUPS_KEPT + 1


def test_alike_states_share_a_cell_and_opposite_ones_do_not() -> None:
    cells = LatentCells(bits=16, centring=0.0, hidden_size=32, seed=0, device=torch.device("cpu"))
    state = torch.randn(32, generator=torch.Generator().manual_seed(0))
    near, far = state + 1e-4, -state
    found = cells.cells(["a", "b", "c"], torch.stack([state, near, far]))
    assert found[0] == found[1] != found[2]
    assert found[0] ^ found[2] == 2**16 - 1


def test_centring_takes_away_what_all_states_share() -> None:
    """States with a large common part fall into few cells until it is subtracted."""
    states = torch.randn(512, 32, generator=torch.Generator().manual_seed(0)) + 20.0
    few = LatentCells(bits=12, centring=0.0, hidden_size=32, seed=0, device=torch.device("cpu"))
    many = LatentCells(bits=12, centring=0.9, hidden_size=32, seed=0, device=torch.device("cpu"))
    names = [""] * 512
    for cells in (few, many):
        cells.cells(names, states)
    assert len(set(many.cells(names, states))) > 5 * len(set(few.cells(names, states)))


def test_prefix_cells_part_with_the_first_token_that_differs_and_suffix_cells_meet_again() -> None:
    prefix, suffix = PrefixCells(), SuffixCells(2)
    none = torch.zeros(2, 1)
    for cells in (prefix, suffix):
        first = cells.cells(["a", "b"], none)
        assert first[0] == first[1]
        for token_a, token_b in [(1, 2), (5, 5), (6, 6)]:
            cells.append("a", token_a)
            cells.append("b", token_b)
    parted, met = prefix.cells(["a", "b"], none), suffix.cells(["a", "b"], none)
    assert parted[0] != parted[1]
    assert met[0] == met[1]


class ForgetfulVisits(VisitCounts):
    """Without the sample's own visits in the key."""

    def uniform(self, group: str, request_id: str, cell: int) -> float:
        self._groups[group].own[request_id].clear()
        return super().uniform(group, request_id, cell)


@pytest.mark.parametrize("steps_apart", [0, 5], ids=["in step", "one after the other"])
@pytest.mark.parametrize(("kind", "is_exact"), [(VisitCounts, True), (ForgetfulVisits, False)])
def test_whole_sequences_of_every_sibling_have_the_distribution_of_the_chain(
    kind: type[VisitCounts], is_exact: bool, steps_apart: int
) -> None:
    """Samples of a Markov chain, each token drawn in the cell of the last one, so that siblings and the sample itself come back to it."""
    num_groups, num_siblings, length = 6_000, 4, 4
    p_zero = [0.5, 0.3, 0.6]  # after no token, 0, 1
    expected = {}
    for sequence in product((0, 1), repeat=length):
        probability = 1.0
        for last, token in zip((-1, *sequence), sequence, strict=False):
            probability *= p_zero[last + 1] if token == 0 else 1 - p_zero[last + 1]
        expected[sequence] = num_groups * probability
    counts = [Counter[tuple[int, ...]]() for _ in range(num_siblings)]
    turns = sorted(
        product(range(num_siblings), range(length)), key=lambda turn: (turn[1] + steps_apart * turn[0], turn)
    )
    visits = kind(seed=0)
    for group in map(str, range(num_groups)):
        drawn: list[list[int]] = [[] for _ in range(num_siblings)]
        for sibling in range(num_siblings):
            visits.add(group, f"{group}/{sibling}")
        for sibling, _ in turns:
            cell = 1 + drawn[sibling][-1] if drawn[sibling] else 0
            uniform = visits.uniform(group, f"{group}/{sibling}", cell)
            drawn[sibling].append(0 if uniform < p_zero[cell] else 1)
        for sibling in range(num_siblings):
            visits.remove(group, f"{group}/{sibling}")
            counts[sibling][tuple(drawn[sibling])] += 1
    chi_squared = [sum((count[key] - mean) ** 2 / mean for key, mean in expected.items()) for count in counts]
    # 15 degrees of freedom: the 1e-6 quantile is 56.
    assert (max(chi_squared) < 56) == is_exact, chi_squared
