"""A run folder is the same on a disk and on a file system that fsspec knows, and a file is there in full or not at all."""

import logging
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from pipelines.config.run import RunConfig
from pipelines.errors import ClusterInputError, InputError
from pipelines.rollouts.config import ExportConfig
from pipelines.rollouts.export import export_rollouts
from pipelines.runs.folder import RunFolder
from pipelines.runs.merge import merge_runs
from pipelines.runs.storage import LocalStorage, Storage, storage_at
from pipelines.runs.summary import read_summary, summarise
from tests.pipelines.s3_server import BUCKET, s3_server
from tests.pipelines.stored_rows import make_run, row, wrong

CONFIG = RunConfig(sampler="esamp", samples=2)


@pytest.fixture(scope="module")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """Environment of a real S3 server."""
    with s3_server(tmp_path_factory.mktemp("s3")) as variables:
        yield variables


@pytest.fixture(params=["memory", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """URL of a folder in an object store that is empty."""
    if request.param == "memory":
        MemoryFileSystem.store.clear()
        MemoryFileSystem.pseudo_dirs[:] = [""]
        return "memory://bucket/runs"
    for name, value in request.getfixturevalue("s3").items():
        monkeypatch.setenv(name, value)
    return f"s3://{BUCKET}/{tmp_path.name}"


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


@pytest.mark.parametrize("place", ["STORE", "TMP"])
def test_a_file_is_there_in_full_or_not_at_all(store: str, place: str, tmp_path: Path) -> None:
    storage = storage_at(place.replace("TMP", str(tmp_path)).replace("STORE", store))
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


def test_what_another_process_wrote_is_seen(store: str) -> None:
    """Progress and samples are written by workers: nobody may go by a listing of before."""
    reader, writer = storage_at(store), storage_at(store)
    writer.fs = type(writer.fs)(skip_instance_cache=True)
    assert reader.names() == [] and not reader.is_file("progress.json")
    writer.write("progress.json", b"1")
    assert reader.names() == ["progress.json"] and reader.is_file("progress.json")
    writer.write("progress.json", b"22")
    with reader.open("progress.json") as file:
        assert file.read() == b"22"


def test_a_bucket_that_is_not_there_is_refused_and_not_made(
    s3: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in s3.items():
        monkeypatch.setenv(name, value)
    storage = storage_at("s3://rnus/x")
    with pytest.raises(InputError, match=r"s3://rnus/x: there is no bucket rnus"):
        storage.check_reachable()
    storage.make_folder("samples")
    assert not storage.fs.exists("rnus")
    storage_at(f"s3://{BUCKET}/x").check_reachable()


def test_a_store_that_does_not_answer_is_no_empty_folder(s3: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Port 9 of loopback, where nobody listens: a client's own error is neither "no such run" nor one that nobody catches."""
    for name, value in {**s3, "AWS_ENDPOINT_URL": "http://127.0.0.1:9", "AWS_MAX_ATTEMPTS": "1"}.items():
        monkeypatch.setenv(name, value)
    # fsspec keeps clients by their arguments, of which the environment is none.
    fsspec.get_filesystem_class("s3").clear_instance_cache()
    storage = storage_at("s3://elsewhere/x")
    folder = RunFolder("s3://elsewhere/x")
    for ask in (
        lambda: folder.has_run,
        lambda: storage.names(),
        lambda: storage.write("a", b"a"),
        lambda: storage.read("a"),
    ):
        with pytest.raises(OSError, match="cannot be reached: EndpointConnectionError"):
            ask()
    with pytest.raises(ClusterInputError, match="Look at the credentials, and at the address"):
        storage.check_reachable()
    fsspec.get_filesystem_class("s3").clear_instance_cache()


def test_a_url_says_which_package_it_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gcsfs", None)
    with pytest.raises(InputError, match=r"gs://bucket/run cannot be reached: .*gcs"):
        RunFolder("gs://bucket/run")
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
