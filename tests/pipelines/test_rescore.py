"""Answers are scored again over real Ray Data: nothing generated changes, the new verdicts count once all are there, a kill goes on."""

import io
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet
import pytest
from rich.console import Console

from pipelines.config.run import RunConfig
from pipelines.errors import InputError, RunError
from pipelines.rescore import VerdictChanges, verification_name, verify_run
from pipelines.runs.folder import RunFolder
from pipelines.runs.schema import STORED_SCHEMA
from pipelines.runs.summary import summarise
from pipelines.verifiers.settings import verifier_settings
from tests.pipelines.failing_sandbox import VerifyInAFailingSandbox
from tests.pipelines.stored_rows import failed, make_run, row, wrong

CONFIG = RunConfig(sampler="esamp", samples=2, verifier="exact")
PATIENT = "tests.pipelines.verifiers.patient_verifier:verify"
NOTHING_TO_DO = "tests.pipelines.verifiers.patient_verifier:verify_all_wrong"


def verify(folder: RunFolder, **settings: Any) -> VerdictChanges:
    return verify_run(folder, replace(folder.manifest().config, **settings), console=Console(file=io.StringIO()))


def samples(folder: RunFolder) -> list[tuple[Any, ...]]:
    columns = ["problem_id", "sample_index", "status", "score", "detail"]
    rows = folder.read_samples(columns).to_pylist()
    return sorted(tuple(row[name] for name in columns) for row in rows)


def generated(folder: RunFolder) -> dict[str, bytes]:
    return {name: folder.storage.read(name) for name in [*folder.files(), "plan/plan.parquet", "answers.parquet"]}


@pytest.mark.ray
@pytest.mark.usefixtures("local_ray")
def test_the_verdicts_of_another_verifier_count_and_what_was_generated_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parts = [[row(0, 0), wrong(0, 1)], [wrong(1, 0, text="1"), failed(1, 1)]]
    folder = make_run(tmp_path / "run", CONFIG, parts)
    before = generated(folder)
    changes = verify(folder)
    assert changes.scored == 3, "what could not be generated is not scored"
    assert changes.changes == {
        ("correct", "correct"): 1,
        ("wrong", "correct"): 2,
        ("error", "error"): 1,
    }, "both texts are the reference: the stored verdicts were another verifier's"
    assert [sample[:3] for sample in samples(folder)] == [
        ("p0", 0, "correct"),
        ("p0", 1, "correct"),
        ("p1", 0, "correct"),
        ("p1", 1, "error"),
    ]
    assert generated(folder) == before
    summary = summarise(folder)
    assert (summary.verdicts, summary.pass_at[0].estimate) == (changes.verification, 0.75)
    [event] = folder.manifest().events
    assert (event.kind, event.details["verifier"], event.details["changed"]) == ("verified", "exact", 2)
    assert event.versions["python"] == sys.version.split()[0]

    verify(folder, verifier=NOTHING_TO_DO)
    assert [sample[2] for sample in samples(folder)] == ["wrong", "wrong", "wrong", "error"]

    def no_ray(cpus: int) -> None:
        raise AssertionError("every answer has a verdict")

    monkeypatch.setattr("pipelines.rescore.connected_ray", no_ray)
    again = verify(folder, verifier=NOTHING_TO_DO)
    assert (again.scored, again.changed, len(folder.manifest().events)) == (0, 0, 2)
    assert verify(folder).scored == 0, "back to the first: its verdicts are still there"
    assert folder.manifest().verification == changes.verification

    more = [row(1, 1)]
    pa.parquet.write_table(
        pa.Table.from_pylist(more, schema=STORED_SCHEMA), tmp_path / "run" / "samples" / "more.parquet"
    )
    assert samples(folder)[3][2] == "unverified", "drawn by the run's verifier since: this one has not seen it"
    late = summarise(folder)
    assert (late.pass_at, late.without_verdict) == ([], 1)
    assert f"python -m jobs.verify {tmp_path / 'run'}" in late.warnings[0]


@pytest.mark.ray
@pytest.mark.usefixtures("local_ray")
def test_a_sandbox_that_fails_ends_the_scoring_in_one_line_and_the_old_verdicts_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipelines.rescore.VerifySamples", VerifyInAFailingSandbox)
    folder = make_run(tmp_path / "run", CONFIG, [[row(0, 0), wrong(0, 1)], [wrong(1, 0), row(1, 1)]])
    before = samples(folder)
    with pytest.raises(RunError) as ended:
        verify(folder, verifier="math")
    told = str(ended.value)
    assert "the code sandbox (unsafe) fails on this machine" in told and "the old verdicts still count" in told
    assert "\n" not in told and "Traceback" not in told
    assert samples(folder) == before


@pytest.mark.ray
@pytest.mark.usefixtures("local_ray")
@pytest.mark.slow
def test_kill_9_in_the_middle_leaves_the_old_verdicts_and_the_same_command_goes_on(tmp_path: Path) -> None:
    parts = [[wrong(problem, 0, text=str(problem)), wrong(problem, 1)] for problem in range(12)]
    folder = make_run(tmp_path / "run", replace(CONFIG, limit=12), parts, num_problems=12)
    before = generated(folder)
    name = verification_name(verifier_settings(replace(CONFIG, verifier=PATIENT)))
    session = subprocess.Popen([sys.executable, "-m", "jobs.verify", str(folder.path), "--verifier", PATIENT])
    while session.poll() is None and len(list((tmp_path / "run" / "verdicts" / name).glob("*.parquet"))) < 2:
        time.sleep(0.05)
    session.send_signal(signal.SIGKILL)
    assert session.wait() == -signal.SIGKILL
    assert folder.manifest().verification is None
    assert {sample[2] for sample in samples(folder)} == {"wrong"}, "until all are scored the old verdicts count"

    changes = verify(folder, verifier=PATIENT)
    assert changes.verification == name
    assert 0 < changes.scored < 24, "what had a verdict was not scored again"
    assert changes.changes == {("wrong", "correct"): 13, ("wrong", "wrong"): 11}, "text 0 is the reference of p0 twice"
    assert generated(folder) == before


def test_a_run_without_samples_or_without_a_verifier_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no samples yet"):
        verify(make_run(tmp_path / "a", CONFIG, []))
    with pytest.raises(InputError, match="gives no verdicts"):
        verify(make_run(tmp_path / "b", CONFIG, [[row(0, 0)]]), verifier="none")


def test_a_verification_has_another_name_when_what_it_depends_on_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    module = tmp_path / "my_verifier_of_this_test.py"
    module.write_text("def verify(text, problem): return True\n")
    own = RunConfig(sampler="esamp", verifier="my_verifier_of_this_test:verify")
    names = {verification_name(verifier_settings(own))}
    assert verification_name(verifier_settings(own)) in names
    module.write_text("def verify(text, problem): return False  # put right\n")
    names |= {
        verification_name(verifier_settings(config))
        for config in (own, replace(own, verifier_timeout_s=1), CONFIG, replace(CONFIG, verifier="math"))
    }
    assert len(names) == 5
