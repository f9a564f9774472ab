"""Two ranks hold one model: they must draw one token, and their Distillers must stay equal. Needs two GPUs; untested without them.

What is tested here: after a whole generation the Distillers of both ranks are equal bit for bit, also where top-k has candidates projected
through a head that is split over the ranks; and the tokens are those of one GPU.
"""

import hashlib
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.esamp.engine.engines import PROMPTS, generate, params, start_engine

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two GPUs"),
]


def weights_digest(worker: Any) -> str:
    """For collective_rpc: what a rank's Distillers are, moments included."""
    bank = worker.explorer.bank
    state = (bank.theta_SP, bank.first_moment_SP, bank.second_moment_SP, bank.steps_S)
    return hashlib.sha256(b"".join(tensor.cpu().numpy().tobytes() for tensor in state)).hexdigest()


@pytest.mark.parametrize("filters", [{}, {"top_k": 9}, {"min_p": 0.05}], ids=str)
@pytest.mark.parametrize("trainer", ["local", "sync"])
def test_two_ranks_draw_the_tokens_of_one_and_keep_equal_distillers(
    trainer: str, filters: dict[str, float], tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VLLM_ALLOW_INSECURE_SERIALIZATION", "1")  # the digest travels to the ranks as a function
    settings = {"beta": 0.6, "learning_rate": 3e-3, "trainer": trainer}
    requests = [(prompt, params(seed=i, n=3, **filters)) for i, prompt in enumerate(PROMPTS)]
    alone = generate(start_engine(tiny_model, settings), requests)
    engine = start_engine(tiny_model, settings, tensor_parallel_size=2)
    together = generate(engine, requests)
    first, second = engine.collective_rpc(weights_digest)
    assert first == second
    assert together == alone
