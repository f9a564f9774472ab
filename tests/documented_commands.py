"""The commands of README.md, docs, cluster.yaml and deploy/kubernetes, taken from where a reader takes them."""

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[1]
PAGES = (
    ROOT / "README.md",
    *sorted((ROOT / "docs").glob("*.md")),
    ROOT / "cluster.yaml",
    *sorted((ROOT / "deploy" / "kubernetes").glob("*.yaml")),
)
CONTINUED = re.compile(r"\\\n[#\s]*")
COMMAND = re.compile(r"python -m (jobs\.[\w.]+)([^`|\n]*)")
ELLIPSIS = "..."
"""Stands for settings that the reader has to fill in."""


@dataclass(frozen=True)
class DocumentedCommand:
    """One of them."""

    page: str
    job: str
    """Module, such as jobs.passk."""
    words: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.page}: {self.job} {shlex.join(self.words)}"


def documented_commands(page: Path) -> list[DocumentedCommand]:
    """Those that stand on one line, or go on after a backslash, and say more than the job's name."""
    text = CONTINUED.sub(" ", page.read_text())
    found = [(job, shlex.split(rest, comments=True)) for job, rest in COMMAND.findall(text)]
    found += [submitted(words) for job, words in found if job == "jobs.submit" and words[:1] == ["passk"]]
    return [
        DocumentedCommand(page.name, job, tuple(word for word in words if word != ELLIPSIS))
        for job, words in [*found, *entrypoints(page)]
        if words
    ]


def submitted(words: list[str]) -> tuple[str, list[str]]:
    """The command that jobs.submit sends: what is left without the job's name and the cluster's address."""
    own = words.index("--address") if "--address" in words else len(words)
    return f"jobs.{words[0]}", [*words[1:own], *words[own + 2 :]]


def entrypoints(page: Path) -> list[tuple[str, list[str]]]:
    """What the Ray jobs of a manifest run."""
    if page.parent.name != "kubernetes":
        return []
    specs = [manifest["spec"] for manifest in yaml.safe_load_all(page.read_text()) if manifest and "spec" in manifest]
    jobs = [spec.get("jobTemplate", spec) for spec in specs]
    lines = [job["entrypoint"] for job in jobs if "entrypoint" in job]
    return [(job, shlex.split(rest)) for line in lines for job, rest in COMMAND.findall(line)]
