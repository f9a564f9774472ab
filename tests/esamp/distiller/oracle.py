"""A second opinion on hidden states and logits: the same model in transformers, whole sequences at once, no batch, no cache."""

from dataclasses import dataclass
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM


@dataclass(frozen=True, slots=True, eq=False)
class OracleStates:
    """Of one sequence of T tokens; fp32."""

    source_TH: torch.Tensor
    """[T, H] residual stream after the first layer."""
    target_TH: torch.Tensor
    """[T, H] what lm_head consumes."""
    logits_TV: torch.Tensor
    """[T, V] of the token that follows each."""


class Oracle:
    """The model of a checkpoint folder."""

    def __init__(self, folder: Path) -> None:
        self.model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()

    @property
    def head_weight_VH(self) -> torch.Tensor:
        """Weights of lm_head."""
        return self.model.lm_head.weight.detach()

    @torch.no_grad()
    def read(self, tokens: list[int]) -> OracleStates:
        """States of every position."""
        output = self.model(torch.tensor([tokens]), output_hidden_states=True)
        return OracleStates(output.hidden_states[1][0], output.hidden_states[-1][0], output.logits[0])
