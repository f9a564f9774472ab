"""What tokens are drawn from in a real engine: the closed form on the model's own logits, on its candidates and nowhere else."""

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from vllm import LLM
from vllm.sampling_params import SamplingParams, StructuredOutputsParams

from esamp.distiller.bank import Forward
from esamp.distiller.hidden_rows import HiddenRows
from esamp.distiller.predictors import Prediction
from esamp.distiller.reference import fused_distribution
from pipelines.config.run import EMBEDDED_MODEL
from tests.esamp.distiller.oracle import Oracle
from tests.esamp.engine.engines import (
    KEPT_ALIVE,
    PROMPTS,
    explorer,
    generate,
    params,
    record,
    records,
    rows_by_request,
    start_engine,
    watched,
)

pytestmark = pytest.mark.engine
BETA = 0.8
SETTINGS = {"beta": BETA, "learning_rate": 3e-3}
FILTERS: dict[str, dict[str, Any]] = {
    "plain": {},
    "hot": {"temperature": 1.5},
    "cold": {"temperature": 0.6, "esamp_beta": 0.3},
    "top-k": {"top_k": 6},
    "top-p": {"top_p": 0.8, "temperature": 1.2},
    "min-p": {"min_p": 0.1},
    "all filters": {"top_k": 20, "top_p": 0.9, "min_p": 0.02, "temperature": 0.8, "esamp_beta": 1.5},
    "bias": {"logit_bias": {4: 2.0, 9: -3.0}},
}


@pytest.fixture(scope="module")
def exploring(tiny_model: Path) -> LLM:
    return start_engine(tiny_model, SETTINGS)


@pytest.fixture(scope="module")
def overwhelming(tiny_model: Path) -> LLM:
    """Beta far beyond reason."""
    return start_engine(tiny_model, {"beta": 50.0})


@pytest.fixture(scope="module")
def speaking() -> LLM:
    """The embedded model with its tokenizer, which bad words and grammars need; beta far beyond reason."""
    engine = LLM(
        str(EMBEDDED_MODEL),
        worker_cls="esamp.worker.ESampWorker",
        additional_config={"esamp": {"beta": 6.0, "inner_width": 32}},
        enforce_eager=True,
        dtype="float32",
        kv_cache_memory_bytes=32 << 20,
        max_num_seqs=32,
        disable_log_stats=True,
    )
    KEPT_ALIVE.append(engine)
    return engine


def one_of_each() -> list[tuple[list[int], SamplingParams]]:
    """Requests of all kinds for one batch, recorded under their kind; three greedy, vanilla and penalised ones with them."""
    requests = []
    for i, (kind, filters) in enumerate(FILTERS.items()):
        settings = {key: value for key, value in filters.items() if key != "esamp_beta"}
        extra = {"esamp_beta": filters.get("esamp_beta", BETA), "esamp_group": f"group {i % 3}"}
        requests.append((PROMPTS[i % 4], params(seed=i, **record(kind, **extra), **settings)))
    requests.append((PROMPTS[0], params(temperature=0.0)))
    requests.append((PROMPTS[1], params(seed=50, extra_args={"esamp_beta": 0.0})))
    requests.append((PROMPTS[2], params(seed=51, presence_penalty=0.5)))
    return requests


@pytest.mark.parametrize("model", ["tiny_model", "tied_model"])
def test_every_token_of_a_mixed_batch_is_drawn_from_the_closed_form_with_its_own_settings(
    model: str, request: pytest.FixtureRequest
) -> None:
    """Temperature, filters, bias and beta of each request, its own prediction, and the model's logits as transformers has them; head and
    embedding apart, then tied with a padded vocabulary."""
    folder: Path = request.getfixturevalue(model)
    engine, oracle = start_engine(folder, SETTINGS), Oracle(folder)
    batch = one_of_each()
    with watched(engine) as seen:
        tokens = [samples[0] for samples in generate(engine, batch)]
    recorded = records(engine, list(FILTERS))
    predictions = rows_by_request(seen, "prediction_RH")
    by_index = {int(name): rows for name, rows in predictions.items()}
    first = min(by_index)
    for i, (kind, filters) in enumerate(FILTERS.items()):
        prompt = batch[i][0]
        z_ref_TV = oracle.read(prompt + tokens[i]).logits_TV[len(prompt) - 1 :]
        for token, bias in filters.get("logit_bias", {}).items():
            z_ref_TV[:, token] += bias
        z_dist_TV = torch.stack(by_index[first + i]) @ oracle.head_weight_VH.T
        settings = {key: filters[key] for key in ("top_k", "top_p", "min_p") if key in filters}
        for t, token in enumerate(tokens[i]):
            wanted_V = fused_distribution(
                z_ref_TV[t],
                z_dist_TV[t - 1] if t else torch.zeros_like(z_ref_TV[t]),
                beta=filters.get("esamp_beta", BETA) if t else 0.0,
                temperature=filters.get("temperature", 1.0),
                **settings,
            )
            assert recorded[kind]["behaviour_logprobs"][t] == pytest.approx(wanted_V[token].log().item(), abs=5e-3)
            assert recorded[kind]["num_candidates"][t] == int((wanted_V > 0).sum())
        if kind != "bias":
            plain = z_ref_TV[:-1].log_softmax(-1).gather(1, torch.tensor(tokens[i]).unsqueeze(1)).squeeze(1)
            assert recorded[kind]["policy_logprobs"] == pytest.approx(plain.tolist(), abs=5e-3)


class FlatPrediction:
    """A deep state of zero: all tokens equally likely."""

    def predict(self, rows: HiddenRows) -> Prediction:
        return Prediction(torch.zeros_like(rows.target_RH, dtype=torch.float32), None)


@pytest.mark.parametrize("filters", [{}, {"top_k": 10}], ids=str)
def test_a_flat_prediction_samples_at_temperature_over_one_plus_beta(
    filters: dict[str, Any], exploring: LLM, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Why a run needs the control: an uninformative Distiller does nothing but sharpen."""
    oracle = Oracle(tiny_model)
    monkeypatch.setattr(explorer(exploring), "predictor", FlatPrediction())
    [[tokens]] = generate(
        exploring, [(PROMPTS[0], params(temperature=1.3, max_tokens=60, **record("flat"), **filters))]
    )
    logits_TV = oracle.read(PROMPTS[0] + tokens).logits_TV[len(PROMPTS[0]) - 1 : -1]
    for t, recorded in enumerate(records(exploring, ["flat"])["flat"]["behaviour_logprobs"]):
        z_V = logits_TV[t]
        if filters:
            z_V = torch.where(z_V >= z_V.topk(10).values[-1], z_V, -torch.inf)
        temperature = 1.3 / (1 + BETA) if t else 1.3
        assert recorded == pytest.approx((z_V / temperature).log_softmax(-1)[tokens[t]].item(), abs=5e-3)


def test_mixing_before_the_head_draws_the_tokens_of_fusing_after_it(tiny_model: Path) -> None:
    """Recording the plain model's log-probabilities needs its logits, and so the other path: it must not change a token."""
    engine = start_engine(tiny_model, {**SETTINGS, "record": "behaviour"})
    inside = explorer(engine)
    requests = [(p, params(n=4, seed=100 * i, temperature=1.2, **record(f"r{i}"))) for i, p in enumerate(PROMPTS)]
    mixed_tokens = generate(engine, requests)
    mixed = records(engine, [f"r{i}" for i in range(4)])
    assert inside.counters().dense_steps == 0
    inside.place.may_mix = False
    fused_tokens = generate(engine, requests)
    fused = records(engine, [f"r{i}" for i in range(4)])
    assert mixed_tokens == fused_tokens
    assert inside.counters().dense_steps == 0, "128 candidates at most: projected alone"
    for tag in mixed:
        assert mixed[tag]["behaviour_logprobs"] == pytest.approx(fused[tag]["behaviour_logprobs"], abs=1e-3)


def test_too_many_candidates_are_projected_whole_counted_and_give_the_same_tokens(
    exploring: LLM, tiny_model: Path
) -> None:
    requests = [(p, params(seed=i, top_p=0.99, temperature=1.2)) for i, p in enumerate(PROMPTS)]
    before = explorer(exploring).counters().dense_steps
    few = generate(exploring, requests)
    assert explorer(exploring).counters().dense_steps == before
    narrow = start_engine(tiny_model, {**SETTINGS, "candidate_cap": 2})
    assert generate(narrow, requests) == few
    assert explorer(narrow).counters().dense_steps > 0


def test_top_k_of_one_is_greedy_whatever_the_distiller_says(stock: LLM, overwhelming: LLM) -> None:
    before = explorer(overwhelming).counters().explored_rows
    one = [(p, params(seed=i, top_k=1)) for i, p in enumerate(PROMPTS)]
    assert generate(overwhelming, one) == generate(stock, [(p, params(temperature=0.0)) for p in PROMPTS])
    assert explorer(overwhelming).counters().explored_rows - before == 4 * 23


@pytest.mark.parametrize("filters", [{"top_k": 3}, {"top_p": 0.6}, {"min_p": 0.3}], ids=str)
def test_no_token_outside_the_models_candidates_is_drawn_however_strong_beta(
    filters: dict[str, Any], overwhelming: LLM, tiny_model: Path
) -> None:
    oracle, before = Oracle(tiny_model), explorer(overwhelming).counters().explored_rows
    tokens = generate(overwhelming, [(PROMPTS[0], params(n=8, seed=3, **filters))])[0]
    for sample in tokens:
        logits_TV = oracle.read(PROMPTS[0] + sample).logits_TV[len(PROMPTS[0]) - 1 : -1]
        for t, token in enumerate(sample):
            # Candidates do not depend on what a Distiller says, so any will do here.
            assert fused_distribution(logits_TV[t], logits_TV[t], beta=0.0, temperature=1.0, **filters)[token] > 0
    assert explorer(overwhelming).counters().explored_rows - before == 8 * 23


def test_masks_hold_however_strong_beta(overwhelming: LLM) -> None:
    """Allowed tokens, a bias that forbids, and a minimum length before stop tokens; each forbids what is otherwise drawn."""
    free = {
        token
        for samples in generate(overwhelming, [(PROMPTS[0], params(n=16, seed=1))])
        for s in samples
        for token in s
    }
    allowed = list(range(10, 40))
    assert free - set(allowed)
    kinds = {
        "allowed": params(n=16, seed=1, allowed_token_ids=allowed),
        "bias": params(n=16, seed=1, logit_bias={token: -100.0 for token in free}),
        "minimum": params(n=16, seed=1, stop_token_ids=sorted(free), min_tokens=12),
    }
    drawn = {kind: generate(overwhelming, [(PROMPTS[0], settings)])[0] for kind, settings in kinds.items()}
    assert {token for sample in drawn["allowed"] for token in sample} <= set(allowed)
    assert not {token for sample in drawn["bias"] for token in sample} & free
    assert all(not set(sample[:12]) & free and len(sample) >= 12 for sample in drawn["minimum"])
    assert any(sample[-1] in free for sample in drawn["minimum"]), "the minimum over, stop tokens are drawn again"


def speak(engine: LLM, **settings: Any) -> list[str]:
    torch.manual_seed(2)
    [output] = engine.generate(
        ["3 5 7 = 15 :"], SamplingParams(n=12, max_tokens=30, seed=4, temperature=1.5, **settings), use_tqdm=False
    )
    return [completion.text for completion in output.outputs]


def test_bad_words_are_never_said_however_strong_beta(speaking: LLM) -> None:
    assert any("1" in text or "+" in text for text in speak(speaking))
    assert not any("1" in text or "+" in text for text in speak(speaking, bad_words=["1", "+"]))


def test_a_grammar_holds_however_strong_beta(speaking: LLM) -> None:
    before = explorer(speaking).counters().explored_rows
    pattern = r"[0-9]{4}[+*-][0-9]{3}"
    said = speak(speaking, structured_outputs=StructuredOutputsParams(regex=pattern))
    assert all(re.fullmatch(pattern, text) for text in said) and len(set(said)) > 1
    assert not any(re.fullmatch(pattern, text) for text in speak(speaking))
    assert explorer(speaking).counters().explored_rows > before


def test_records_of_a_rollout_have_what_a_grammar_left(speaking: LLM) -> None:
    choices = ["3*7=21", "3+7=10"]
    settings = record("grammar", esamp_record_rollout=True)
    [output] = speaking.generate(
        ["3 5 7 = 15 :"],
        SamplingParams(max_tokens=12, structured_outputs=StructuredOutputsParams(choice=choices), **settings),
        use_tqdm=False,
    )
    tokens, found = list(output.outputs[0].token_ids), records(speaking, ["grammar"])["grammar"]
    offsets, kept = found["kept_token_offsets"], found["kept_token_ids"]
    assert output.outputs[0].text in choices and len(offsets) == len(tokens) + 1
    assert all(token in kept[offsets[t] : offsets[t + 1]] for t, token in enumerate(tokens))
    assert [offsets[t + 1] - offsets[t] for t in range(3)] == [1, 2, 1], "one way to begin, two operators, one way on"
    assert found["sampling_logprobs"][0] == found["behaviour_logprobs"][0] == 0.0
    assert found["policy_logprobs"][0] < -1e-3, "the plain model knows of no grammar"


def test_n_samples_are_n_requests_with_seeds_counted_up(exploring: LLM) -> None:
    """vLLM gives child i of a seeded request the seed plus i; parent and expansion name the same group, the prompt."""
    whole = generate(exploring, [(PROMPTS[0], params(n=6, seed=70))])
    expanded = generate(exploring, [(PROMPTS[0], params(seed=70 + i)) for i in range(6)])
    assert whole[0] == [samples[0] for samples in expanded]


def test_told_log_probabilities_are_the_models_with_and_without_exploring(stock: LLM, exploring: LLM) -> None:
    """vLLM's own `logprobs` stay those of the model; asking for them rules out mixing before the head."""
    [output] = exploring.generate(
        [{"prompt_token_ids": PROMPTS[0]}], params(seed=1, logprobs=3, prompt_logprobs=2), use_tqdm=False
    )
    tokens = list(output.outputs[0].token_ids)
    [again] = stock.generate(
        [{"prompt_token_ids": PROMPTS[0] + tokens}], params(temperature=0.0, max_tokens=1, prompt_logprobs=3),
        use_tqdm=False,
    )  # fmt: skip
    for step, (recorded, wanted) in enumerate(
        zip(output.outputs[0].logprobs, again.prompt_logprobs[len(PROMPTS[0]) :], strict=True)
    ):
        assert recorded[tokens[step]].logprob == pytest.approx(wanted[tokens[step]].logprob, abs=1e-3)
    for recorded, wanted in zip(output.prompt_logprobs[1:], again.prompt_logprobs[1 : len(PROMPTS[0])], strict=True):
        for token in recorded:
            assert token not in wanted or recorded[token].logprob == pytest.approx(wanted[token].logprob, abs=1e-3)


def test_predictions_are_asked_for_once_per_step(exploring: LLM, monkeypatch: pytest.MonkeyPatch) -> None:
    inside = explorer(exploring)
    calls: list[int] = []
    predict = inside.bank.predict

    def count(rows: HiddenRows) -> Forward:
        calls.append(len(rows.slots))
        return predict(rows)

    monkeypatch.setattr(inside.bank, "predict", count)
    generate(exploring, [(p, params(n=2, seed=i)) for i, p in enumerate(PROMPTS)])
    assert calls == [8] * 23, "training goes on from the prediction and does not repeat it"
