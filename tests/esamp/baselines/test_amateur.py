"""The amateur remembers what it has read, and refuses a vocabulary that is not the engine's."""

import random
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast

from esamp.baselines.amateur import Amateur, Text, check_vocabulary, load_amateur


@pytest.fixture(scope="module")
def amateur(tiny_model: Path) -> Amateur:
    return load_amateur(str(tiny_model), dtype=torch.float32, device=torch.device("cpu"))


def test_logits_are_those_of_reading_everything_anew(amateur: Amateur) -> None:
    """Texts start together or alone, sit steps out, lose tokens, end: at every step the caches must not show."""
    moves = random.Random(3)
    alone = amateur.model
    prompts = [(5, 6, 7), (5, 6, 7), (9, 3, 8), (20, 21), (5, 6, 7), (1, 2, 3, 4, 5), (5, 6, 7)]
    texts = [Text(prompt) for prompt in prompts[:4]]
    before = amateur.num_rereads
    for step in range(30):
        if step == 6:
            texts += [Text(prompt) for prompt in prompts[4:]]
        if step == 20:
            del texts[1]
        present = [text for text in texts if moves.random() < 0.85]
        if not present:
            continue
        if step % 7 == 5:
            del present[0].generated[-2:]
        logits_RV = amateur.logits(present)
        for text, logits_V in zip(present, logits_RV, strict=True):
            with torch.no_grad():
                expected_V = alone(text.tokens(torch.device("cpu"))[None]).logits[0, -1]
            torch.testing.assert_close(logits_V, expected_V, rtol=1e-4, atol=1e-4)
            text.generated.append(torch.tensor(moves.randrange(128), dtype=torch.int32))
    assert amateur.num_rereads > before, "no request sat out: nothing was tested"


def test_texts_in_lock_step_are_one_batch(amateur: Amateur) -> None:
    sizes: list[torch.Size] = []
    hook = amateur.model.register_forward_pre_hook(lambda module, args: sizes.append(args[0].shape))
    texts = [Text((4, 5, 6)) for _ in range(5)] + [Text((7, 8, 9))]
    for _ in range(3):
        amateur.logits(texts)
        for text in texts:
            text.generated.append(torch.tensor(11))
        texts = texts[1:]
    hook.remove()
    assert sizes == [(2, 3), (5, 1), (4, 1)], "siblings' prompt is read once, then all texts take each step together"


def tokenizer_at(folder: Path, words: list[str]) -> str:
    """A tokenizer that knows these words."""
    plain = Tokenizer(WordLevel({word: number for number, word in enumerate(words)}, unk_token=words[0]))
    PreTrainedTokenizerFast(tokenizer_object=plain, unk_token=words[0]).save_pretrained(folder)
    return str(folder)


def test_another_vocabulary_is_refused(amateur: Amateur, tmp_path: Path) -> None:
    check_vocabulary("small", amateur, size=128, tokenizer=None)
    with pytest.raises(ValueError, match="small must have the engine's vocabulary; it has 128 tokens, the engine 130"):
        check_vocabulary("small", amateur, size=130, tokenizer=None)
    words = tokenizer_at(tmp_path / "words", ["a", "b", "c"])
    swapped = tokenizer_at(tmp_path / "swapped", ["a", "c", "b"])
    check_vocabulary(words, amateur, size=130, tokenizer=words)
    check_vocabulary(words, amateur, size=3, tokenizer=words)
    with pytest.raises(ValueError, match="are not the 3 of"):
        check_vocabulary(swapped, amateur, size=128, tokenizer=words)
    with pytest.raises(ValueError, match="are not the 3 of"):
        check_vocabulary(words, amateur, size=2, tokenizer=words)
    with pytest.raises(ValueError, match="has no tokenizer that can be loaded"):
        check_vocabulary(str(tmp_path), amateur, size=128, tokenizer=words)


def test_a_model_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="cannot be loaded as a causal language model"):
        load_amateur(str(tmp_path / "nothing"), dtype=torch.float32, device=torch.device("cpu"))


def test_the_amateur_keeps_the_precision_asked_for(tiny_model: Path) -> None:
    rounded = load_amateur(str(tiny_model), dtype=torch.bfloat16, device=torch.device("cpu"))
    assert rounded.model.dtype == torch.bfloat16
    assert rounded.logits([Text((1, 2))]).dtype == torch.float32
    assert AutoModelForCausalLM.from_pretrained(tiny_model).dtype == torch.float32
