"""The CUDA path: same numbers as on the CPU, whichever stream trains. Unproven on machines without a GPU, where these are left out."""

import pytest
import torch

from esamp.config import ESampConfig
from esamp.distiller import DistillerBank
from esamp.hidden_rows import HiddenRows
from esamp.learner import StreamLearner, SyncLearner

pytestmark = pytest.mark.gpu
H = 64
CONFIG = ESampConfig(inner_width=32, learning_rate=3e-3)


def make_bank(device: str) -> DistillerBank:
    return DistillerBank(CONFIG, torch.ones(H, device=device), num_slots=4, device=torch.device(device))


def rows(step: int, device: str) -> HiddenRows:
    source, target = torch.randn(2, 5, H, generator=torch.Generator().manual_seed(step)).to(device)
    return HiddenRows.of(source, target, (0, 1, 1, 3, 3))


def test_training_on_cuda_equals_training_on_the_cpu() -> None:
    here, there = make_bank("cpu"), make_bank("cuda")
    for step in range(20):
        here.train(rows(step, "cpu"))
        there.train(rows(step, "cuda"))
    torch.testing.assert_close(there.theta_SP.cpu(), here.theta_SP, rtol=1e-3, atol=1e-4)


def test_training_on_a_side_stream_equals_training_in_step() -> None:
    in_step, beside = SyncLearner(make_bank("cuda")), StreamLearner(make_bank("cuda"))
    for learner in (in_step, beside):
        for slot in (0, 1, 3):
            learner.open(slot, f"group {slot}")
    for step in range(50):
        batch = rows(step, "cuda")
        predictions = []
        for learner in (in_step, beside):
            learner.refresh()
            forward = learner.bank.predict(batch)
            predictions.append(forward.prediction_RH)
            learner.learn(batch, forward)
        torch.testing.assert_close(*predictions, rtol=0, atol=0)
