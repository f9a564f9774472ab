"""How well a Distiller predicts when it trains offline, on rows in random order and as often as wanted: a bound for online training.

Legend: S sequences, R rows, H hidden size.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import PreTrainedModel

from esamp.config import ESampConfig
from esamp.distiller.bank import DistillerBank
from esamp.distiller.hidden_rows import HiddenRows

BATCH = 256
"""Rows of a training step."""


@dataclass(frozen=True, slots=True, eq=False)
class Rows:
    """Decode rows of some samples, each with its problem."""

    source_RH: Tensor
    target_RH: Tensor
    problem_R: Tensor


@torch.inference_mode()
def read_rows(model: PreTrainedModel, prompts: list[list[int]], samples: list[list[int]], layer: int) -> Rows:
    """The rows that predict each sample's tokens but the first; `samples` [S] token ids, of the prompt at the same index."""
    sources, targets, problems = [], [], []
    names: dict[tuple[int, ...], int] = {}
    for prompt, sample in zip(prompts, samples, strict=True):
        output = model(torch.tensor([prompt + sample[:-1]]), output_hidden_states=True)
        sources.append(output.hidden_states[layer][0, len(prompt) :].float())
        targets.append(output.hidden_states[-1][0, len(prompt) :].float())
        problem = names.setdefault(tuple(prompt), len(names))
        problems.append(torch.full((len(sources[-1]),), problem))
    return Rows(torch.cat(sources), torch.cat(targets), torch.cat(problems))


def fit(
    config: ESampConfig, output_gain_H: Tensor, rows: Rows, held_out: Rows, checkpoints: list[int]
) -> dict[int, float]:
    """Relative error |y - f| / |y| on `held_out` after so many optimiser steps on batches of `rows` drawn at random."""
    bank = DistillerBank(config, output_gain_H, num_slots=1, device=output_gain_H.device)
    generator = torch.Generator().manual_seed(0)
    errors: dict[int, float] = {}
    for step in range(max(checkpoints) + 1):
        if step in checkpoints:
            errors[step] = relative_error(bank, held_out)
        chosen_R = torch.randint(len(rows.source_RH), (BATCH,), generator=generator)
        bank.train(HiddenRows.of(rows.source_RH[chosen_R], rows.target_RH[chosen_R], (0,) * BATCH))
    return errors


def relative_error(bank: DistillerBank, rows: Rows) -> float:
    """Mean over rows of |y - f(x)| / |y|."""
    batch = HiddenRows.of(rows.source_RH, rows.target_RH, (0,) * len(rows.source_RH))
    error_R = (rows.target_RH - bank.predict(batch).prediction_RH).norm(dim=-1)
    return float((error_R / rows.target_RH.norm(dim=-1)).mean())


def mean_error(rows: Rows, held_out: Rows) -> float:
    """The same of the trivial prediction: the mean deep state."""
    error_R = (held_out.target_RH - rows.target_RH.mean(0)).norm(dim=-1)
    return float((error_R / held_out.target_RH.norm(dim=-1)).mean())
