"""A wheel of the tree, unpacked where the checkout cannot be imported: every job starts, every module imports, the data is there."""

import os
import shutil
import site
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("esamp", "actors", "pipelines", "jobs")
DATA = [
    *(path.relative_to(ROOT) for path in sorted((ROOT / "pipelines" / "countdown_model").iterdir())),
    *(
        path.relative_to(ROOT)
        for path in sorted((ROOT / "pipelines" / "report").glob("*.*"))
        if path.suffix in {".j2", ".css", ".js"}
    ),
]
"""What the project reads beside its modules."""
JOBS = sorted(
    ".".join(path.relative_to(ROOT / "jobs").with_suffix("").parts)
    for path in (ROOT / "jobs").rglob("*.py")
    if "__main__" in path.read_text()
)
REFUSED = {"plan", "bench"}
"""Former names of jobs: they start, and end with the new names."""

IMPORT_ALL = """
import importlib, importlib.util, pkgutil, sys
# Triton comes with CUDA builds of torch only.
NEEDS_TRITON = ("esamp.draw.cuda",) if importlib.util.find_spec("triton") is None else ()
for name in ("esamp", "actors", "pipelines", "jobs"):
    package = importlib.import_module(name)
    assert package.__path__[0].startswith(sys.argv[1]), f"{name} is imported from {package.__path__[0]}"
    for module in pkgutil.walk_packages(package.__path__, name + "."):
        if module.name == "esamp.draw.kernel":
            continue  # a C library that is called by pointer: it has the name of a Python extension, and is none
        if module.name not in NEEDS_TRITON:
            importlib.import_module(module.name)
        print(module.name)
"""
HELP_ALL = """
import contextlib, io, runpy, sys
for name in sys.argv[2:]:
    sys.argv[1:2] = ["--help"]
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        try:
            runpy.run_module("jobs." + name, run_name="__main__", alter_sys=True)
        except SystemExit as end:
            assert not end.code, f"jobs.{name} --help ended with {end.code}"
    assert "usage: python -m jobs." + name in printed.getvalue(), f"jobs.{name} --help printed {printed.getvalue()[:200]!r}"
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folder that a wheel of the tree was unpacked to."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    # A copy: a build leaves its build/ and *.egg-info in the tree.
    source.mkdir()
    for name in (*PACKAGES, "pyproject.toml", "README.md", "LICENSE"):
        path = ROOT / name
        if path.is_dir():
            shutil.copytree(path, source / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(path, source / name)
    build = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--no-deps",
        "--no-build-isolation",
        "--no-index",
        "--quiet",
        "--wheel-dir",
    ]
    subprocess.run([*build, str(folder), str(source)], check=True, capture_output=True, text=True, cwd=folder)
    [wheel] = folder.glob("*.whl")
    zipfile.ZipFile(wheel).extractall(folder / "installed")
    yield folder / "installed"


def python(installed: Path, *args: str) -> subprocess.CompletedProcess[str]:
    """Run this environment's Python on the wheel, from a folder of its own.

    `-S` leaves out `site` and with it the editable install of the checkout: the dependencies' folders are named instead.
    """
    variables = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    paths = [str(installed), *site.getsitepackages()]
    return subprocess.run(
        [sys.executable, "-S", *args],
        env={**variables, "PYTHONPATH": os.pathsep.join(paths)},
        cwd=installed.parent,
        capture_output=True,
        text=True,
    )


def test_the_data_files_are_in_the_wheel(installed: Path) -> None:
    assert len(DATA) > 8
    assert [path for path in DATA if not (installed / path).is_file()] == []


def test_every_module_is_in_the_wheel_and_imports(installed: Path) -> None:
    ended = python(installed, "-c", IMPORT_ALL, str(installed))
    assert ended.returncode == 0, ended.stderr
    modules = {
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        for package in PACKAGES
        for path in (ROOT / package).rglob("*.py")
    }
    assert modules - set(PACKAGES) == set(ended.stdout.split())


def test_every_job_starts_from_the_wheel(installed: Path) -> None:
    ended = python(installed, "-c", HELP_ALL, "", *(name for name in JOBS if name not in REFUSED))
    assert ended.returncode == 0, ended.stderr


@pytest.mark.parametrize("name", sorted(REFUSED))
def test_a_former_job_names_the_new_ones_from_the_wheel(name: str, installed: Path) -> None:
    ended = python(installed, "-m", f"jobs.{name}")
    assert ended.returncode == 2 and ended.stderr.startswith(f"error: jobs.{name} was split") and not ended.stdout


@pytest.mark.slow
@pytest.mark.engine
@pytest.mark.ray
def test_the_demo_runs_from_the_wheel(installed: Path) -> None:
    ended = python(installed, "-m", "jobs.demo")
    assert ended.returncode == 0, ended.stderr
    assert "pass@" in ended.stdout
