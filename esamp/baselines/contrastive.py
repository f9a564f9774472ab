"""Contrastive decoding: prefer what the engine's model, the expert, finds likelier than a weaker amateur does.

    head        {v: p_expert(v) >= alpha max p_expert}
    difference  log p_expert - log p_amateur on the head                 (Li et al., arXiv:2210.15097)
    reasoning   (1 + b) z_expert - b z_amateur on the head               (O'Brien and Lewis, arXiv:2309.09117)

The next token is drawn from the softmax of the score divided by the request's temperature, as the ESamp paper (arXiv:2604.24927) says
it samples; the first source searched with beams. That paper names the amateurs and leaves alpha, b and the form open. Chosen here:
the head is that of temperature 1, among the tokens that the request's filters left; the amateur has temperature 1; the first token
counts like any other.

Legend: B batch rows, R rows, V vocabulary, U vocabulary of the amateur.
"""

import math
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from esamp.baselines.amateur import Text, check_vocabulary, load_amateur
from esamp.baselines.config import ContrastiveConfig
from esamp.batch import BatchStep, NewRequest
from esamp.engine import adapter
from esamp.policy import StepPlan
from esamp.request_policy import RequestPolicy, row_index


class Score(Protocol):
    """How expert and amateur are weighed against each other."""

    def __call__(self, expert_RV: Tensor, amateur_RV: Tensor) -> Tensor:
        """Scores [R, V], up to a constant per row, from logits."""
        ...


class DifferenceScore:
    """log p_expert - log p_amateur."""

    def __call__(self, expert_RV: Tensor, amateur_RV: Tensor) -> Tensor:
        return expert_RV - amateur_RV


@dataclass(frozen=True, slots=True)
class ReasoningScore:
    """(1 + b) z_expert - b z_amateur."""

    strength: float

    def __call__(self, expert_RV: Tensor, amateur_RV: Tensor) -> Tensor:
        return (1 + self.strength) * expert_RV - self.strength * amateur_RV


def build_score(config: ContrastiveConfig) -> Score:
    """The score that the config names."""
    return DifferenceScore() if config.form == "difference" else ReasoningScore(config.strength)


@dataclass(frozen=True, slots=True, eq=False)
class Contrast:
    """A FilteredLogitsProcessor: the score on the head, -inf elsewhere."""

    rows: Tensor
    """[R]"""
    amateur_RV: Tensor
    """The amateur's logits."""
    is_finite_R: Tensor
    """[R] False where they are not finite: the row stays vanilla."""
    score: Score
    alpha: float

    def __call__(self, logits_BV: Tensor, temperature_B: Tensor) -> Tensor:
        temperature_R1 = temperature_B[self.rows].unsqueeze(1)
        expert_RV = logits_BV[self.rows]
        least_R1 = expert_RV.amax(-1, keepdim=True) + math.log(self.alpha) / temperature_R1
        score_RV = self.score(expert_RV, self.amateur_RV / temperature_R1)
        score_RV = torch.where(expert_RV >= least_R1, score_RV, -torch.inf)
        logits_BV[self.rows] = torch.where(self.is_finite_R.unsqueeze(1), score_RV, expert_RV)
        return logits_BV


class ContrastivePolicy(RequestPolicy[Text]):
    """Contrastive decoding in one worker: a SamplingPolicy. The amateur and its caches take memory that the engine does not know of: on
    a GPU leave room for them (gpu_memory_utilization)."""

    def __init__(self, config: ContrastiveConfig, worker: Any) -> None:
        """Loads the amateur. Raises ValueError if it cannot be loaded, or has another vocabulary."""
        super().__init__(text_of)
        self.config = config
        self.score = build_score(config)
        self._vocab_size, _ = adapter.logits_shape(worker)
        self.amateur = load_amateur(config.amateur, dtype=worker.model_config.dtype, device=worker.device)
        check_vocabulary(config.amateur, self.amateur, size=self._vocab_size, tokenizer=adapter.tokenizer_name(worker))

    def before_sampling(self, step: BatchStep, *, is_recording: bool) -> StepPlan:
        """Let the amateur read what the expert has read, and contrast the two."""
        texts = self.rows_of(step)
        if not texts:
            self.amateur.forget_all()
            self.intervene(step, None)
            return StepPlan()
        for row, text in texts.items():
            check_length(text, step.num_tokens[row], step.request_ids[row])
        amateur_RU = self.amateur.logits(list(texts.values()))
        is_finite_R = torch.isfinite(amateur_RU).all(-1)
        rows_R = row_index(list(texts), step.target_BH.device)
        self.intervene(step, rows_R, is_finite_R)
        amateur_RV = widen(amateur_RU, self._vocab_size)
        return StepPlan(Contrast(rows_R, amateur_RV, is_finite_R, self.score, self.config.alpha))

    def after_sampling(self, step: BatchStep, tokens_B: Tensor) -> None:
        """The amateur reads the drawn tokens in the next step."""
        tokens = tokens_B.unbind()
        for row, text in self.rows_of(step).items():
            text.generated.append(tokens[row])


def text_of(request: NewRequest) -> Text:
    """The request's text before its first token. Raises ValueError if it has no prompt of tokens, which is all the amateur can read."""
    if not request.prompt_token_ids:
        raise ValueError("contrastive decoding needs a prompt of tokens; got embeddings")
    return Text(request.prompt_token_ids)


def check_length(text: Text, num_tokens: int, request_id: str) -> None:
    """Drop tokens that vLLM drew and took back; raise RuntimeError if it has read tokens that this policy never saw."""
    if len(text) < num_tokens:
        raise RuntimeError(
            f"request {request_id}: the expert has read {num_tokens} tokens, the amateur knows {len(text)}; prompts that grow "
            "(streaming input) are not supported by contrastive decoding."
        )
    del text.generated[num_tokens - len(text.prompt) :]


def widen(amateur_RU: Tensor, vocab_size: int) -> Tensor:
    """[R, U] -> [R, V]. Ids that the amateur lacks are padding, not tokens; they count as its likeliest, which never favours them."""
    missing = vocab_size - amateur_RU.shape[1]
    if missing <= 0:
        return amateur_RU[:, :vocab_size]
    return torch.cat([amateur_RU, amateur_RU.amax(-1, keepdim=True).expand(-1, missing)], dim=1)
