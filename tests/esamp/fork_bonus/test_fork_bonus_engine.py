"""Bonuses at forks in a real engine."""

from pathlib import Path
from typing import Any

import pytest
import torch
from vllm import LLM

from esamp.fork_bonus.config import TrieConfig
from esamp.fork_bonus.novelty_score import ForkRows
from esamp.fork_bonus.policy import ForkBonus, ForkBonusPolicy
from esamp.fork_bonus.token_trie import TokenTrie
from tests.esamp.baselines.baseline_engines import policy_of, start_baseline
from tests.esamp.engine.engines import PROMPTS, generate, params, settle, start_engine

STRONG: dict[str, Any] = {"beta": 30.0, "fork_probability": 1.0}


@pytest.fixture(scope="module")
def trie(tiny_model: Path) -> LLM:
    return start_baseline(tiny_model, "trie", STRONG)


@pytest.fixture(scope="module")
def novelty(tiny_model: Path) -> LLM:
    return start_baseline(tiny_model, "novelty", STRONG)


@pytest.mark.engine
@pytest.mark.parametrize("engine_name", ["trie", "novelty"])
def test_siblings_that_come_later_avoid_what_was_drawn(
    engine_name: str, tiny_model: Path, request: pytest.FixtureRequest
) -> None:
    """One after the other, so that each sees all before: more distinct first tokens than independent samples have."""
    engine: LLM = request.getfixturevalue(engine_name)
    stock = start_engine(tiny_model)

    def distinct(with_engine: LLM, group: str) -> int:
        extra = {"esamp_group": group, "esamp_group_size": 12}
        settings = [params(max_tokens=1, seed=seed, temperature=0.3, extra_args=extra) for seed in range(12)]
        return len({generate(with_engine, [(PROMPTS[1], each)])[0][0][0] for each in settings})

    assert distinct(engine, "g") > distinct(stock, "g") + 1


@pytest.mark.engine
def test_requests_with_a_vanilla_mark_get_stock_tokens(novelty: LLM, tiny_model: Path) -> None:
    vanilla = [(PROMPTS[0], params(seed=5, extra_args={"esamp_vanilla": True}))]
    beside = generate(novelty, [*vanilla, *((PROMPTS[1], params(seed=j)) for j in range(4))])
    assert beside[:1] == generate(start_engine(tiny_model), vanilla)


@pytest.mark.engine
def test_two_hundred_groups_leak_no_slot(trie: LLM) -> None:
    for first in range(0, 200, 20):
        extra = [{"esamp_group": f"g{number}", "esamp_group_size": 9} for number in range(first, first + 20)]
        generate(trie, [(PROMPTS[0], params(max_tokens=2, extra_args=each)) for each in extra])
    settle(trie)
    policy = policy_of(trie)
    assert isinstance(policy, ForkBonusPolicy)
    assert policy.counters().vanilla_groups == 0
    assert policy.counters().live_groups == 0


def test_rows_that_are_sure_and_tokens_beyond_the_candidates_keep_their_logits() -> None:
    trie = TokenTrie()
    trie.open(0)
    rows = ForkRows(("a", "b"), ("g", "g"), (0, 0), torch.zeros(2, 1))
    trie.observe(rows, torch.tensor([0, 0]))
    rows = ForkRows(("c", "d"), ("g", "g"), (0, 0), torch.zeros(2, 1))
    logits = torch.tensor([[9.0, 0.0, -1.0, -2.0], [0.1, 0.0, -1.0, -2.0]])
    bonus = ForkBonus(torch.arange(2), rows, trie, TrieConfig(beta=1.0, candidates=2, fork_probability=0.9))
    changed = bonus(logits.clone(), torch.ones(2))
    assert torch.equal(changed[0], logits[0])
    assert torch.equal(changed[1, 2:], logits[1, 2:])
    assert changed[1, 0] < logits[1, 0]
    assert changed[1, 1] > logits[1, 1]
