"""jobs.devtools.bench_verifiers: what it prints and writes, without an engine."""

import json
from pathlib import Path

import pytest

from jobs.devtools import bench_verifiers
from pipelines.devtools.bench.verifier_samples import COMPLETION, HEAD, SAMPLES
from pipelines.errors import InputError
from pipelines.sandbox.choice import choose_backend


def test_every_verifier_is_measured_and_its_verdicts_are_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    try:
        choose_backend(allow_unsafe_execution=False)
    except InputError as error:
        pytest.skip(str(error))
    monkeypatch.setenv("COLUMNS", "200")
    for name, samples in SAMPLES.items():
        monkeypatch.setitem(SAMPLES, name, samples[:4])
    tests = json.loads(COMPLETION.answer)
    row = {**tests, "task_id": "t/0", "canonical_solution": "    return sum(numbers)\n"}
    (tmp_path / "humaneval.jsonl").write_text(json.dumps(row) + "\n")
    assert tests["prompt"] == HEAD
    flags = ["--humaneval", str(tmp_path / "humaneval.jsonl"), "--samples", "3"]
    bench_verifiers.main([*flags, "--output", str(tmp_path / "out")])
    told = capsys.readouterr().out
    measured = json.loads((tmp_path / "out" / "verifiers.json").read_text())["verifiers"]
    assert [row["verifier"] for row in measured] == [*SAMPLES, "code, HumanEval's references x 3"]
    assert all(row["verifier"] in told for row in measured)
    verdicts = {row["verifier"]: row["statuses"] for row in measured}
    assert (
        verdicts["countdown"] == verdicts["exact"] == verdicts["choice"] == {"correct": 2, "wrong": 1, "no_answer": 1}
    )
    assert verdicts["math"] == {"correct": 2, "wrong": 1, "no_answer": 1}
    assert verdicts["code"] == {"correct": 2, "wrong": 2}
    assert verdicts["code, 20 cases on stdin"] == verdicts["code, 20 calls"] == {"correct": 4}
    assert verdicts["code, HumanEval's references x 3"] == {"correct": 3}
