"""torch.compile changes how the model runs, not what is drawn: the shallow state must survive it."""

from pathlib import Path

import pytest
import torch

from tests.esamp.engine.engines import PROMPTS, explorer, generate, params, rows_by_request, start_engine, watched

pytestmark = pytest.mark.engine


@pytest.mark.slow
def test_a_compiled_model_gives_the_tokens_and_hidden_states_of_an_eager_one(tiny_model: Path) -> None:
    requests = [(p, params(seed=i, max_tokens=40)) for i, p in enumerate(PROMPTS)]
    tokens, sources, modes = [], [], []
    for is_eager in (True, False):
        engine = start_engine(tiny_model, {"beta": 0.6, "learning_rate": 3e-3}, enforce_eager=is_eager)
        modes.append(engine.llm_engine.vllm_config.compilation_config.mode)
        with watched(engine) as seen:
            tokens.append(generate(engine, requests))
        counters = explorer(engine).counters()
        assert counters.explored_rows == 4 * 39
        assert counters.late_predictions == (0 if is_eager else 39), "a compiled model's layers run no hooks"
        sources.append([torch.stack(rows) for rows in rows_by_request(seen, "source_RH").values()])
    assert modes[0] != modes[1], "nothing was compiled: nothing was tested"
    assert tokens[0] == tokens[1]
    for eager, compiled in zip(*sources, strict=True):
        torch.testing.assert_close(eager, compiled, rtol=1e-3, atol=1e-3)
