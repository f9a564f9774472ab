"""A run folder holds one run, knows what is finished, and survives a kill."""

import logging
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow.parquet as pq
import pytest

from actors.config import SamplingConfig
from pipelines.config.early_stopping import StoppingConfig
from pipelines.config.run import RunConfig
from pipelines.errors import InputError
from pipelines.problems.problem import Problem
from pipelines.runs.extend import extended
from pipelines.runs.folder import RunFolder, Session, WorkUnitCount
from pipelines.runs.manifest import Manifest, new_manifest
from pipelines.runs.plan import Plan, plan_run, stored_work_units
from pipelines.runs.storage import Storage
from tests.pipelines.stored_rows import failed, make_run, row, wrong

CONFIG = RunConfig(sampler="esamp", samples=2)


def manifest(config: RunConfig = CONFIG, *, data: str = "d", model: str = "f") -> Manifest:
    return new_manifest(config, data_fingerprint=data, model_fingerprint=model, num_problems=2, num_units=2)


def plan(config: RunConfig = CONFIG, extended_from: tuple[int, ...] = ()) -> Plan:
    problems = [Problem(f"p{i}", f"say {i}", str(i)) for i in range(2)]
    return plan_run(problems, lambda problem: problem.text, config, extended_from=extended_from)


def todo(folder: RunFolder, round_number: int = 0, **settings: Any) -> list[str]:
    """Units that a session would draw."""
    held = folder.manifest()
    count = folder.write_todo(replace(held, config=replace(held.config, **settings)), round_number).num_rows
    tables = [pq.read_table(path) for path in sorted((Path(folder.path) / "todo").iterdir())]
    units = [unit.work.unit_id for table in tables for unit in stored_work_units(table)]
    assert len(units) == count
    return units


def test_a_manifest_survives_its_text() -> None:
    first = manifest(replace(CONFIG, output=Path("runs/x"), pass_at=(1, 2)))
    assert Manifest.from_json(first.to_json()) == first


def test_the_same_run_goes_on_under_its_first_id(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    first = folder.open(manifest(), plan())
    assert folder.open(manifest(replace(CONFIG, shards=3)), plan()).run_id == first.run_id


@pytest.mark.parametrize(
    ("other", "difference"),
    [
        (manifest(replace(CONFIG, sampling=SamplingConfig(temperature=0.5))), r"sampling.temperature: 1.0 -> 0.5"),
        (manifest(replace(CONFIG, sampler="vanilla")), r"sampler: esamp -> vanilla"),
        (manifest(data="other"), r"data_fingerprint: d -> other"),
        (manifest(model="other"), r"model_fingerprint: f -> other"),
    ],
)
def test_another_run_is_refused_with_the_difference(tmp_path: Path, other: Manifest, difference: str) -> None:
    folder = make_run(tmp_path / "run", CONFIG, [[row(0, 0)]])
    before = sorted(path.read_bytes() for path in Path(folder.path).rglob("*") if path.is_file())
    with pytest.raises(InputError, match=f"{difference}.*--output"):
        folder.open(other, plan())
    assert sorted(path.read_bytes() for path in Path(folder.path).rglob("*") if path.is_file()) == before


def test_a_folder_with_other_files_is_refused(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("precious")
    with pytest.raises(InputError, match="files that are no run"):
        RunFolder(tmp_path).check(manifest())


def test_a_kill_before_the_manifest_leaves_a_usable_folder(tmp_path: Path) -> None:
    (tmp_path / ".run.json.draft").write_text("{")
    RunFolder(tmp_path).open(manifest(), plan())


def test_units_are_finished_when_all_their_samples_have_an_answer(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run", CONFIG, [[row(0, 0)], [row(0, 1), wrong(1, 0)]])
    assert todo(folder) == ["p1#0"]


def test_a_unit_that_failed_runs_again_and_its_answer_replaces_the_failure(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run", CONFIG, [[failed(0, 0), failed(0, 1)], [row(1, 0), row(1, 1)]])
    assert todo(folder) == ["p0#0"]
    make_run(tmp_path / "run", CONFIG, [[failed(0, 0), failed(0, 1)], [row(1, 0), row(1, 1)], [row(0, 0), wrong(0, 1)]])
    samples = folder.read_samples(["problem_id", "sample_index", "status"]).to_pylist()
    assert sorted((s["problem_id"], s["sample_index"], s["status"]) for s in samples) == [
        ("p0", 0, "correct"),
        ("p0", 1, "wrong"),
        ("p1", 0, "correct"),
        ("p1", 1, "correct"),
    ]


def test_a_corrupt_file_is_moved_aside_and_said_so(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = make_run(tmp_path / "run", CONFIG, [[row(0, 0), row(0, 1)], [row(1, 0), row(1, 1)]])
    part = tmp_path / "run" / "samples" / "1.parquet"
    part.write_bytes(part.read_bytes()[:-20])
    with caplog.at_level(logging.WARNING):
        folder.move_corrupt_files()
    assert "1.parquet was left unreadable" in caplog.text
    assert (tmp_path / "run" / "corrupt" / "1.parquet").is_file()
    assert not part.exists()
    assert todo(folder) == ["p1#0"]


def test_a_resumed_run_reads_the_keys_of_every_output_file_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Files are never changed, but each question about a run opened all of them anew: some six times before a session began."""
    held = make_run(tmp_path, CONFIG, [[row(0, 0), row(0, 1)], [row(1, 0)]])
    opened: Counter[str] = Counter()
    open_file = type(held.storage).open

    def counting(storage: Storage, name: str) -> BinaryIO:
        opened[name] += name.startswith("samples/")
        return open_file(storage, name)

    monkeypatch.setattr(type(held.storage), "open", counting)
    folder = RunFolder(tmp_path)
    run = folder.manifest()
    folder.move_corrupt_files()
    assert folder.count_work_units(run).unfinished == 1
    assert folder.write_todo(run, 0)["problem_id"].to_pylist() == ["p1"]
    assert folder.count_work_units(run).finished == 1
    assert {name: count for name, count in opened.items() if count} == {"samples/0.parquet": 2, "samples/1.parquet": 2}


def test_reading_a_folder_that_is_no_run_says_so(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no run\.json"):
        RunFolder(tmp_path).manifest()
    with pytest.raises(InputError, match="no samples yet"):
        make_run(tmp_path / "run", CONFIG, []).read_samples(["text"])


def test_sessions_add_up(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run", CONFIG, [])
    session = Session(started="now", seconds=1.5, units=1, samples=2, tokens=8, shards=[{"samples": 2}], trainer=None)
    folder.add_session(session)
    folder.add_session(replace(session, units=5))
    assert [kept.units for kept in folder.sessions()] == [1, 5]
    [counters] = folder.sessions()[0].shards
    assert counters["samples"] == 2
    assert counters["lost_rows"] == 0, "a counter that is younger than the run"


def test_an_extension_keeps_what_is_there_and_happens_once(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run", CONFIG, [[row(0, 0), row(0, 1), row(1, 0)]])
    config, extended_from = extended(replace(CONFIG, output=tmp_path / "run"), 5)
    wanted = replace(manifest(config), extended_from=extended_from, num_units=4)
    assert folder.count_work_units(wanted) == WorkUnitCount(planned=4, unfinished=4), "before it is written"
    first = folder.open(wanted, plan(config, extended_from))
    assert folder.open(wanted, plan(config, extended_from)) == first
    assert (first.rounds, first.group_sizes, [event.kind for event in first.events]) == ((2, 5), [2, 3], ["extended"])
    assert (todo(folder, 0), todo(folder, 1)) == (["p1#0"], ["p0#2", "p1#2"])
    assert folder.count_work_units(wanted) == WorkUnitCount(planned=4, unfinished=3)
    assert extended(config, 5) == (config, (2,)), "the same command goes on with it"
    assert extended(config, 8)[1] == (2, 5), "and another one extends it again"
    assert Manifest.from_json(first.to_json()) == first


def test_what_cannot_be_extended_says_why(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run", CONFIG, [[row(0, 0)]])
    config = replace(CONFIG, output=tmp_path / "run")
    with pytest.raises(InputError, match="make the run first"):
        extended(replace(config, output=tmp_path / "nothing"), 5)
    with pytest.raises(InputError, match="has 2 samples per problem; --extend must be at least that, got 1"):
        extended(config, 1)
    with pytest.raises(InputError, match="has 2 samples per problem, not 3"):
        extended(replace(config, samples=3), 5)
    adaptive = replace(config, stop=StoppingConfig(successes=1), output=tmp_path / "adaptive")
    make_run(tmp_path / "adaptive", adaptive, [[row(0, 0)]])
    with pytest.raises(InputError, match="stops problems early"):
        extended(adaptive, 5)
    wanted = replace(manifest(replace(config, samples=5)), extended_from=(2,))
    folder.open(wanted, plan(replace(config, samples=5), (2,)))
    with pytest.raises(InputError, match=r"samples: 5 -> 2.*It was extended: --extend 5 goes on"):
        folder.check(manifest())


def test_a_sample_that_is_there_twice_counts_once_and_an_answer_counts_before_a_failure(tmp_path: Path) -> None:
    parts = [
        [failed(0, 0), wrong(0, 1)],
        [row(0, 1), failed(1, 0)],
        [wrong(0, 0), row(0, 0), failed(1, 0)],
        [row(7, 0)],
    ]
    folder = make_run(tmp_path / "run", CONFIG, parts)
    samples = folder.read_samples(["problem_id", "sample_index", "status"]).to_pylist()
    assert sorted((s["problem_id"], s["sample_index"], s["status"]) for s in samples) == [
        ("p0", 0, "wrong"),
        ("p0", 1, "wrong"),
        ("p1", 0, "error"),
    ]
