"""New weights in a running engine, as a trainer gives it some after every step."""

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM
from vllm import LLM

from tests.esamp.engine.engines import PROMPTS, explorer, generate, params, record, records, settle, start_engine

pytestmark = pytest.mark.engine
SETTINGS = {"beta": 0.8, "learning_rate": 3e-3}
REQUESTS = [(prompt, params(n=4, seed=9, max_tokens=20)) for prompt in PROMPTS[:2]]


@pytest.fixture(scope="module")
def other_weights(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny model after a training step: all of its weights are a little different, those of the final norm by much."""
    model = AutoModelForCausalLM.from_pretrained(tiny_model)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for weight in model.parameters():
            weight += 0.02 * torch.randn(weight.shape, generator=generator)
        model.model.norm.weight *= 1.5
    folder = tmp_path_factory.mktemp("other-weights")
    model.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def engine(tiny_model: Path) -> LLM:
    return start_engine(tiny_model, SETTINGS)


def load(engine: LLM, folder: Path) -> None:
    """As a trainer does between two of its steps."""
    engine.collective_rpc("reload_weights", kwargs={"weights_path": str(folder)})
    engine.reset_prefix_cache()


def test_an_engine_with_new_weights_samples_as_one_that_was_started_with_them(
    engine: LLM, tiny_model: Path, other_weights: Path
) -> None:
    """Its Distillers included: their initial output gain is the new final norm."""
    before = generate(engine, REQUESTS)
    load(engine, other_weights)
    after = generate(engine, REQUESTS)
    assert after != before
    assert after == generate(start_engine(other_weights, SETTINGS), REQUESTS)
    load(engine, tiny_model)
    assert generate(engine, REQUESTS) == before


def test_a_head_that_is_tied_to_the_embedding_has_the_new_weights(tied_model: Path, tmp_path: Path) -> None:
    """A CPU engine computes logits from a packed copy of the head, which vLLM leaves as it was where a checkpoint has no head of its own:
    the embedding was new and the head old, and all log-probabilities were those of neither model."""
    model = AutoModelForCausalLM.from_pretrained(tied_model)
    with torch.no_grad():
        model.get_input_embeddings().weight += 0.1 * torch.randn(
            model.get_input_embeddings().weight.shape, generator=torch.Generator().manual_seed(2)
        )
    model.save_pretrained(tmp_path)
    engine = start_engine(tied_model, SETTINGS)
    before = generate(engine, REQUESTS)
    load(engine, tmp_path)
    after = generate(engine, REQUESTS)
    assert after != before
    assert after == generate(start_engine(tmp_path, SETTINGS), REQUESTS)


def weight_version(engine: LLM, name: str) -> str:
    generate(engine, [(PROMPTS[0], params(max_tokens=3, **record(name)))])
    return records(engine, [name])[name]["weight_version"]


def test_records_say_how_often_the_weights_had_changed(engine: LLM, tiny_model: Path) -> None:
    before = int(weight_version(engine, "a"))
    load(engine, tiny_model)
    assert weight_version(engine, "b") == str(before + 1)
    assert engine.collective_rpc("esamp_reset") == [before + 2]
    assert weight_version(engine, "c") == str(before + 2)


def test_weights_that_a_trainer_writes_into_the_model_are_noticed_and_count_once(
    engine: LLM, tiny_model: Path, tmp_path: Path
) -> None:
    """TRL colocate and OpenRLHF call the model's load_weights, once for each parameter, and nothing of vLLM's that knows of new weights:
    siblings of a prompt would have gone on with what other weights drew, under the old version and the old initial gain. Norms only: the
    other weights vLLM packs on a CPU, and cannot load one by one."""
    model = AutoModelForCausalLM.from_pretrained(tiny_model)
    norms = {name: 1.5 * weight.data for name, weight in model.named_parameters() if name.endswith("norm.weight")}
    model.load_state_dict(norms, strict=False)
    model.save_pretrained(tmp_path)
    load(engine, tmp_path)
    expected = generate(engine, REQUESTS)
    load(engine, tiny_model)
    before = int(weight_version(engine, "d"))
    assert generate(engine, REQUESTS) != expected

    def write(worker: Any) -> None:
        for name, weight in norms.items():
            worker.model_runner.model.load_weights([(name, weight)])

    engine.collective_rpc(write)
    engine.reset_prefix_cache()
    assert generate(engine, REQUESTS) == expected
    assert weight_version(engine, "e") == str(before + 1)
    load(engine, tiny_model)
    assert weight_version(engine, "f") == str(before + 2)


def test_a_group_that_waits_for_siblings_does_not_meet_them_under_new_weights(engine: LLM) -> None:
    asked = params(seed=1, max_tokens=6, extra_args={"esamp_group": "p", "esamp_group_size": 2})
    alone = generate(engine, [(PROMPTS[0], params(seed=2, max_tokens=6, extra_args={"esamp_group": "q"}))])
    generate(engine, [(PROMPTS[0], asked)])
    settle(engine)
    slots = explorer(engine).groups
    assert [group.name.partition("@")[0] for group in slots._idle.values()] == ["p"]
    engine.collective_rpc("esamp_reset")
    assert not slots._idle and len(slots._free) == explorer(engine).config.num_slots
    sibling = params(seed=2, max_tokens=6, extra_args={"esamp_group": "p", "esamp_group_size": 2})
    assert generate(engine, [(PROMPTS[0], sibling)]) == alone, "it learned from a sibling of other weights"


@pytest.mark.parametrize("settings", [{"scope": "shard"}, {"scope": "prior"}, {"scope": "shard", "distiller": "rls"}])
def test_distillers_that_prompts_share_start_anew_with_new_weights(tiny_model: Path, settings: dict[str, str]) -> None:
    engine = start_engine(tiny_model, {**SETTINGS, "rls_features": 16, **settings})
    first = generate(engine, REQUESTS)
    settle(engine)
    bank = explorer(engine).bank
    shared_slot = 0 if settings["scope"] == "shard" else bank.num_slots - 1
    assert bank.steps_S[shared_slot] > 0
    assert generate(engine, REQUESTS) != first, "what it learned changes its samples"
    engine.collective_rpc("esamp_reset")
    assert bank.steps_S[shared_slot] == 0
    assert generate(engine, REQUESTS) == first
