"""A batch as sampling policies see it: what any engine with continuous batching knows, read from vLLM by esamp/engine/adapter.py.

Legend: B batch rows, H hidden size.
"""

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from esamp.kept_tokens import KeptTokens

GREEDY_TEMPERATURE = 1e-5
"""Below this vLLM takes the most likely token (vllm.v1.sample.sampler._SAMPLING_EPS)."""


@dataclass(frozen=True, slots=True)
class NewRequest:
    """What a request that was just scheduled asked for."""

    request_id: str
    prompt_token_ids: tuple[int, ...]
    """Empty for a prompt of embeddings."""
    temperature: float
    top_k: int
    """0 or -1: all tokens."""
    is_unfiltered: bool
    """Sampled from softmax(logits / temperature): nothing filters, shifts or reports the logits but masks, which only forbid tokens."""
    extra_args: dict[str, Any]
    stop_token_ids: frozenset[int] = frozenset()
    """Tokens that end the sample, the end of text among them unless the request ignores it."""

    @property
    def is_greedy(self) -> bool:
        """True if the engine takes the most likely token, so that no policy applies."""
        return self.temperature < GREEDY_TEMPERATURE


@dataclass(frozen=True, slots=True)
class BatchRows:
    """The rows of one step, known before its forward pass."""

    request_ids: tuple[str, ...]
    """[B]"""
    is_decode: tuple[bool, ...]
    """[B] the row's last token is one the model has sampled, and a next one will be sampled from it."""
    draws_token: tuple[bool, ...]
    """[B] False for a prompt that is only partly read: what is sampled there is thrown away."""
    num_tokens: tuple[int, ...]
    """[B] tokens of the row, prompt included, that the model has read."""


@dataclass(frozen=True, slots=True)
class CapturedRows:
    """The rows of a step whose forward pass still runs, with the shallow state that was captured on the way."""

    rows: BatchRows
    source_BH: Tensor
    """[B, H] as in BatchStep."""


@dataclass(frozen=True, slots=True)
class BatchStep(BatchRows):
    """One step after the forward pass and before sampling."""

    source_BH: Tensor
    """[B, H] residual stream after the shallow layer, in the model's dtype; empty [0] where the engine does not output it."""
    target_BH: Tensor
    """[B, H] what lm_head consumes, in the model's dtype."""


@dataclass(frozen=True, slots=True, eq=False)
class PromptRows:
    """Tokens of one prompt that the forward pass of a step has read, P of them."""

    request_id: str
    first: int
    """Place of the first of them in the prompt."""
    source_PH: Tensor
    """[P, H] residual stream after the shallow layer, in the model's dtype."""
    target_PH: Tensor
    """[P, H] post-final-norm hidden states, in the model's dtype."""


@dataclass(frozen=True, slots=True, eq=False)
class Draw:
    """What is known of the tokens drawn in one step, [B] each. A greedy row has behaviour log-probability 0 and is never flipped."""

    behaviour_logprobs_B: Tensor
    """fp32, of the token under the distribution it was drawn from."""
    policy_logprobs_B: Tensor
    """fp32, under the plain model at temperature 1; NaN unless the sampler was asked to look at the plain model."""
    num_candidates_B: Tensor
    """fp32, tokens that could have been drawn."""
    is_flipped_B: Tensor
    """bool, True where the same random numbers would have drawn another token without the policy."""
    sampling_logprobs_B: Tensor | None = None
    """fp32, under the plain model at the same temperature and on the same kept tokens; None if nobody asked, or the sampler did not see
    the plain model."""
    kept: KeptTokens | None = None
    """None if nobody asked, or nothing was filtered in this step."""
