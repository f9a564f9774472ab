"""Joint draws in a real engine: exact marginals, stratified siblings, codes that no schedule changes."""

from pathlib import Path
from typing import Any

import pytest
import torch
from scipy.stats import chisquare
from transformers import AutoModelForCausalLM
from vllm import LLM, SamplingParams

from esamp.joint.quasi import QuasiPolicy
from tests.esamp.baselines.baseline_engines import (
    CROWD,
    TIGHT,
    count_preemptions,
    policy_of,
    records_of,
    start_baseline,
)
from tests.esamp.engine.engines import PROMPTS, generate, params, settle, start_engine

pytestmark = pytest.mark.engine


@pytest.fixture(scope="module")
def quasi(tiny_model: Path) -> LLM:
    return start_baseline(tiny_model, "quasi", {"seed": 4})


@pytest.fixture(scope="module")
def latent_of_layer_2(tiny_model: Path) -> LLM:
    return start_baseline(tiny_model, "latent", {"seed": 4, "bits": 8, "source_depth": 0.6})


@pytest.fixture(scope="module")
def latent(tiny_model: Path) -> LLM:
    return start_baseline(tiny_model, "latent", {"seed": 4, "bits": 8})


def sibling(group: str, index: int, **settings: Any) -> SamplingParams:
    return params(extra_args={"esamp_group": group, "esamp_sample": index}, **settings)


def model_probabilities(model: Path, prompt: list[int], temperature: float) -> torch.Tensor:
    """[V] of the first token, by transformers."""
    plain = AutoModelForCausalLM.from_pretrained(model)
    with torch.no_grad():
        return torch.softmax(plain(torch.tensor([prompt])).logits[0, -1].double() / temperature, -1)


def assert_drawn_from(counts_V: torch.Tensor, p_V: torch.Tensor) -> None:
    """Chi-squared; tokens expected fewer than five times count as one."""
    expected_V = p_V * counts_V.sum()
    rare_V = expected_V < 5
    observed = torch.cat([counts_V[~rare_V], counts_V[rare_V].sum().unsqueeze(0)])
    expected = torch.cat([expected_V[~rare_V], expected_V[rare_V].sum().unsqueeze(0)])
    assert chisquare(observed.numpy(), expected.numpy()).pvalue > 1e-3


@pytest.mark.parametrize("engine_name", ["quasi", "latent", "latent_of_layer_2"])
def test_a_sibling_alone_is_a_sample_of_the_model(
    engine_name: str, tiny_model: Path, request: pytest.FixtureRequest
) -> None:
    """Over 2,000 groups, the first token of the sibling with index 5, whose four siblings run beside it in some of them."""
    engine: LLM = request.getfixturevalue(engine_name)
    requests = [(PROMPTS[0], sibling(f"m{g}", 5, max_tokens=1, temperature=0.8)) for g in range(2000)]
    requests += [(PROMPTS[0], sibling(f"m{g}", j, max_tokens=1, temperature=0.8)) for g in range(100) for j in range(4)]
    tokens = torch.tensor([samples[0][0] for samples in generate(engine, requests)[:2000]])
    assert_drawn_from(torch.bincount(tokens, minlength=128).double(), model_probabilities(tiny_model, PROMPTS[0], 0.8))


@pytest.mark.parametrize("engine_name", ["quasi", "latent"])
def test_first_tokens_of_siblings_share_out_the_probability(
    engine_name: str, tiny_model: Path, request: pytest.FixtureRequest
) -> None:
    engine: LLM = request.getfixturevalue(engine_name)
    requests = [(PROMPTS[1], sibling("stratified", j, max_tokens=1)) for j in range(256)]
    tokens = torch.tensor([samples[0][0] for samples in generate(engine, requests)])
    counts_V = torch.bincount(tokens, minlength=128).double()
    expected_V = 256 * model_probabilities(tiny_model, PROMPTS[1], 1.0)
    # Golden-ratio points: off by about log N at the most, where independent draws are off by sqrt(N p).
    assert (counts_V - expected_V).abs().max() < 4


def test_cells_may_be_made_of_the_state_after_another_layer(
    latent: LLM, latent_of_layer_2: LLM, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The cells get the residual stream after layer 2 of 3, which is not what lm_head reads."""
    seen: dict[str, list[torch.Tensor]] = {}
    for name, engine in {"last": latent, "layer 2": latent_of_layer_2}.items():
        cells = policy_of(engine)._cells
        states = seen.setdefault(name, [])
        make = cells.cells
        monkeypatch.setattr(cells, "cells", lambda ids, h, make=make, states=states: states.append(h) or make(ids, h))
        generate(engine, [(PROMPTS[1], sibling("layers", 0, max_tokens=2))])
    assert policy_of(latent_of_layer_2).source_layer == 2
    assert seen["last"][0].shape == seen["layer 2"][0].shape
    assert not torch.allclose(seen["last"][0], seen["layer 2"][0])


def test_no_schedule_changes_a_sample(quasi: LLM, tiny_model: Path) -> None:
    """Alone, in another order, and in an engine that preempts: the codes are the samples' own."""
    requests = [(prompt, sibling(f"p{i}", i, max_tokens=40)) for i, prompt in enumerate(CROWD)]
    together = generate(quasi, requests)
    assert [generate(quasi, [request])[0] for request in requests] == together
    tight = start_baseline(tiny_model, "quasi", {"seed": 4}, **TIGHT)
    preempted = count_preemptions(tight)
    assert generate(tight, requests[::-1])[::-1] == together
    assert preempted


def test_children_of_one_request_are_siblings_in_order_of_arrival(quasi: LLM) -> None:
    """vLLM gives n > 1 children the same extra_args: they take the indices that requests of their own would have named."""
    [children] = generate(quasi, [(PROMPTS[2], params(n=6, extra_args={"esamp_group": "children"}))])
    named = generate(quasi, [(PROMPTS[2], sibling("children", j)) for j in range(6)])
    assert children == [samples[0] for samples in named]
    assert len({tuple(tokens) for tokens in children}) == 6


def test_vanilla_and_greedy_requests_beside_siblings_get_stock_tokens(quasi: LLM, tiny_model: Path) -> None:
    others = [
        (PROMPTS[0], params(seed=5, extra_args={"esamp_vanilla": True})),
        (PROMPTS[3], params(temperature=0.0)),
    ]
    beside = generate(quasi, [*others, *((PROMPTS[1], sibling("beside", j)) for j in range(5))])[:2]
    assert beside == generate(start_engine(tiny_model), others)


def test_recorded_log_probabilities_are_the_models_own(quasi: LLM, tiny_model: Path) -> None:
    """On-policy: behaviour is the model at the request's temperature, and no filter or processor stands between."""
    arguments = {"esamp_group": "recorded", "esamp_sample": 2, "esamp_record": "recorded"}
    [[tokens]] = generate(quasi, [(PROMPTS[0], params(temperature=0.7, extra_args=arguments))])
    [record] = records_of(quasi, ["recorded"])
    model = AutoModelForCausalLM.from_pretrained(tiny_model)
    with torch.no_grad():
        logits = model(torch.tensor([PROMPTS[0] + tokens])).logits[0, len(PROMPTS[0]) - 1 : -1]
    expected = torch.log_softmax(logits / 0.7, -1).gather(1, torch.tensor(tokens).unsqueeze(1)).squeeze(1)
    assert torch.allclose(torch.tensor(record["behaviour_logprobs"]), expected, atol=1e-3)
    assert not any(record["flipped"])


def test_filtered_tokens_are_never_drawn(quasi: LLM, tiny_model: Path) -> None:
    requests = [(PROMPTS[1], sibling("filtered", j, max_tokens=1, top_k=3)) for j in range(64)]
    drawn = {samples[0][0] for samples in generate(quasi, requests)}
    likely = model_probabilities(tiny_model, PROMPTS[1], 1.0).topk(3).indices.tolist()
    assert drawn == set(likely)


def test_a_code_that_starts_later_leaves_earlier_tokens_to_independent_draws(quasi: LLM, tiny_model: Path) -> None:
    later = start_baseline(tiny_model, "quasi", {"seed": 4, "start": "token 2"})
    requests = [(PROMPTS[1], sibling("late", j, max_tokens=3)) for j in range(256)]
    tokens = torch.tensor([samples[0] for samples in generate(later, requests)])
    p_V = model_probabilities(tiny_model, PROMPTS[1], 1.0)
    first_V = torch.bincount(tokens[:, 0], minlength=128).double()
    assert_drawn_from(first_V, p_V)
    assert (first_V - 256 * p_V).abs().max() > 4, "first tokens must not be stratified"


def test_requests_that_end_leave_nothing_behind(quasi: LLM) -> None:
    generate(quasi, [(PROMPTS[0], sibling(f"leak{g}", g)) for g in range(40)])
    settle(quasi)
    policy = policy_of(quasi)
    assert isinstance(policy, QuasiPolicy)
    assert not policy._states
    assert len(policy._table._free) == len(policy._table.code_S)
