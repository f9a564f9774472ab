"""Perplexity of samples under a second model: a measure of coherence that the sampled model does not bias."""

import math
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from pipelines.errors import InputError


class PerplexityModel:
    """A causal language model from a folder. Raises InputError if it cannot be loaded."""

    def __init__(self, path: Path) -> None:
        try:
            self._tokenizer = AutoTokenizer.from_pretrained(path, local_files_only=True, trust_remote_code=False)
            self._model = AutoModelForCausalLM.from_pretrained(
                path, local_files_only=True, trust_remote_code=False
            ).eval()
        except (OSError, ValueError, KeyError) as error:
            raise InputError(
                f"perplexity model {path} cannot be loaded: {' '.join(str(error).split())[:200]}. "
                "Give a folder with config.json, tokenizer and weights of a causal language model."
            ) from error
        self._context: int = self._model.config.max_position_embeddings

    @torch.inference_mode()
    def perplexity(self, prompt: str, answer: str) -> float:
        """exp of the mean negative log-likelihood of the answer's tokens after the prompt, under this model's own tokenizer.

        The prompt is cut at its beginning and the answer at its end where both do not fit its context. NaN for an answer without tokens.
        """
        prompt_ids = self._tokenizer(prompt)["input_ids"]
        answer_ids = self._tokenizer(answer, add_special_tokens=False)["input_ids"][: self._context // 2]
        if not answer_ids:
            return math.nan
        if not prompt_ids:
            # Without a prompt nothing predicts the first token: it is a condition, not a prediction.
            prompt_ids, answer_ids = answer_ids[:1], answer_ids[1:]
            if not answer_ids:
                return math.nan
        prompt_ids = prompt_ids[-(self._context - len(answer_ids)) :]
        ids = torch.tensor([[*prompt_ids, *answer_ids]])
        logits = self._model(ids).logits[0, len(prompt_ids) - 1 : -1].float()
        loss = torch.nn.functional.cross_entropy(logits, ids[0, len(prompt_ids) :])
        return float(loss.exp())
