"""Settings as plain values: a config dataclass from a dictionary, a command line from a YAML file."""

from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, get_type_hints

import yaml

from pipelines.config.renamed import check_names
from pipelines.errors import InputError


def config_from_dict(cls: type, settings: dict[str, Any]) -> Any:
    """A config dataclass from plain values, nested ones included. Raises InputError on a name that does not exist."""
    known = {f.name for f in fields(cls)}
    unknown = sorted(set(settings) - known)
    if unknown:
        raise InputError(f"{cls.__name__} has no setting {unknown[0]!r}; known are {', '.join(sorted(known))}.")
    types = get_type_hints(cls)
    values: dict[str, Any] = {}
    for name, value in settings.items():
        if is_dataclass(types[name]):
            value = config_from_dict(types[name], value)
        elif isinstance(value, list):
            value = tuple(value)
        elif types[name] == Path | None and value is not None:
            value = Path(value)
        values[name] = value
    return cls(**values)


def flatten(nested: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """{"a": {"b": 1}} -> {"a.b": 1}."""
    flat: dict[str, Any] = {}
    for name, value in nested.items():
        flat |= flatten(value, f"{prefix}{name}.") if isinstance(value, dict) else {prefix + name: value}
    return flat


def flags_from_yaml(path: Path) -> list[str]:
    """The flags a YAML file stands for: {"engine": {"num_gpus": 1}} -> ["--engine.num-gpus", "1"].

    They are put before the user's own flags, which win; so a file is checked exactly as a command line is. Raises InputError if it
    cannot be read.
    """
    try:
        settings = yaml.safe_load(path.read_text()) or {}
    except OSError as error:
        raise InputError(f"config file {path} cannot be read: {error.strerror}.") from error
    except yaml.YAMLError as error:
        raise InputError(f"config file {path} is not YAML: {' '.join(str(error).split())}") from error
    if not isinstance(settings, dict):
        raise InputError(
            f"config file {path} must hold settings such as `samples: 64`; it holds a {type(settings).__name__}."
        )
    check_names(flatten(settings), file=path)
    flags: list[str] = []
    for name, value in flatten(settings).items():
        *parents, last = name.replace("_", "-").split(".")
        if isinstance(value, bool):
            flags.append("--" + ".".join([*parents, last if value else f"no-{last}"]))
        else:
            flags += [
                "--" + ".".join([*parents, last]),
                *(map(str, value) if isinstance(value, list) else [str(value)]),
            ]
    return flags
