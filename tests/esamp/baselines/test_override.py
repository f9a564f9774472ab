"""OverRIDE: heads learn, change rows and leave rows alone as in the slow reference below."""

from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from torch.nn.functional import cross_entropy
from transformers import AutoTokenizer
from vllm import LLM

from esamp.baselines.config import OverrideConfig
from esamp.baselines.override import LowRankHead, OverridePolicy
from esamp.batch import BatchStep
from esamp.engine.adapter import plain_logits
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
from tests.esamp.engine.engines import PROMPTS, generate, params

pytestmark = pytest.mark.engine


class ReferenceHeads(torch.nn.Module):
    """All heads, one row at a time: autograd, one torch.optim.Adam per head."""

    def __init__(self, policy: OverridePolicy) -> None:
        super().__init__()
        self.down = torch.nn.ParameterList(torch.nn.Parameter(head.down_rH.clone()) for head in policy.heads)
        self.up = torch.nn.ParameterList(torch.nn.Parameter(head.up_Vr.clone()) for head in policy.heads)
        rate = policy.config.learning_rate
        self.adam = [torch.optim.Adam(pair, lr=rate) for pair in zip(self.down, self.up, strict=True)]

    def delta(self, head: int, hidden_H: torch.Tensor) -> torch.Tensor:
        """dz [V]"""
        return self.up[head] @ (self.down[head] @ hidden_H)

    def learn(self, batch: list[tuple[int, torch.Tensor, torch.Tensor, int]]) -> None:
        """One step on (head, hidden state, plain logits, token) of each row."""
        for adam in self.adam:
            adam.zero_grad()
        losses = [
            cross_entropy((z_V + self.delta(head, hidden_H))[None], torch.tensor([token]))
            for head, hidden_H, z_V, token in batch
        ]
        torch.stack(losses).mean().backward()
        for head in {head for head, *_ in batch}:
            self.adam[head].step()


@dataclass
class SeenStep:
    """What went into one step of the engine, and what came out."""

    step: BatchStep
    plain_BV: torch.Tensor
    tokens: list[int]


def watch(policy: OverridePolicy) -> list[SeenStep]:
    """A list that grows with every step of the engine from now on."""
    seen: list[SeenStep] = []
    before, after = policy.before_sampling, policy.after_sampling
    plain: list[torch.Tensor] = []

    def watch_before(step: BatchStep, *, is_recording: bool) -> object:
        plain.append(plain_logits(policy._worker).clone())
        return before(step, is_recording=is_recording)

    def watch_after(step: BatchStep, tokens_B: torch.Tensor) -> None:
        seen.append(SeenStep(step, plain.pop(), tokens_B.tolist()))
        after(step, tokens_B)

    policy.before_sampling, policy.after_sampling = watch_before, watch_after  # type: ignore[method-assign, assignment]
    return seen


@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_the_engine_samples_and_learns_like_the_reference(temperature: float, tiny_model: Path) -> None:
    """Two prompts share three heads; sample 4 is beyond the rounds. Every draw's log-probability and the final weights agree."""
    settings = {"rounds": 4, "rank": 4, "strength": 0.8, "learning_rate": 0.02, "init_scale": 0.2}
    engine = start_baseline(tiny_model, "override", settings)
    policy = policy_of(engine)
    assert isinstance(policy, OverridePolicy)
    reference, seen = ReferenceHeads(policy), watch(policy)
    requests, samples = [], {}
    for p, prompt in enumerate(PROMPTS[:2]):
        for j in range(5):
            tag = f"{p}/{j}"
            samples[tag] = j
            extra = {"esamp_sample": j, "esamp_record": tag}
            length = 10 + 3 * j
            requests.append(
                (prompt, params(seed=7 * p + j, temperature=temperature, max_tokens=length, extra_args=extra))
            )
    generate(engine, requests)
    records = dict(zip(samples, records_of(engine, list(samples)), strict=True))
    # Requests are named by the order of their arrival, which is that of the tags.
    names = sorted({name for s in seen for name in s.step.request_ids}, key=lambda name: int(name.split("-")[0]))
    tag_of = dict(zip(names, samples, strict=True))
    position = dict.fromkeys(samples, 0)
    largest_shift = 0.0
    with torch.inference_mode(False):
        for s in seen:
            batch = []
            for row, name in enumerate(s.step.request_ids):
                if not s.step.draws_token[row]:
                    continue
                tag = tag_of[name]
                j, t = samples[tag], position[tag]
                hidden_H, z_V, token = s.step.target_BH[row].clone(), s.plain_BV[row].clone(), s.tokens[row]
                shift_V = 0.8 * reference.delta(j - 1, hidden_H).detach() if 1 <= j <= 3 else torch.zeros_like(z_V)
                expected = ((z_V - shift_V) / temperature).log_softmax(-1)[token].item()
                assert records[tag]["behaviour_logprobs"][t] == pytest.approx(expected, abs=2e-3)
                largest_shift = max(largest_shift, shift_V.abs().max().item())
                position[tag] += 1
                if j < 3:
                    batch.append((j, hidden_H, z_V, token))
            if batch:
                reference.learn(batch)
    assert largest_shift > 0.5, "the heads say too little to be compared"
    assert position == {tag: 10 + 3 * j for tag, j in samples.items()}
    for head, down, up in zip(policy.heads, reference.down, reference.up, strict=True):
        torch.testing.assert_close(head.down_rH, down.detach(), rtol=1e-3, atol=2e-4)
        torch.testing.assert_close(head.up_Vr, up.detach(), rtol=1e-3, atol=2e-4)
    intervened = {tag: set(record["intervened"]) for tag, record in records.items()}
    assert intervened == {tag: {1 <= j <= 3} for tag, j in samples.items()}
    counters = policy.counters()
    assert counters.explored_rows == 2 * (13 + 16 + 19)
    assert counters.trained_rows == 2 * (10 + 13 + 16)
    assert counters.optimiser_steps == 10 + 13 + 16


def test_filters_hold_and_a_head_that_says_nothing_changes_nothing(stock: LLM, tiny_model: Path) -> None:
    """B = 0 at the start: with a step size near 0 every sample is stock vLLM's, filters included."""
    engine = start_baseline(tiny_model, "override", {"learning_rate": 1e-12})

    def requests(*, is_steered: bool) -> list[tuple[list[int], object]]:
        return [
            (p, params(seed=10 * i + j, top_p=0.9, extra_args={"esamp_sample": j} if is_steered else None))
            for i, p in enumerate(PROMPTS)
            for j in range(4)
        ]

    assert generate(engine, requests(is_steered=True)) == generate(stock, requests(is_steered=False))


def test_greedy_and_vanilla_requests_and_first_samples_get_stock_tokens(stock: LLM, tiny_model: Path) -> None:
    engine = start_baseline(tiny_model, "override", {"rounds": 2, "learning_rate": 0.05})
    policy = policy_of(engine)
    extras: list[tuple[str, dict[str, object], dict[str, float]]] = [
        ("sample 0", {"esamp_sample": 0}, {}),
        ("changed", {"esamp_sample": 1}, {}),
        ("beyond the rounds", {"esamp_sample": 2}, {}),
        ("asks to be left alone", {"esamp_sample": 1, "esamp_vanilla": True}, {}),
        ("greedy", {"esamp_sample": 1}, {"temperature": 0.0}),
        ("no sample", {}, {}),
        ("not a number", {"esamp_sample": "1"}, {}),
        ("negative", {"esamp_sample": -1}, {}),
        ("a bool", {"esamp_sample": True}, {}),
    ]
    generate(engine, [(PROMPTS[1], params(seed=90 + i, extra_args={"esamp_sample": 0})) for i in range(4)])
    asked = [
        (PROMPTS[0], params(seed=i, max_tokens=60, extra_args=extra, **rest))
        for i, (_, extra, rest) in enumerate(extras)
    ]
    plain = [(PROMPTS[0], params(seed=i, max_tokens=60, **rest)) for i, (_, _, rest) in enumerate(extras)]
    same = [a == b for a, b in zip(generate(engine, asked), generate(stock, plain), strict=True)]
    assert dict(zip([name for name, _, _ in extras], same, strict=True)) == {
        name: name != "changed" for name, _, _ in extras
    }
    assert policy.counters().rejected_requests == 4


def test_a_head_with_non_finite_weights_changes_no_row_and_is_counted(stock: LLM, tiny_model: Path) -> None:
    engine = start_baseline(tiny_model, "override", {"rounds": 2})
    policy = policy_of(engine)
    assert isinstance(policy, OverridePolicy)
    policy.heads[0].up_Vr.fill_(torch.nan)
    requests = [
        (p, params(seed=i, extra_args={"esamp_sample": 1, "esamp_record": str(i)})) for i, p in enumerate(PROMPTS)
    ]
    assert generate(engine, requests) == generate(stock, [(p, params(seed=i)) for i, p in enumerate(PROMPTS)])
    counters = policy.counters()
    assert counters.nonfinite_rows == counters.explored_rows > 0
    assert not any(any(record["intervened"]) for record in records_of(engine, ["0", "1", "2", "3"]))


def test_non_finite_rows_teach_nothing() -> None:
    generator = torch.Generator().manual_seed(1)
    hidden, plain = torch.randn(3, 8, generator=generator), torch.randn(3, 20, generator=generator)
    tokens, down = torch.tensor([3, 4, 5]), torch.randn(2, 8, generator=generator)
    clean, disturbed = (LowRankHead(OverrideConfig(), down, vocab_size=20) for _ in range(2))
    clean.learn(hidden[:2], plain[:2], tokens[:2], num_rows=3)
    hidden[2, 0] = torch.inf
    disturbed.learn(hidden, plain, tokens, num_rows=3)
    assert torch.equal(disturbed.up_Vr, clean.up_Vr)
    assert clean.up_Vr.abs().sum() > 0


def test_preempted_requests_teach_every_token_once(tiny_model: Path) -> None:
    engine = start_baseline(tiny_model, "override", {"rounds": 4}, **TIGHT)
    preempted = count_preemptions(engine)
    requests = [
        (p, params(max_tokens=40, extra_args={"esamp_sample": i % 3, "esamp_record": f"r{i}"}))
        for i, p in enumerate(CROWD)
    ]
    generate(engine, requests)
    assert preempted, "the cache is large enough for all: nothing was tested"
    assert policy_of(engine).counters().trained_rows == len(CROWD) * 40
    for i, records in enumerate(records_of(engine, [f"r{i}" for i in range(len(CROWD))])):
        assert records["intervened"] == [i % 3 > 0] * 40


@needs_stories
def test_a_head_learns_what_its_sample_says() -> None:
    """Trained on one story over and over, head 0 makes its tokens likelier than the model does."""
    engine = start_baseline(STORIES, "override", {"rounds": 2})
    prompt = AutoTokenizer.from_pretrained(STORIES)("Once upon a time").input_ids
    policy = policy_of(engine)
    assert isinstance(policy, OverridePolicy)
    for _ in range(3):
        generate(engine, [(prompt, params(seed=5, max_tokens=60, extra_args={"esamp_sample": 0}))])
    seen = watch(policy)
    generate(engine, [(prompt, params(seed=5, max_tokens=60, extra_args={"esamp_sample": 0}))])
    head = policy.heads[0]
    plain, learned = 0.0, 0.0
    for s in seen:
        [token] = s.tokens
        plain += s.plain_BV[0].log_softmax(0)[token].item()
        learned += (s.plain_BV[0] + head.delta(s.step.target_BH)[0]).log_softmax(0)[token].item()
    assert learned > plain
    [[changed]] = generate(engine, [(prompt, params(seed=5, max_tokens=60, extra_args={"esamp_sample": 1}))])
    [[vanilla]] = generate(engine, [(prompt, params(seed=5, max_tokens=60, extra_args={"esamp_vanilla": True}))])
    assert changed != vanilla
