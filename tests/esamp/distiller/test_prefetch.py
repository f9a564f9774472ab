"""Predicting while the deeper layers run changes when something is computed, and nothing else."""

from pathlib import Path

import pytest

from tests.esamp.engine.engines import PROMPTS, explorer, generate_staggered, params, start_engine

ARRIVALS = [0, 2, 3, 9, 1, 12, 4, 5]
SETTINGS = {"beta": 0.8, "learning_rate": 1e-2}


@pytest.mark.engine
@pytest.mark.parametrize(
    "settings",
    [{}, {"trainer": "sync"}, {"trainer": "local", "lag": 3}, {"scope": "prior"}, {"scope": "shard"}],
    ids=str,
)
def test_foreseen_predictions_give_the_tokens_of_late_ones(settings: dict[str, object], tiny_model: Path) -> None:
    requests = [
        (prompt, params(seed=i, max_tokens=8 + 3 * i, extra_args={"esamp_beta": 0.0} if i == 2 else None))
        for i, prompt in enumerate(PROMPTS * 2)
    ]
    tokens = []
    for is_late in (False, True):
        engine = start_engine(tiny_model, {**SETTINGS, **settings})
        inside = explorer(engine)
        if is_late:
            inside._source_hook = None
        tokens.append(generate_staggered(engine, requests, ARRIVALS))
        assert (inside.counters().late_predictions > 0) == is_late
    assert tokens[0] == tokens[1]


@pytest.mark.engine
def test_what_a_foreseen_prediction_raises_ends_the_step(tiny_model: Path) -> None:
    """A thread must not fail in silence."""
    engine = start_engine(tiny_model, SETTINGS)

    def fail(rows: object) -> None:
        raise ArithmeticError("no prediction")

    explorer(engine).bank.predict = fail  # type: ignore[method-assign, assignment]
    with pytest.raises(ArithmeticError, match="no prediction"):
        generate_staggered(engine, [(PROMPTS[0], params(seed=1))], [0])
