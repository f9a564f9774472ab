"""Sentence embeddings by a local model: mean over tokens of the last hidden states, as sentence-transformers' MiniLM models are used.

Legend: N texts, L padded length, d embedding size.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from transformers import AutoModel, AutoTokenizer

from pipelines.errors import InputError

BATCH = 64
"""Texts encoded at a time."""
MAX_TOKENS = 256
"""Tokens of a text that are read, unless the encoder takes fewer; texts that reach it are counted."""


class SentenceEmbedder:
    """A text encoder from a folder with config.json, tokenizer and weights. Raises InputError if it cannot be loaded."""

    def __init__(self, path: Path) -> None:
        try:
            self._tokenizer = AutoTokenizer.from_pretrained(path, local_files_only=True, trust_remote_code=False)
            self._model = AutoModel.from_pretrained(path, local_files_only=True, trust_remote_code=False).eval()
        except (OSError, ValueError, KeyError) as error:
            raise InputError(
                f"embedding model {path} cannot be loaded: {' '.join(str(error).split())[:200]}. "
                "Give a folder with config.json, tokenizer and weights of a text encoder."
            ) from error
        self._max_tokens: int = min(MAX_TOKENS, self._model.config.max_position_embeddings)
        self.full_texts = 0
        """Texts so far that fill the encoder; of all but those that fit exactly only the beginning was read."""

    @torch.inference_mode()
    def encode(self, texts_N: Sequence[str]) -> npt.NDArray[np.float32]:
        """Embeddings [N, d], not normalised."""
        rows = [self._encode_batch(texts_N[start : start + BATCH]) for start in range(0, len(texts_N), BATCH)]
        return np.concatenate(rows) if rows else np.zeros((0, 0), dtype=np.float32)

    def _encode_batch(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        batch = self._tokenizer(
            list(texts),
            padding=True,
            truncation=True,
            max_length=self._max_tokens,
            return_tensors="pt",
        )
        self.full_texts += int((batch["attention_mask"].sum(dim=1) == self._max_tokens).sum())
        hidden_NLd = self._model(**batch).last_hidden_state
        mask_NL1 = batch["attention_mask"].unsqueeze(-1).to(hidden_NLd.dtype)
        mean_Nd = (hidden_NLd * mask_NL1).sum(dim=1) / mask_NL1.sum(dim=1).clamp(min=1)
        embeddings: npt.NDArray[np.float32] = mean_Nd.float().numpy()
        return embeddings
