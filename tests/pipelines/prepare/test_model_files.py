"""What is known of a model without an engine: its fingerprint, and how it wants prompts."""

from pathlib import Path

import pytest
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit
from tokenizers.processors import TemplateProcessing
from transformers import PreTrainedTokenizerFast

from pipelines.config.run import RunConfig
from pipelines.errors import InputError
from pipelines.prepare.model_files import load_model_config, model_fingerprint
from pipelines.prepare.prompt import format_prompt
from pipelines.prepare.tree_of_thoughts import SYSTEM_PROMPT
from pipelines.problems.problem import Problem

PROBLEM = Problem("p", "1 + 1 ?", "2")
CHAT = "{{ bos_token }} user {{ messages[0].content }} assistant"


def tokenizer(chat_template: str | None) -> PreTrainedTokenizerFast:
    """A tokenizer that puts <s> in front, as Llama's does."""
    words = {word: number for number, word in enumerate(["<s>", "user", "assistant", "1", "+", "?", "<unk>"])}
    plain = Tokenizer(WordLevel(words, unk_token="<unk>"))
    plain.pre_tokenizer = WhitespaceSplit()
    plain.post_processor = TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)])
    return PreTrainedTokenizerFast(
        tokenizer_object=plain, bos_token="<s>", unk_token="<unk>", chat_template=chat_template
    )


def test_the_template_surrounds_the_problem_braces_and_all() -> None:
    config = RunConfig(sampler="esamp", template="Put it in \\boxed{}: {problem}")
    assert format_prompt(PROBLEM, config, tokenizer(None)) == "Put it in \\boxed{}: 1 + 1 ?"


def test_a_chat_template_is_applied_unless_told_not_to() -> None:
    assert "assistant" in format_prompt(PROBLEM, RunConfig(sampler="esamp"), tokenizer(CHAT))
    assert format_prompt(PROBLEM, RunConfig(sampler="esamp", chat=False), tokenizer(CHAT)) == "1 + 1 ?"


def test_the_beginning_of_text_token_comes_once() -> None:
    """Llama's chat template spells it out and its tokenizer adds it: models answer worse to two."""
    with_bos = tokenizer(CHAT)
    ids = with_bos(format_prompt(PROBLEM, RunConfig(sampler="esamp"), with_bos)).input_ids
    assert ids.count(with_bos.bos_token_id) == 1


def test_tree_of_thoughts_is_a_system_prompt_before_the_problem() -> None:
    both = "{% for m in messages %}<{{ m.role }}> {{ m.content }}{% endfor %}"
    prompt = format_prompt(PROBLEM, RunConfig(sampler="tree-of-thoughts"), tokenizer(both))
    assert prompt.startswith("<system>") and SYSTEM_PROMPT in prompt and prompt.endswith("<user> 1 + 1 ?")


def test_tree_of_thoughts_without_a_chat_template_is_refused() -> None:
    with pytest.raises(InputError, match=r"no chat template.*Use a chat model, or another sampler"):
        format_prompt(PROBLEM, RunConfig(sampler="tree-of-thoughts"), tokenizer(None))


def test_a_model_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"does not exist or has no config\.json"):
        load_model_config(RunConfig(sampler="esamp", model=str(tmp_path / "nothing")))


def test_the_fingerprint_changes_with_the_weights(tiny_model: Path, tmp_path: Path) -> None:
    config = RunConfig(sampler="esamp", model=str(tmp_path))
    for file in tiny_model.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    before = model_fingerprint(config)
    assert before == model_fingerprint(RunConfig(sampler="esamp", model=str(tiny_model)))
    weights = tmp_path / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    assert model_fingerprint(config) != before
