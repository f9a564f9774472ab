"""Verification: every sample gets a verdict. A CPU stage of the pipeline.

table of samples -> VerifySamples (a Ray actor) -> Scorer (pipelines/verifiers/scorer.py) -> the same rows with a verdict
"""

import time
from pathlib import Path
from typing import Any

import pyarrow as pa
from ray.actor import ActorHandle

from pipelines.problems.problem import Problem
from pipelines.runs.finished_sample import finished_sample
from pipelines.runs.reference_answers import Answers
from pipelines.runs.schema import STORED_SCHEMA
from pipelines.verifiers.scorer import start_scorer
from pipelines.verifiers.settings import VerifierSettings
from pipelines.verifiers.verdict import Verdict, VerdictStatus, plain_verdict


class VerifySamples:
    """Ray Data's callable of this stage: rows with their verdicts; tells its listeners, Progress and others, what was done."""

    def __init__(self, settings: VerifierSettings, answers: str | Path, listeners: list[ActorHandle]) -> None:
        """`answers`: path or URL of the run's file of them."""
        self._answers = Answers(answers)
        self._scorer = start_scorer(settings)
        self._listeners = listeners

    def __call__(self, batch: pa.Table) -> pa.Table:
        """Score every row that holds an answer."""
        rows = batch.to_pylist()
        for row in rows:
            row |= self.verdict_columns(row)
        for listener in self._listeners:
            listener.add.remote([finished_sample(row) for row in rows])
        return pa.Table.from_pylist(rows, schema=STORED_SCHEMA)

    def verdict_columns(self, row: dict[str, Any]) -> dict[str, Any]:
        """The columns of VERDICT_SCHEMA for a row with problem_id, problem, text and error."""
        started = time.perf_counter()
        verdict = self._verdict(row)
        return {
            "status": verdict.status.value,
            "score": verdict.score,
            "extracted": verdict.extracted,
            "detail": verdict.detail,
            "extraction_rule": verdict.rule,
            "verdict_ms": 1000 * (time.perf_counter() - started),
        }

    def _verdict(self, row: dict[str, Any]) -> Verdict:
        if row["error"] is not None:
            return plain_verdict(VerdictStatus.ERROR, detail="no answer: generation failed")
        return self._scorer.score(
            Problem(row["problem_id"], row["problem"], self._answers[row["problem_id"]]), row["text"]
        )
