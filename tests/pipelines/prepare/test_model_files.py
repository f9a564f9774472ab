"""What is known of a model without an engine: its fingerprint, and how it wants prompts."""

import ast
import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit
from tokenizers.processors import TemplateProcessing
from transformers import PreTrainedTokenizerFast

from actors.config import EngineConfig
from pipelines.config.run import RunConfig
from pipelines.errors import InputError
from pipelines.prepare.model_files import load_model_config, load_tokenizer, model_fingerprint
from pipelines.prepare.prompt import format_prompt
from pipelines.prepare.tree_of_thoughts import SYSTEM_PROMPT
from pipelines.problems.problem import Problem

ROOT = Path(__file__).resolve().parents[3]
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


def model_with_code(folder: Path) -> RunConfig:
    """A model whose config and tokenizer are code of its own, which leaves a file where it runs."""
    folder.mkdir()
    code = (
        f"from pathlib import Path\nfrom transformers import PretrainedConfig\nPath({str(folder / 'ran')!r}).touch()\n"
    )
    (folder / "own.py").write_text(code + "class Own(PretrainedConfig):\n    model_type = 'own'\nOwnTokenizer = Own\n")
    config = {"model_type": "own", "auto_map": {"AutoConfig": "own.Own"}}
    (folder / "config.json").write_text(json.dumps(config))
    tokenizer = {"auto_map": {"AutoTokenizer": ["own.OwnTokenizer", None]}}
    (folder / "tokenizer_config.json").write_text(json.dumps(tokenizer))
    return RunConfig(model=str(folder))


@pytest.mark.parametrize("load", [load_model_config, load_tokenizer])
def test_code_beside_a_models_weights_does_not_run_unless_it_was_typed(
    load: Callable[[RunConfig], Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = model_with_code(tmp_path / "model")
    monkeypatch.setattr("builtins.input", lambda *_: "y")
    with pytest.raises(InputError, match=r'--engine\.extra \'\{"trust_remote_code": true\}\''):
        load(config)
    assert not (tmp_path / "model" / "ran").exists()


def test_it_runs_where_it_was_typed(tmp_path: Path) -> None:
    config = model_with_code(tmp_path / "model")
    typed = replace(config, engine=EngineConfig(extra='{"trust_remote_code": true}'))
    assert load_model_config(typed).model_type == "own" and (tmp_path / "model" / "ran").exists()


def test_whoever_loads_a_model_says_that_its_code_is_not_trusted() -> None:
    """Without a word transformers asks on the terminal, and runs it after a "y"."""
    for package in ("esamp", "actors", "pipelines", "jobs"):
        for path in (ROOT / package).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Call) and re.fullmatch(r"Auto\w+\.from_pretrained", ast.unparse(node.func)):
                    assert "trust_remote_code" in {keyword.arg for keyword in node.keywords}, f"{path}:{node.lineno}"


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
