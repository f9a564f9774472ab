"""A sample's text split into tokens, each with a highlight level: its novelty under the Distiller.

For the page marks are two characters per token, so that thousands of samples fit into one file: the length of the piece in code points,
in base 36, and the level 0..9. Level 0 has no mark: the token was not intervened on.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from transformers import PreTrainedTokenizerBase

LEVELS = 9
LONGEST_PIECE = 35
"""Code points that one mark can cover; longer pieces take several."""
DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"
REPLACEMENT = "\ufffd"
"""What a decoder gives for half a character."""


def token_pieces(tokenizer: PreTrainedTokenizerBase, token_ids: Sequence[int]) -> list[str]:
    """The text of each token in its context; "" for special tokens, and for those whose character the next one completes.

    Decodes a short window at a time: a byte-level or SentencePiece token alone would lose its leading space or half a character.
    """
    pieces: list[str] = []
    start = read = 0
    for end in range(1, len(token_ids) + 1):
        before = tokenizer.decode(token_ids[start:read], skip_special_tokens=True)
        after = tokenizer.decode(token_ids[start:end], skip_special_tokens=True)
        if len(after) > len(before) and not after.endswith(REPLACEMENT):
            pieces.append(after[len(before) :])
            start, read = read, end
        else:
            pieces.append("")
    return pieces


def novelty_levels(novelty_T: npt.ArrayLike, *, low: float, high: float) -> list[int]:
    """Levels 1..9 between `low` and `high`, 0 where the novelty is NaN."""
    novelty = np.asarray(novelty_T, dtype=np.float64)
    share = np.clip((novelty - low) / (high - low), 0, 1) if high > low else np.full(novelty.shape, 0.5)
    levels = 1 + np.round(share * (LEVELS - 1))
    return np.where(np.isnan(novelty), 0, np.nan_to_num(levels)).astype(int).tolist()


def encode_marks(pieces: Sequence[str], levels: Sequence[int]) -> str:
    """Two characters per piece; empty pieces have none."""
    marks = []
    for piece, level in zip(pieces, levels, strict=True):
        for start in range(0, len(piece), LONGEST_PIECE):
            marks.append(DIGITS[min(LONGEST_PIECE, len(piece) - start)] + str(level))
    return "".join(marks)
