"""A run folder is the same on a disk and on a file system that fsspec knows, and a file is there in full or not at all."""

import logging
from dataclasses import replace
from pathlib import Path

import pytest
from fsspec.implementations.memory import MemoryFileSystem

from pipelines.config.run import RunConfig
from pipelines.errors import InputError
from pipelines.rollouts.config import ExportConfig
from pipelines.rollouts.export import export_rollouts
from pipelines.runs.folder import RunFolder
from pipelines.runs.merge import merge_runs
from pipelines.runs.storage import LocalStorage, Storage, storage_at
from pipelines.runs.summary import read_summary, summarise
from tests.pipelines.stored_rows import make_run, row, wrong

CONFIG = RunConfig(sampler="esamp", samples=2)


@pytest.fixture
def store() -> str:
    """URL of a folder in an object store that is empty."""
    MemoryFileSystem.store.clear()
    MemoryFileSystem.pseudo_dirs[:] = [""]
    return "memory://bucket/runs"


def test_a_run_on_an_object_store_is_written_read_and_summarised(store: str, tmp_path: Path) -> None:
    folder = make_run(f"{store}/a", replace(CONFIG, output=f"{store}/a"), [[row(0, 0), wrong(0, 1)], [row(1, 0)]])
    assert folder.manifest().config.output == f"{store}/a", "a URL keeps its slashes"
    assert folder.count_work_units(folder.manifest()).unfinished == 1
    assert folder.write_todo(folder.manifest(), 0)["problem_id"].to_pylist() == ["p1"]
    folder.clear_todo()
    summary = summarise(folder)
    assert read_summary(folder) == summary
    assert export_rollouts(folder, tmp_path / "rollouts.parquet", ExportConfig()).rows == 3
    with pytest.raises(InputError, match="holds another run: seed"):
        folder.check(replace(folder.manifest(), config=replace(CONFIG, seed=5)))


def test_a_corrupt_file_on_an_object_store_is_moved_aside(store: str, caplog: pytest.LogCaptureFixture) -> None:
    folder = make_run(f"{store}/a", CONFIG, [[row(0, 0), row(0, 1)]])
    folder.storage.write("samples/cut.parquet", folder.storage.read("samples/0.parquet")[:-20])
    with caplog.at_level(logging.WARNING):
        folder.move_corrupt_files()
    assert folder.storage.names("corrupt") == ["corrupt/cut.parquet"]
    assert folder.files() == folder.storage.names("samples") == ["samples/0.parquet"]


def test_runs_on_a_disk_and_on_an_object_store_are_joined(store: str, tmp_path: Path) -> None:
    sources = [
        make_run(tmp_path / "a", CONFIG, [[row(0, 0), wrong(0, 1)]]),
        make_run(f"{store}/b", CONFIG, [[row(1, 0), wrong(1, 1)]]),
    ]
    for place in (f"{store}/out", tmp_path / "out"):
        assert [source.taken for source in merge_runs(RunFolder(place), sources)] == [2, 2]
        assert RunFolder(place).read_samples(["status"]).num_rows == 4


@pytest.mark.parametrize("place", ["memory://bucket/draft", "TMP"])
def test_a_file_is_there_in_full_or_not_at_all(store: str, place: str, tmp_path: Path) -> None:
    storage = storage_at(place.replace("TMP", str(tmp_path)))
    storage.make_folder("x")
    storage.write("x/kept", b"old")
    for name in ("x/kept", "x/new"):
        with pytest.raises(KeyboardInterrupt), storage.atomic_file(name) as file:
            file.write(b"half")
            raise KeyboardInterrupt
    assert storage.names("x") == ["x/kept"]
    assert storage.read("x/kept") == b"old"
    storage.remove("x")
    storage.remove("x")
    assert storage.names("x") == []


def test_a_url_says_which_package_it_needs() -> None:
    with pytest.raises(InputError, match=r"s3://bucket/run cannot be reached: .*s3fs"):
        RunFolder("s3://bucket/run")
    with pytest.raises(InputError, match=r"nonsense://x cannot be reached: .*nonsense"):
        RunFolder("nonsense://x")


def test_a_path_a_file_url_and_a_relative_path_are_the_same_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    places = [storage_at(place) for place in (tmp_path / "x", f"file://{tmp_path}/x", "x")]
    assert {storage.url("y") for storage in places} == {str(tmp_path / "x" / "y")}
    assert all(isinstance(storage, LocalStorage) for storage in places)
    assert type(storage_at("memory://x")) is Storage
