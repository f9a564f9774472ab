"""Settings that have another name than they had: what run.json calls them, and how an old spelling is refused.

The keys of run.json and the config hash keep the names that settings had first: run folders of every version can be read, and a run that
was begun before a renaming goes on. Command lines and YAML files take the new names only.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from actors.config import RENAMED_OPTIONS
from pipelines.errors import InputError

RENAMED = {
    "part": "partition",
    "part_by": "partition_by",
    "samples_per_unit": "samples_per_work_unit",
    "units_per_part": "work_units_per_file",
    "unit_attempts": "work_unit_attempts",
    "spill": "spread",
    "stop.hopeless": "stop.give_up_after",
    **RENAMED_OPTIONS,
}
"""First name of a setting -> its name now."""

STORED_NAMES = {now: first for first, now in RENAMED.items()}


def to_stored(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings, nested or flat, under the names that run.json has for them."""
    return _with_names(settings, STORED_NAMES)


def from_stored(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings of run.json under the names they have now."""
    return _with_names(settings, RENAMED)


def _with_names(settings: Mapping[str, Any], names: Mapping[str, str], parent: str = "") -> dict[str, Any]:
    renamed = {}
    for name, value in settings.items():
        new = names.get(parent + name, parent + name).removeprefix(parent)
        renamed[new] = _with_names(value, names, f"{parent}{name}.") if isinstance(value, dict) else value
    return renamed


def check_options(args: Sequence[str]) -> None:
    """Raise InputError at an option in its old spelling, also below another one: --part, --no-spill, --run.stop.hopeless=4."""
    for arg in args:
        option = arg.partition("=")[0]
        if not option.startswith("--"):
            continue
        prefix = "--run." if option.startswith("--run.") else "--"
        *parents, last = option.removeprefix(prefix).replace("-", "_").split(".")
        negation = "no-" if last.startswith("no_") else ""
        name = ".".join([*parents, last.removeprefix("no_")])
        if name in RENAMED:
            *parents, last = RENAMED[name].replace("_", "-").split(".")
            raise InputError(f"{option} is now {prefix}{'.'.join([*parents, negation + last])}; use that name.")


def check_names(names: Iterable[str], *, file: object) -> None:
    """Raise InputError at a setting of a YAML file, such as "stop.hopeless", that has its old name."""
    for name in names:
        if name in RENAMED:
            raise InputError(f"config file {file}: {name} is now {RENAMED[name]}; use that name.")
