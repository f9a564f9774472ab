"""Answers cut into tokens without losing a character, and marks that survive the page."""

import numpy as np
import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from pipelines.report.html_text import shown_text
from pipelines.report.token_marks import encode_marks, novelty_levels, token_pieces


@pytest.fixture(scope="module")
def byte_level() -> PreTrainedTokenizerFast:
    """One token per byte: a character such as ü takes two."""
    vocabulary = {character: index for index, character in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    tokenizer = Tokenizer(models.BPE(vocabulary, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer)


@pytest.mark.parametrize("text", ["für 3 < 4 und 𝒙", " leading space", "", "line\nline", "日本"])
def test_pieces_add_up_to_the_text(byte_level: PreTrainedTokenizerFast, text: str) -> None:
    ids = byte_level(text)["input_ids"]
    pieces = token_pieces(byte_level, ids)
    assert len(pieces) == len(ids) and "".join(pieces) == text


def test_levels_run_from_faint_to_strong_and_nan_has_none() -> None:
    assert novelty_levels([np.nan, 0.0, 0.5, 0.75, 1.0, 3.0], low=0.5, high=1.0) == [0, 1, 1, 5, 9, 9]
    assert novelty_levels([0.7, np.nan], low=0.7, high=0.7) == [5, 0]


def test_marks_cover_every_character_however_long_the_piece() -> None:
    pieces = ["ab", "", "x" * 80, "𝒙"]
    marks = encode_marks(pieces, [0, 3, 9, 1])
    assert marks == "20z9z9a911"
    assert sum(int(length, 36) for length in marks[::2]) == sum(map(len, pieces))


def test_what_a_parser_would_change_is_shown_as_a_picture_of_it() -> None:
    text = "a\r\nb\0c"
    assert len(shown_text(text)) == len(text) and not set("\r\0") & set(shown_text(text))
