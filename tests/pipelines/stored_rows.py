"""Run folders made by hand, for tests of what reads them."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet

from pipelines.config.run import RunConfig
from pipelines.problems.problem import Problem
from pipelines.runs.folder import RunFolder
from pipelines.runs.manifest import new_manifest
from pipelines.runs.plan import plan_run
from pipelines.runs.schema import STORED_SCHEMA

ROW: dict[str, Any] = {
    "run_id": "r",
    "unit_id": "p0#0",
    "problem_id": "p0",
    "sample_index": 0,
    "seed": 1,
    "problem": "say 0",
    "prompt": "say 0",
    "prompt_token_ids": [1],
    "text": "0",
    "token_ids": [2, 3],
    "num_tokens": 2,
    "finish_reason": "stop",
    "behaviour_logprobs": [-1.0, -2.0],
    "policy_logprobs": [-1.0, -2.5],
    "novelty": [float("nan"), 0.5],
    "novelty_mean": 0.5,
    "loss": [float("nan"), 2.0],
    "intervened_tokens": 1,
    "lag_mean": 1.0,
    "distiller_version": "abc:1:16",
    "shard": "shard-0",
    "generation_seconds": 0.1,
    "sampler": "esamp",
    "beta": 0.25,
    "temperature": 1.0,
    "top_p": 1.0,
    "top_k": 0,
    "min_p": 0.0,
    "max_tokens": 16,
    "model": "m",
    "model_fingerprint": "f",
    "config_hash": "c",
    "error": None,
    "status": "correct",
    "score": 1.0,
    "extracted": "0",
    "detail": "",
    "verdict_ms": 0.1,
    "extraction_rule": "",
}
"""A correct ESamp sample of two tokens."""


def row(problem: int, index: int, **changes: Any) -> dict[str, Any]:
    """A row of problem p<number>, correct unless told otherwise."""
    return {**ROW, "problem_id": f"p{problem}", "unit_id": f"p{problem}#0", "sample_index": index, **changes}


def wrong(problem: int, index: int, **changes: Any) -> dict[str, Any]:
    """A row that is not correct."""
    return row(problem, index, **{"status": "wrong", "score": 0.0, **changes})


def failed(problem: int, index: int) -> dict[str, Any]:
    """A row of a sample that could not be generated."""
    missing = dict.fromkeys(("token_ids", "loss", "novelty", "novelty_mean", "intervened_tokens", "lag_mean"))
    return wrong(problem, index, **missing, num_tokens=0, finish_reason="error", status="error", error="too long")


def make_run(
    path: str | Path, config: RunConfig, files: list[list[dict[str, Any]]], *, num_problems: int = 2
) -> RunFolder:
    """A run folder with these output files."""
    folder = RunFolder(path)
    problems = [Problem(f"p{i}", f"say {i}", str(i)) for i in range(num_problems)]
    plan = plan_run(problems, lambda problem: problem.text, config)
    manifest = new_manifest(
        config, data_fingerprint="d", model_fingerprint="f", num_problems=num_problems, num_units=plan.num_units
    )
    folder.open(manifest, plan)
    for number, rows in enumerate(files):
        with folder.storage.atomic_file(f"samples/{number}.parquet") as file:
            pa.parquet.write_table(pa.Table.from_pylist(rows, schema=STORED_SCHEMA), file)
    return folder
