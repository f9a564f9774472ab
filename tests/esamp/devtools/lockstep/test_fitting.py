"""Learning curves: the rows that are read are those that predict a sample's tokens, and an error that can fall does."""

from pathlib import Path

import torch
from transformers import AutoModelForCausalLM

from esamp.config import ESampConfig
from esamp.devtools.lockstep.fitting import fit, mean_error, read_rows
from tests.esamp.distiller.oracle import Oracle


def test_rows_are_those_that_drew_each_token_but_the_first_and_can_be_learned(tiny_model: Path) -> None:
    model = AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.float32).eval()
    prompts, samples = [[5, 6, 7], [5, 6, 7], [9, 3]], [[1, 2, 3, 4], [4, 4], [8, 8, 8]]
    rows = read_rows(model, prompts, samples, layer=1)
    assert rows.problem_R.tolist() == [0, 0, 0, 0, 1, 1]
    read = Oracle(tiny_model).read([5, 6, 7, 1, 2, 3])
    torch.testing.assert_close(rows.target_RH[:3], read.target_TH[3:], rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(rows.source_RH[:3], read.source_TH[3:], rtol=1e-3, atol=1e-3)
    gain_H = model.model.norm.weight.detach().float()
    errors = fit(ESampConfig(inner_width=32, learning_rate=3e-3), gain_H, rows, rows, [0, 100])
    assert errors[100] < 0.5 * errors[0] and errors[100] < mean_error(rows, rows)
