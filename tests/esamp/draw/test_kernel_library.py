"""How the compiled kernel is found, built, and missed."""

import shutil
import tomllib
from pathlib import Path

import pytest

from esamp.draw import kernel_library as library
from esamp.draw.backend import cpu_draw
from esamp.draw.kernel_library import COMPILER_FLAGS, NoKernel, built_library, load_library, opened

needs_compiler = pytest.mark.skipif(shutil.which("cc") is None, reason="there is no C compiler")


@pytest.fixture
def empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.setattr(library, "shipped_libraries", lambda: iter(()))
    return tmp_path / "esamp-kernels"


@needs_compiler
def test_kernel_is_built_once_where_the_installation_has_none(empty_cache: Path) -> None:
    load_library()
    (built,) = empty_cache.iterdir()
    written = built.stat().st_mtime_ns
    load_library()
    assert [path.stat().st_mtime_ns for path in empty_cache.iterdir()] == [written]


def test_an_installation_without_a_compiler_says_that_its_draw_is_slower(
    empty_cache: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("CC", "no-such-compiler")
    assert cpu_draw() is None
    assert "no C compiler 'no-such-compiler'" in caplog.text


@needs_compiler
def test_what_the_compiler_says_is_passed_on(
    empty_cache: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    wrong = tmp_path / "kernel.c"
    wrong.write_text("int esamp_draw( {")
    monkeypatch.setattr(library, "SOURCES", (wrong,))
    with pytest.raises(NoKernel, match="error"):
        built_library()
    assert list(empty_cache.iterdir()) == []


@needs_compiler
def test_a_library_of_another_version_is_not_used(empty_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = built_library()
    assert opened(path) is not None
    monkeypatch.setattr(library, "INTERFACE", library.INTERFACE + 1)
    assert opened(path) is None


def test_a_file_that_is_no_library_is_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "kernel.so"
    path.write_bytes(b"not a library")
    assert opened(path) is None


def test_installation_compiles_with_the_same_flags() -> None:
    project = tomllib.loads((Path(library.__file__).parents[2] / "pyproject.toml").read_text())
    (extension,) = project["tool"]["setuptools"]["ext-modules"]
    assert extension["extra-compile-args"] == list(COMPILER_FLAGS)
