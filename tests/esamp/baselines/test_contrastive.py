"""Contrastive decoding draws from the closed form, of an amateur that has read exactly what was drawn."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from scipy.stats import chisquare
from transformers import AutoModelForCausalLM, AutoTokenizer, Qwen3Config, Qwen3ForCausalLM
from vllm import LLM

from esamp.baselines.config import ContrastiveConfig
from esamp.baselines.contrastive import ContrastivePolicy, widen
from tests.esamp.baselines.baseline_engines import (
    CROWD,
    STORIES,
    TIGHT,
    count_preemptions,
    needs_stories,
    policy_of,
    records_of,
    start_baseline,
)
from tests.esamp.engine.engines import KEPT_ALIVE, PROMPTS, generate, params, start_engine

pytestmark = pytest.mark.engine


@pytest.fixture(scope="module")
def weak_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random model of one layer with the tiny model's vocabulary."""
    torch.manual_seed(8)
    config = Qwen3Config(
        vocab_size=128,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=1,
        num_attention_heads=1,
        num_key_value_heads=1,
        head_dim=32,
        max_position_embeddings=256,
        tie_word_embeddings=False,
        initializer_range=0.25,
        eos_token_id=0,
    )
    folder = tmp_path_factory.mktemp("weak-model")
    Qwen3ForCausalLM(config).to(torch.float32).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def contrasting(tiny_model: Path, weak_model: Path) -> LLM:
    return start_baseline(tiny_model, "contrastive", {"amateur": str(weak_model)})


def contrastive(engine: LLM) -> ContrastivePolicy:
    policy = policy_of(engine)
    assert isinstance(policy, ContrastivePolicy)
    return policy


def logits_along(model: Path, prompt: list[int], tokens: list[int]) -> torch.Tensor:
    """Logits [T, V] that each of `tokens` was drawn from, by transformers, in one pass without any cache."""
    plain = AutoModelForCausalLM.from_pretrained(model)
    with torch.no_grad():
        return plain(torch.tensor([[*prompt, *tokens]])).logits[0, len(prompt) - 1 : -1].double()


def closed_form(
    expert: torch.Tensor, amateur: torch.Tensor, config: ContrastiveConfig, temperature: float
) -> torch.Tensor:
    """Log-probabilities [T, V] by the definition: probabilities, a head, a score."""
    p_expert = expert.softmax(-1)
    head = p_expert >= config.alpha * p_expert.amax(-1, keepdim=True)
    if config.form == "difference":
        score = expert.log_softmax(-1) - amateur.log_softmax(-1)
    else:
        score = (1 + config.strength) * expert - config.strength * amateur
    return (torch.where(head, score, -math.inf) / temperature).log_softmax(-1)


@pytest.mark.parametrize(
    ("form", "temperature", "alpha"), [("difference", 1.0, 0.1), ("difference", 0.7, 0.03), ("reasoning", 1.4, 0.1)]
)
def test_every_draw_has_the_probability_of_the_closed_form(
    form: str, temperature: float, alpha: float, tiny_model: Path, weak_model: Path
) -> None:
    """Prompts of different length, samples that end at different times, and some that start late."""
    config = ContrastiveConfig(amateur=str(weak_model), form=form, alpha=alpha)  # type: ignore[arg-type]
    engine = start_baseline(tiny_model, "contrastive", config.to_dict(), max_num_seqs=6)
    tags = [f"{i}/{j}" for i in range(len(PROMPTS)) for j in range(3)]
    requests = [
        (
            PROMPTS[int(tag[0])],
            params(seed=k, temperature=temperature, max_tokens=8 + 3 * (k % 4), extra_args={"esamp_record": tag}),
        )
        for k, tag in enumerate(tags)
    ]
    samples = [tokens for [tokens] in generate(engine, requests)]
    for (prompt, _), tokens, records in zip(requests, samples, records_of(engine, tags), strict=True):
        expert, amateur = logits_along(tiny_model, prompt, tokens), logits_along(weak_model, prompt, tokens)
        expected_TV = closed_form(expert, amateur, config, temperature)
        expected_logprobs = expected_TV.gather(1, torch.tensor(tokens)[:, None]).squeeze(1)
        assert records["behaviour_logprobs"] == pytest.approx(expected_logprobs.tolist(), abs=2e-3)
        assert records["num_candidates"] == (expected_TV > -math.inf).sum(-1).tolist()
        plain = expert.log_softmax(-1).gather(1, torch.tensor(tokens)[:, None]).squeeze(1)
        assert records["policy_logprobs"] == pytest.approx(plain.tolist(), abs=1e-3)
        assert all(records["intervened"])
    assert contrastive(engine).counters().explored_rows == sum(map(len, samples))


def test_sampled_frequencies_match_the_closed_form(contrasting: LLM, tiny_model: Path, weak_model: Path) -> None:
    draws, prompt = 2000, PROMPTS[2]
    [samples] = generate(contrasting, [(prompt, params(n=draws, max_tokens=1, temperature=1.5))])
    counts = torch.bincount(torch.tensor(samples).flatten(), minlength=128).double()
    expert, amateur = logits_along(tiny_model, prompt, [0]), logits_along(weak_model, prompt, [0])
    expected = closed_form(expert, amateur, contrastive(contrasting).config, 1.5)[0].exp() * draws
    cells = expected >= 5
    rare = [counts[~cells].sum().item()], [expected[~cells].sum().item()]
    observed, wanted = [*counts[cells].tolist(), *rare[0]], [*expected[cells].tolist(), *rare[1]]
    if wanted[-1] == 0:
        assert observed[-1] == 0, "a token outside the head was drawn"
        observed, wanted = observed[:-1], wanted[:-1]
    assert chisquare(observed, wanted).pvalue > 1e-3
    ordinary = (expert[0] / 1.5).softmax(-1)[cells]
    scaled = ordinary / ordinary.sum() * counts[cells].sum()
    assert chisquare(counts[cells], scaled).pvalue < 1e-6, "ordinary sampling would have passed too"


KINDS: dict[str, list[tuple[list[int], Any]]] = {
    "seedless": [(p, {"n": 4}) for p in PROMPTS],
    "seeded with top-k and top-p": [(p, {"seed": i, "top_k": 20, "top_p": 0.9}) for i, p in enumerate(PROMPTS)],
    "penalties and bias": [
        (p, {"seed": i, "presence_penalty": 0.7, "logit_bias": {4: 3.0}}) for i, p in enumerate(PROMPTS)
    ],
}


@pytest.mark.parametrize("filters", [{}, {"top_k": 4}], ids=str)
def test_an_amateur_that_is_the_expert_leaves_min_p(filters: dict[str, int], stock: LLM, tiny_model: Path) -> None:
    """(1+b) z - b z = z, and at temperature 1 the head is what min-p keeps."""
    settings = {"amateur": str(tiny_model), "form": "reasoning", "strength": 4.0, "alpha": 0.1}
    engine = start_baseline(tiny_model, "contrastive", settings)
    for kind in ({"n": 4}, {"seed": 9}):
        ours = [(p, params(**kind, **filters)) for p in PROMPTS]
        theirs = [(p, params(**kind, **filters, min_p=0.1)) for p in PROMPTS]
        assert generate(engine, ours) == generate(stock, theirs)


def test_prompts_read_in_pieces_and_preempted_requests_are_read_as_they_were_drawn(tiny_model: Path) -> None:
    """Strength 4 turns any token that the amateur missed into another draw."""
    stock = start_engine(tiny_model, **TIGHT)
    settings = {"amateur": str(tiny_model), "form": "reasoning", "strength": 4.0}
    engine = start_baseline(tiny_model, "contrastive", settings, **TIGHT)
    preempted = count_preemptions(engine)
    ours = generate(engine, [(p, params(max_tokens=40)) for p in CROWD])
    assert preempted, "the cache is large enough for all: nothing was tested"
    assert contrastive(engine).amateur.num_rereads > 0
    assert ours == generate(stock, [(p, params(max_tokens=40, min_p=0.1)) for p in CROWD])


def test_greedy_and_vanilla_requests_get_stock_tokens(stock: LLM, contrasting: LLM) -> None:
    for kind in KINDS.values():
        vanilla = [(p, params(**settings, extra_args={"esamp_vanilla": True})) for p, settings in kind]
        assert generate(contrasting, vanilla) == generate(stock, [(p, params(**settings)) for p, settings in kind])
    greedy = [(p, params(temperature=0.0)) for p in PROMPTS]
    before = contrastive(contrasting).counters()
    assert generate(contrasting, greedy) == generate(stock, greedy)
    assert contrastive(contrasting).counters() == before


def test_vanilla_requests_in_a_batch_with_contrasted_ones_get_stock_tokens(stock: LLM, contrasting: LLM) -> None:
    plain = [(p, params(seed=i)) for i, p in enumerate(PROMPTS)]
    vanilla = [(p, params(seed=i, extra_args={"esamp_vanilla": True})) for i, p in enumerate(PROMPTS)]
    together = generate(contrasting, [r for pair in zip(vanilla, plain, strict=True) for r in pair])
    assert together[0::2] == generate(stock, plain)
    assert together[1::2] != together[0::2]


def test_siblings_of_one_request_are_different_samples(contrasting: LLM) -> None:
    first, second = (generate(contrasting, [(PROMPTS[0], params(n=6, seed=4))]) for _ in range(2))
    assert first == second, "seeds hold"
    assert len({tuple(sample) for sample in first[0]}) > 1


def test_an_amateur_with_non_finite_logits_leaves_rows_vanilla_and_counts_them(
    stock: LLM, tiny_model: Path, weak_model: Path
) -> None:
    engine = start_baseline(tiny_model, "contrastive", {"amateur": str(weak_model)})
    policy = contrastive(engine)
    policy.amateur.model.lm_head.weight.data[3].fill_(torch.nan)
    requests = [(p, params(seed=i, extra_args={"esamp_record": str(i)})) for i, p in enumerate(PROMPTS)]
    assert generate(engine, requests) == generate(stock, [(p, params(seed=i)) for i, p in enumerate(PROMPTS)])
    counters = policy.counters()
    assert counters.nonfinite_rows == counters.explored_rows > 0
    assert not any(any(record["intervened"]) for record in records_of(engine, ["0", "1", "2", "3"]))


def test_an_amateur_of_another_size_is_refused(stock: LLM, tmp_path: Path) -> None:
    config = Qwen3Config(vocab_size=96, hidden_size=32, intermediate_size=48, num_hidden_layers=1, head_dim=32)
    Qwen3ForCausalLM(config).save_pretrained(tmp_path)
    refused = ContrastiveConfig(amateur=str(tmp_path))
    with pytest.raises(ValueError, match="it has 96 tokens, the engine 128"):
        stock.collective_rpc(lambda worker: ContrastivePolicy(refused, worker))


def test_ids_that_the_amateur_lacks_are_never_preferred() -> None:
    amateur_RU = torch.tensor([[1.0, 3.0, 2.0]])
    assert widen(amateur_RU, 5).tolist() == [[1.0, 3.0, 2.0, 3.0, 3.0]]
    assert widen(amateur_RU, 3).tolist() == [[1.0, 3.0, 2.0]]
    assert widen(amateur_RU, 2).tolist() == [[1.0, 3.0]]


@needs_stories
def test_stories_against_a_damaged_storyteller_of_padded_vocabulary(tmp_path: Path) -> None:
    """Engines with a tokenizer compare vocabularies, not widths: as Qwen2.5's models have one vocabulary and two widths."""
    model = AutoModelForCausalLM.from_pretrained(STORIES)
    model.resize_token_embeddings(520)
    torch.manual_seed(1)
    for layer in model.model.layers:
        layer.mlp.down_proj.weight.data.mul_(0.5 + torch.rand(()))
    model.save_pretrained(tmp_path)
    tokenizer = AutoTokenizer.from_pretrained(STORIES)
    tokenizer.save_pretrained(tmp_path)
    engine = LLM(
        str(STORIES),
        disable_log_stats=True,
        enforce_eager=True,
        dtype="float32",
        max_model_len=128,
        max_num_seqs=8,
        kv_cache_memory_bytes=32 << 20,
        worker_cls="esamp.worker.ESampWorker",
        additional_config={"contrastive": {"amateur": str(tmp_path)}},
    )
    KEPT_ALIVE.append(engine)
    [output] = engine.generate(["Once upon a time, there was"], params(n=8, seed=3, detokenize=True), use_tqdm=False)
    assert len({completion.text for completion in output.outputs}) > 1
    assert all(max(completion.token_ids) < len(tokenizer) for completion in output.outputs)
    counters = contrastive(engine).counters()
    assert counters.explored_rows == 8 * 24
    assert counters.nonfinite_rows == 0
