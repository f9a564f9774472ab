"""A random model that the whole pipeline can run: peaked like a trained one, with a tokenizer of words and prompts of them."""

import json
import random
from pathlib import Path

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from esamp.devtools.bench.peaked_model import write_peaked_model
from esamp.devtools.bench.shape import Shape

SHAPE = Shape()
"""Hidden 512 x 8 layers, vocabulary 16,384."""
PROMPT_WORDS = 64


def write_word_model(folder: Path, shape: Shape, *, entropy_nats: float, seed: int) -> Path:
    """A checkpoint with its tokenizer in `folder`; returns `folder`."""
    write_peaked_model(folder, shape, entropy_nats=entropy_nats, dtype=torch.float32, seed=seed)
    words = Tokenizer(models.WordLevel({word(i): i for i in range(shape.vocabulary)}, unk_token=word(0)))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    PreTrainedTokenizerFast(tokenizer_object=words, unk_token=word(0)).save_pretrained(folder)
    return folder


def write_word_problems(path: Path, count: int, *, seed: int) -> Path:
    """Problems of random words; returns `path`."""
    draw = random.Random(seed)
    rows = [{"problem": random_words(draw, SHAPE.vocabulary, PROMPT_WORDS)} for _ in range(count)]
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    return path


def random_words(draw: random.Random, vocabulary: int, count: int) -> str:
    """A text of `count` tokens."""
    return " ".join(word(draw.randrange(vocabulary)) for _ in range(count))


def word(token: int) -> str:
    """Text of a token."""
    return f"w{token}"
