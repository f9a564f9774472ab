"""A second, smaller language model that reads along with the engine, with a KV cache of its own.

Requests that started together have the same length at every step, so the amateur reads them as one batch without padding. Requests
of different length are different batches: many lengths at a time make it slow, not wrong.

Legend: R requests, U different texts among them, L tokens, V vocabulary.
"""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer, DynamicCache, PreTrainedModel

logger = logging.getLogger(__name__)


@dataclass(slots=True, eq=False)
class Text:
    """What one request consists of so far."""

    prompt: tuple[int, ...]
    generated: list[Tensor] = field(default_factory=list)
    """Scalars on the engine's device: reading them on the host would stall a decode step."""

    def __len__(self) -> int:
        return len(self.prompt) + len(self.generated)

    def tokens(self, device: torch.device) -> Tensor:
        """[L] int64"""
        prompt_L = torch.tensor(self.prompt, dtype=torch.long, device=device)
        return torch.cat([prompt_L, torch.stack(self.generated).long()]) if self.generated else prompt_L


@dataclass(slots=True, eq=False)
class ReadTexts:
    """Texts of one length, and what the amateur remembers of them."""

    texts: list[Text]
    """[R]"""
    cache: DynamicCache
    """[R] of them, all tokens but the latest once those have been appended."""

    def keep(self, wanted: set[Text]) -> None:
        """Forget texts that are not wanted now, or have not grown by exactly the one token that comes next."""
        length = self.cache.get_seq_length() + 1
        kept = [r for r, text in enumerate(self.texts) if text in wanted and len(text) == length]
        if kept and len(kept) < len(self.texts):
            self.cache.batch_select_indices(torch.tensor(kept))
        self.texts = [self.texts[r] for r in kept]


class Amateur:
    """The amateur and its caches."""

    def __init__(self, model: PreTrainedModel) -> None:
        self.model = model
        self.num_rereads = 0
        """Texts beyond their prompt that were read from the start: their requests had been preempted, or sat out a step."""
        self._batches: list[ReadTexts] = []

    @torch.no_grad()
    def logits(self, texts: Sequence[Text]) -> Tensor:
        """Next-token logits [R, V] of texts, fp32. What was remembered of any other text is forgotten."""
        wanted = set(texts)
        for batch in self._batches:
            batch.keep(wanted)
        self._batches = [batch for batch in self._batches if batch.texts]
        logits_of: dict[Text, Tensor] = {}
        for batch in self._batches:
            logits_of.update(zip(batch.texts, self._read_on(batch), strict=True))
        for same_length in by_length([text for text in texts if text not in logits_of]):
            logits_of.update(zip(same_length, self._read_from_start(same_length), strict=True))
        return torch.stack([logits_of[text] for text in texts])

    def forget_all(self) -> None:
        """Free the caches."""
        self._batches = []

    def _read_on(self, batch: ReadTexts) -> Tensor:
        latest_R1 = torch.stack([text.generated[-1] for text in batch.texts]).long().unsqueeze(1)
        return self._forward(latest_R1, batch.cache)

    def _read_from_start(self, texts: list[Text]) -> Tensor:
        rereads = sum(bool(text.generated) for text in texts)
        if rereads:
            self.num_rereads += rereads
            logger.info("the amateur reads %d text(s) of %d tokens from the start again", rereads, len(texts[0]))
        # Siblings start from the same prompt: it is read once, and its cache repeated for each.
        tokens_RL = torch.stack([text.tokens(self.model.device) for text in texts])
        tokens_UL, which_R = tokens_RL.unique(dim=0, return_inverse=True)
        cache = DynamicCache(config=self.model.config)
        logits_RV = self._forward(tokens_UL, cache)[which_R]
        cache.batch_select_indices(which_R)
        self._batches.append(ReadTexts(texts, cache))
        return logits_RV

    def _forward(self, tokens_RL: Tensor, cache: DynamicCache) -> Tensor:
        output = self.model(tokens_RL, past_key_values=cache, use_cache=True, logits_to_keep=1)
        logits_RV: Tensor = output.logits[:, -1].float()
        return logits_RV


def by_length(texts: Sequence[Text]) -> Iterator[list[Text]]:
    """Texts of the same length together."""
    groups: dict[int, list[Text]] = {}
    for text in texts:
        groups.setdefault(len(text), []).append(text)
    yield from groups.values()


def load_amateur(name: str, *, dtype: torch.dtype, device: torch.device) -> Amateur:
    """The causal language model `name` (folder or hub id). Raises ValueError if there is none."""
    try:
        model = AutoModelForCausalLM.from_pretrained(name, dtype=dtype, trust_remote_code=False)
    except (OSError, ValueError) as error:
        raise ValueError(
            f"contrastive amateur {name} cannot be loaded as a causal language model: {str(error).splitlines()[0]} "
            "Give a folder or a hub id such as Qwen/Qwen3-0.6B."
        ) from error
    return Amateur(model.to(device).eval())


def check_vocabulary(name: str, amateur: Amateur, *, size: int, tokenizer: str | None) -> None:
    """Raise ValueError unless the amateur knows the engine's tokens by the same ids.

    `size`: width of the engine's logits. `tokenizer`: folder or hub id of its tokenizer. With one, the vocabularies themselves are
    compared and widths may differ by padding: models of one family are padded differently (Qwen2.5-7B to 152064, Qwen2.5-0.5B to
    151936). Without one, the widths must be equal.
    """
    amateur_size = amateur.model.config.get_text_config().vocab_size
    if tokenizer is None:
        if amateur_size != size:
            raise ValueError(
                f"contrastive amateur {name} must have the engine's vocabulary; it has {amateur_size} tokens, the engine {size}. "
                "Use a smaller model of the same family."
            )
        return
    ours, theirs = vocabulary(tokenizer), vocabulary(name)
    if ours != theirs or max(ours.values()) >= min(size, amateur_size):
        raise ValueError(
            f"contrastive amateur {name} must have the engine's vocabulary; its {len(theirs)} tokens ({amateur_size} logits) are not the "
            f"{len(ours)} of {tokenizer} ({size} logits). Use a smaller model of the same family."
        )


def vocabulary(name: str) -> dict[str, int]:
    """Token ids of a tokenizer (folder or hub id), added tokens included. Raises ValueError if there is none."""
    try:
        tokenizer: Any = AutoTokenizer.from_pretrained(name, trust_remote_code=False)
    except (OSError, ValueError) as error:
        raise ValueError(
            f"{name} has no tokenizer that can be loaded, so that its vocabulary cannot be compared: {str(error).splitlines()[0]}"
        ) from error
    tokens: dict[str, int] = tokenizer.get_vocab()
    return tokens
