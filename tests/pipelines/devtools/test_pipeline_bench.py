"""The pipeline bench: what it makes of its timings, and the model it may write. Its numbers are for people on quiet machines."""

from dataclasses import replace
from pathlib import Path

import pytest
from transformers import AutoTokenizer

from pipelines.devtools.bench import word_model
from pipelines.devtools.bench.pipeline import MODES, RoundTiming, bench_config, medians, pipeline_table
from pipelines.devtools.bench.shape import PipelineShape
from pipelines.devtools.bench.word_model import write_word_model, write_word_problems
from pipelines.prepare.run import prepare_run
from pipelines.problems.dataset_rows import jsonl_rows


def timing(mode: str, tokens_per_s: float) -> RoundTiming:
    return RoundTiming(
        mode=mode,
        tokens=1000,
        seconds=1000 / tokens_per_s,
        busy_seconds=500 / tokens_per_s,
        engine_core_s=400 / tokens_per_s,
        other_core_s=0.0,
    )


def test_ratios_are_of_modes_of_the_same_round() -> None:
    """A machine that is twice as fast in one round must not show in a ratio."""
    speeds = dict(zip(MODES, (100.0, 90.0, 95.0, 60.0, 120.0), strict=True))
    rounds = [[timing(mode, factor * speed) for mode, speed in speeds.items()] for factor in (1.0, 2.0, 0.5)]
    measured = medians([t for round_ in rounds for t in reversed(round_)])
    assert measured["pipeline / bare"]["tokens_per_s"] == pytest.approx(0.95)
    assert measured["two cores / one core"]["tokens_per_s"] == pytest.approx(2.0)
    assert measured["bare"]["tokens_per_s"] == pytest.approx(100)
    assert measured["pipeline"]["busy_tokens_per_s"] == pytest.approx(190)
    assert measured["pipeline / bare"]["tokens_per_core_s"] == pytest.approx(0.95)
    assert pipeline_table(PipelineShape(), rounds[0], "here").row_count == len(measured)


def test_the_word_model_comes_with_prompts_that_its_tokenizer_reads_word_by_word(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(word_model, "SHAPE", word_model.Shape(hidden=128, layers=2, vocabulary=512))
    folder = write_word_model(tmp_path / "model", word_model.SHAPE, entropy_nats=1.0, seed=0)
    [first, second] = jsonl_rows(write_word_problems(tmp_path / "problems.jsonl", 2, seed=0))
    tokenizer = AutoTokenizer.from_pretrained(folder)
    ids = tokenizer(first["problem"]).input_ids
    assert len(ids) == word_model.PROMPT_WORDS and max(ids) < 512
    assert tokenizer.decode(ids) == first["problem"] != second["problem"]


def test_the_random_model_s_run_passes_every_check_of_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(word_model, "SHAPE", word_model.Shape(hidden=128, layers=2, vocabulary=512))
    config = bench_config(PipelineShape(model="random", problems=3, warmup_problems=2), tmp_path)
    assert prepare_run(replace(config, output=tmp_path / "run")).plan.num_units == 3


def test_impossible_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match=r"rounds must be >= 1; got 0\."):
        PipelineShape(rounds=0)
