"""Cells and their visits: siblings are spread within a cell, and a sample never meets its own sequence twice."""

import numpy as np
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
