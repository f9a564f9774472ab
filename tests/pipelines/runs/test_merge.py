"""Folders of one run become one: nothing is lost, nothing comes twice, and what does not belong together is refused."""

import json
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

from pipelines.config.early_stopping import StoppingConfig
from pipelines.config.partition import parse_partition
from pipelines.config.run import RunConfig
from pipelines.errors import InputError
from pipelines.live.log import LiveSamples
from pipelines.runs.folder import RunFolder
from pipelines.runs.merge import merge_runs
from pipelines.runs.schema import STORED_SCHEMA
from pipelines.runs.summary import summarise
from tests.pipelines.stored_rows import failed, make_run, row, wrong

CONFIG = RunConfig(sampler="esamp", samples=2)


def contents(folder: RunFolder) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in Path(folder.path).rglob("*") if path.is_file()}


def statuses(folder: RunFolder) -> dict[tuple[str, int], str]:
    rows = folder.read_samples(["problem_id", "sample_index", "status"]).to_pylist()
    assert len({(row["problem_id"], row["sample_index"]) for row in rows}) == len(rows)
    return {(row["problem_id"], row["sample_index"]): row["status"] for row in rows}


def two_places(path: Path) -> list[RunFolder]:
    """One drew problem p0 and failed at p1, the other drew p1 and, as it happens, one sample of p0."""
    here = make_run(path / "a", replace(CONFIG, partition="1/2"), [[row(0, 0), wrong(0, 1)], [failed(1, 0)]])
    there = make_run(path / "b", replace(CONFIG, partition="2/2", shards=3), [[row(1, 0), row(1, 1), wrong(0, 1)]])
    return [here, there]


def test_every_sample_is_taken_once_and_the_manifest_says_from_where(tmp_path: Path) -> None:
    sources, output = two_places(tmp_path), RunFolder(tmp_path / "out")
    before = [contents(source) for source in sources]
    merged = merge_runs(output, sources)
    assert [(source.answers, source.taken) for source in merged] == [(2, 2), (3, 2)]
    assert statuses(output) == {("p0", 0): "correct", ("p0", 1): "wrong", ("p1", 0): "correct", ("p1", 1): "correct"}
    assert summarise(output).problems == 2
    [event] = output.manifest().events
    assert [source["run_id"] for source in event.details["sources"]] == [s.manifest().run_id for s in sources]
    listing = json.loads(output.storage.read(f"merged/{merged[0].sha256}.json"))
    assert list(listing["parts"]) == ["samples/0.parquet", "samples/1.parquet"]
    assert [contents(source) for source in sources] == before, "sources are only read"
    assert output.count_work_units(output.manifest()).unfinished == 0


def test_finished_samples_of_a_unit_under_way_come_along_until_its_place_has_finished_it(tmp_path: Path) -> None:
    here, there = two_places(tmp_path)
    stopped = make_run(tmp_path / "stopped", replace(CONFIG, partition="2/2"), [])
    write_rows(stopped, "live/s-a-000000.parquet", [row(1, 0)])
    output = RunFolder(tmp_path / "out")
    merged = merge_runs(output, [here, stopped])
    assert [source.under_way for source in merged] == [0, 1]
    assert ("p1", 0) not in {key for key, status in statuses(output).items() if status == "correct"}, (
        "pass@k is of whole units"
    )
    [kept] = LiveSamples(output.storage).finished()
    assert (kept.problem_id, kept.sample_index) == ("p1", 0), "whoever goes on with the merged run has it"
    assert merge_runs(output, [here, stopped]) == merged and len(LiveSamples(output.storage).keys()) == 1
    merge_runs(output, [there])
    assert statuses(output)["p1", 0] == "correct" and not LiveSamples(output.storage).keys()


def write_rows(folder: RunFolder, name: str, rows: list[dict[str, Any]]) -> None:
    with folder.storage.atomic_file(name) as file:
        pa.parquet.write_table(pa.Table.from_pylist(rows, schema=STORED_SCHEMA), file)


def test_a_merge_that_was_done_does_nothing_and_new_samples_are_added(tmp_path: Path) -> None:
    sources, output = two_places(tmp_path), RunFolder(tmp_path / "out")
    first = merge_runs(output, sources[:1])
    merge_runs(output, sources)
    done = contents(output)
    assert merge_runs(output, sources)[0] == first[0]
    assert contents(output) == done
    assert len(output.manifest().events) == 2
    assert statuses(output)["p1", 0] == "correct", "an answer counts before the failure that another place left"


def test_a_longer_run_takes_in_a_shorter_one(tmp_path: Path) -> None:
    long = make_run(tmp_path / "a", CONFIG, [[row(0, 0), row(1, 0), row(1, 1)]])
    short = make_run(tmp_path / "b", CONFIG, [[wrong(0, 1)]])
    held = long.manifest()
    wanted = replace(held, config=replace(held.config, samples=3), extended_from=(2,))
    long.write_manifest(held.grown_to(wanted))
    long.storage.write("plan/extension-3.parquet", long.storage.read("plan/plan.parquet"))
    output = RunFolder(tmp_path / "out")
    merge_runs(output, [short])
    merge_runs(output, [short, long])
    assert len(statuses(output)) == 4
    assert output.manifest().rounds == (2, 3)


@pytest.mark.parametrize(
    ("config", "rows", "message"),
    [
        (replace(CONFIG, seed=5), [row(1, 0)], r"are not the same run: seed: 5 -> 0"),
        (replace(CONFIG, samples=3), [row(1, 0)], r"samples: 3 -> 2"),
        (
            CONFIG,
            [row(0, 0, token_ids=[7])],
            r"different tokens for 1 samples, the first of them sample 0 of problem p0",
        ),
    ],
)
def test_what_does_not_belong_together_is_refused_before_anything_is_written(
    config: RunConfig, rows: list[dict[str, Any]], message: str, tmp_path: Path
) -> None:
    first = make_run(tmp_path / "a", CONFIG, [[row(0, 0)]])
    second = make_run(tmp_path / "b", config, [rows])
    with pytest.raises(InputError, match=message):
        merge_runs(RunFolder(tmp_path / "out"), [first, second])
    with pytest.raises(InputError, match="given twice"):
        merge_runs(first, [first, second])
    assert not (tmp_path / "out").exists()


def test_a_folder_of_other_files_or_another_run_is_left_alone(tmp_path: Path) -> None:
    first = make_run(tmp_path / "a", CONFIG, [[row(0, 0)]])
    with pytest.raises(InputError, match="are not the same run: seed"):
        merge_runs(make_run(tmp_path / "b", replace(CONFIG, seed=5), []), [first])
    (tmp_path / "c").mkdir()
    (tmp_path / "c" / "thesis.tex").write_text("precious")
    with pytest.raises(InputError, match="files that are no run"):
        merge_runs(RunFolder(tmp_path / "c"), [first])


def test_kill_9_in_the_middle_of_a_merge_leaves_what_the_same_command_completes(tmp_path: Path) -> None:
    config = RunConfig(sampler="esamp", samples=2, limit=40)
    parts = [[row(problem, 0), wrong(problem, 1)] for problem in range(40)]
    sources = [
        make_run(tmp_path / "a", config, parts[:20], num_problems=40),
        make_run(tmp_path / "b", config, parts[20:], num_problems=40),
    ]
    command = [
        sys.executable,
        "-m",
        "tests.pipelines.runs.slow_merge",
        str(tmp_path / "out"),
        *(str(s.path) for s in sources),
    ]
    merge = subprocess.Popen(command)
    while merge.poll() is None and len(list((tmp_path / "out").glob("samples/*.parquet"))) < 5:
        time.sleep(0.01)
    merge.send_signal(signal.SIGKILL)
    assert merge.wait() == -signal.SIGKILL
    output = RunFolder(tmp_path / "out")
    assert 5 <= len(output.files()) < 40, "the kill came in the middle"
    assert output.manifest().events == ()
    merge_runs(output, sources)
    assert len(statuses(output)) == 80
    assert len(output.manifest().events) == 1


def test_partitions_share_a_run_without_gap_or_overlap(tmp_path: Path) -> None:
    config = RunConfig(sampler="esamp", samples=5, samples_per_work_unit=2, limit=7)
    folder = make_run(tmp_path / "run", config, [], num_problems=7)
    for by in ("problems", "samples"):
        seen: list[tuple[str, int]] = []
        for number in range(1, 4):
            manifest = replace(folder.manifest(), config=replace(config, partition=f"{number}/3", partition_by=by))
            count = folder.count_work_units(manifest)
            todo = folder.write_todo(manifest, 0)
            assert todo.num_rows == count.planned == count.unfinished > 0
            seen += [(row["problem_id"], row["samples"]) for row in todo.to_pylist()]
        assert sorted(seen) == sorted((f"p{problem}", size) for problem in range(7) for size in (2, 2, 1))


@pytest.mark.parametrize("text", ["0/4", "5/4", "2", "a/b", "2/4/6"])
def test_a_part_that_is_none_says_what_one_looks_like(text: str) -> None:
    with pytest.raises(InputError, match=r"such as 2/4"):
        parse_partition(text, "problems")


def test_a_problem_that_may_stop_early_is_generated_in_one_place() -> None:
    with pytest.raises(InputError, match="generated in one place"):
        RunConfig(sampler="esamp", stop=StoppingConfig(successes=1), partition="1/2", partition_by="samples")
