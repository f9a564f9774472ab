"""What counts as new: successors that siblings have drawn lose, others do not, and groups never see each other."""

import pytest
import torch

from esamp.fork_bonus.config import NoveltyConfig
from esamp.fork_bonus.novelty_score import ForkRows
from esamp.fork_bonus.successor_novelty import SuccessorNovelty
from esamp.fork_bonus.token_trie import TokenTrie

HIDDEN, VOCABULARY = 32, 50


def make_novelty() -> SuccessorNovelty:
    weight = torch.randn(VOCABULARY, HIDDEN, generator=torch.Generator().manual_seed(0))
    novelty = SuccessorNovelty(NoveltyConfig(features=512, max_groups=3), weight)
    for slot in range(3):
        novelty.open(slot)
    return novelty


def rows(states_RH: torch.Tensor, slots: tuple[int, ...]) -> ForkRows:
    return ForkRows(tuple(f"r{i}" for i in range(len(slots))), tuple(map(str, slots)), slots, states_RH)


def states(count: int, seed: int = 1) -> torch.Tensor:
    return torch.randn(count, HIDDEN, generator=torch.Generator().manual_seed(seed))


def test_a_pair_never_seen_is_fully_new_and_falls_like_a_count() -> None:
    """1 / sqrt(1 + n / ridge) after n visits of one pair."""
    novelty = make_novelty()
    novelty._scale.add(states(200, seed=9))
    seen = rows(states(1), (0,))
    token = torch.tensor([[7]])
    frozen = novelty._scale.add  # the scale must not move between visits for the closed form to hold
    novelty._scale.add = lambda states_RH: None  # type: ignore[method-assign]
    for visits in range(4):
        assert novelty.score(seen, token).item() == pytest.approx((1 + visits) ** -0.5, abs=0.01)
        novelty.observe(seen, torch.tensor([7]))
    novelty._scale.add = frozen  # type: ignore[method-assign]


def test_another_token_at_the_same_state_stays_newer_than_the_one_that_was_drawn() -> None:
    novelty = make_novelty()
    novelty._scale.add(states(200, seed=9))
    seen = rows(states(1), (0,))
    for _ in range(8):
        novelty.observe(seen, torch.tensor([7]))
    drawn, other = novelty.score(seen, torch.tensor([[7, 30]]))[0]
    assert drawn < 0.45 < 0.8 < other


def test_what_one_group_has_seen_is_new_to_another() -> None:
    novelty = make_novelty()
    novelty._scale.add(states(200, seed=9))
    state = states(1)
    for _ in range(8):
        novelty.observe(rows(state, (0,)), torch.tensor([7]))
    scores = novelty.score(rows(state.repeat(2, 1), (0, 1)), torch.tensor([[7], [7]]))
    assert scores[0] < 0.5
    assert scores[1] > 0.99


def test_the_trie_counts_tokens_after_the_same_tokens() -> None:
    trie = TokenTrie()
    trie.open(0)
    both = ForkRows(("a", "b"), ("g", "g"), (0, 0), torch.zeros(2, 1))
    assert trie.score(both, torch.tensor([[3, 4], [3, 4]])).tolist() == [[1, 1], [1, 1]]
    trie.observe(both, torch.tensor([3, 3]))
    trie.observe(both, torch.tensor([5, 6]))
    late = ForkRows(("c",), ("g",), (0,), torch.zeros(1, 1))
    assert trie.score(late, torch.tensor([[3, 4]]))[0].tolist() == pytest.approx([3**-0.5, 1])
    trie.observe(late, torch.tensor([3]))
    assert trie.score(late, torch.tensor([[5, 7]]))[0].tolist() == pytest.approx([2**-0.5, 1])
