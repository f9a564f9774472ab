"""A manifest's text, from the typed config: sized, checked, and with the command that wrote it in its header."""

import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from pipelines.capacity.exchange import exchange_warning
from pipelines.config.run import RunConfig
from pipelines.deploy.commented_yaml import COMMENT_WIDTH, plain, to_yaml
from pipelines.deploy.config import DeployConfig
from pipelines.deploy.kinds import KINDS, placed
from pipelines.deploy.operator_rules import SPEC_RULES, broken_rules
from pipelines.deploy.sizes import cluster_size
from pipelines.errors import InputError


@dataclass(frozen=True, kw_only=True, slots=True)
class Rendered:
    """A manifest."""

    run: RunConfig
    """With its place on the cluster."""
    text: str
    content: dict[str, Any]
    warning: str | None
    """One line if the run's trainer may not keep up."""


def render(kind: str, run: RunConfig, deploy: DeployConfig, *, arguments: list[str], file: str) -> Rendered:
    """The manifest of a kind. Raises InputError if the run cannot be placed, its model cannot be loaded or does not fit.

    `arguments` of jobs.kuberay and `file` stand in the header.
    """
    run = placed(run, deploy)
    manifest = KINDS[kind].build(run, deploy, cluster_size(run, deploy))
    content: dict[str, Any] = plain(manifest)
    broken = broken_rules(content)
    if broken:
        raise InputError(f"KubeRay 1.7 would refuse this {content['kind']}: {' '.join(broken)}")
    usage = KINDS[kind].usage.format(file=file, name=deploy.name)
    header = "\n".join(
        [
            f"{KINDS[kind].help} For KubeRay 1.7, written by",
            *wrapped_command(["python", "-m", "jobs.kuberay", *arguments]),
            "It needs an image (deploy/Dockerfile) and the objects of deploy/kubernetes/storage.yaml in its namespace.",
            "",
            *(f"  {line}" for line in usage.splitlines()),
        ]
    )
    return Rendered(run=run, text=to_yaml(manifest, header=header), content=content, warning=exchange_warning(run))


def wrapped_command(words: list[str]) -> list[str]:
    """A command on lines of at most COMMENT_WIDTH columns, which a shell joins again."""
    lines = ["  " + shlex.quote(words[0])]
    for word in map(shlex.quote, words[1:]):
        if len(lines[-1]) + len(word) + 5 > COMMENT_WIDTH:
            lines[-1] += " \\"
            lines.append("    " + word)
        else:
            lines[-1] += " " + word
    return lines


def check_manifests(path: Path) -> list[str]:
    """What the operator would refuse of the Ray objects in a YAML file, a sentence each. Raises InputError if it has none."""
    try:
        objects = [content for content in yaml.safe_load_all(path.read_text()) if content]
    except (OSError, yaml.YAMLError) as error:
        raise InputError(f"{path} cannot be read as YAML: {' '.join(str(error).split())}") from error
    of_ray = [content for content in objects if content.get("kind") in SPEC_RULES]
    if not of_ray:
        raise InputError(f"{path} has no {', '.join(SPEC_RULES)}.")
    return [f"{content['metadata']['name']}: {rule}" for content in of_ray for rule in broken_rules(content)]
