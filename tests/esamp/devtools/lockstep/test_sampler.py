"""Generating in lockstep: the algorithm is the reference's, and conditions differ only in what they change."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, PreTrainedModel

from esamp.config import ESampConfig
from esamp.devtools.lockstep.config import LockstepConfig
from esamp.devtools.lockstep.sampler import NO_TOKEN, LockstepSampler, LockstepSamples
from esamp.distiller.reference import ReferenceDistiller
from tests.esamp.distiller.oracle import Oracle

ESAMP = ESampConfig(trainer="sync", inner_width=16, learning_rate=3e-3, beta=0.5)
PROMPTS = [[5, 6, 7], [9, 3, 3, 8, 2]]
SAMPLES, TOKENS = 4, 8


@pytest.fixture(scope="module")
def model(tiny_model: Path) -> PreTrainedModel:
    loaded: PreTrainedModel = AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.float32).eval()
    return loaded


def draw(model: PreTrainedModel, config: LockstepConfig, seeds: tuple[int, int] = (1, 2)) -> LockstepSamples:
    return LockstepSampler(model, config, PROMPTS, samples=SAMPLES, max_tokens=TOKENS).draw(list(seeds))


def assert_sampled_as_by_the_reference(tiny_model: Path, model: PreTrainedModel, drawn: LockstepSamples) -> None:
    """Read every sample again whole, and let the reference learn from the tokens in the order they were drawn in."""
    oracle = Oracle(tiny_model)
    for p, prompt in enumerate(PROMPTS):
        distiller = ReferenceDistiller(ESAMP, model.model.norm.weight.detach())
        read = [oracle.read(prompt + [x for x in row if x != NO_TOKEN]) for row in drawn.tokens_PNT[p].tolist()]
        for t in range(1, TOKENS):
            alive = [n for n in range(SAMPLES) if drawn.tokens_PNT[p, n, t] != NO_TOKEN]
            if not alive:
                break
            at = len(prompt) + t - 1
            source = torch.stack([read[n].source_TH[at] for n in alive])
            target = torch.stack([read[n].target_TH[at] for n in alive])
            error = target - distiller(source).detach()
            expected = ESAMP.beta * error @ oracle.head_weight_VH.T
            torch.testing.assert_close(drawn.shifts_PNTV[p, alive, t].float(), expected, rtol=0.01, atol=0.01)
            distiller.learn(source, target)


def test_shifts_are_those_of_the_reference_token_by_token(tiny_model: Path, model: PreTrainedModel) -> None:
    assert_sampled_as_by_the_reference(tiny_model, model, draw(model, LockstepConfig(esamp=ESAMP)))


def test_waves_draw_what_one_wave_draws_while_nothing_is_learned(model: PreTrainedModel) -> None:
    """Random numbers belong to the sample, not to the round; the Distiller of a later round has learned, so its samples do differ."""
    vanilla = replace(ESAMP, beta=0.0)
    one, two = (draw(model, LockstepConfig(esamp=vanilla, rounds=rounds)).tokens_PNT for rounds in (1, 2))
    assert torch.equal(one, two)
    one, two = (
        draw(model, LockstepConfig(esamp=replace(ESAMP, beta=4.0), rounds=rounds)).tokens_PNT for rounds in (1, 2)
    )
    assert not torch.equal(one, two)


def test_a_sample_has_no_more_tokens_after_its_end(model: PreTrainedModel) -> None:
    tokens = draw(model, LockstepConfig(esamp=replace(ESAMP, beta=0.0))).tokens_PNT
    end = int(tokens[0, 0, 1])
    model.config.eos_token_id, before = end, model.config.eos_token_id
    try:
        cut = draw(model, LockstepConfig(esamp=replace(ESAMP, beta=0.0))).tokens_PNT
    finally:
        model.config.eos_token_id = before
    for whole, short in zip(tokens.flatten(0, 1).tolist(), cut.flatten(0, 1).tolist(), strict=True):
        length = whole.index(end) + 1 if end in whole else TOKENS
        assert short == whole[:length] + [NO_TOKEN] * (TOKENS - length)


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"rounds": 0}, "rounds"), ({"temperature": 0.0}, "temperature"), ({"train_steps": 0}, "train")],
)
def test_settings_out_of_range_are_refused(settings: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        LockstepConfig(esamp=ESAMP, **settings)  # type: ignore[arg-type]
