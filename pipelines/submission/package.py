"""What a job takes along to a cluster: this project's code, and the files that its options name by a relative path.

    <working folder of the job>/
        esamp/ actors/ pipelines/ jobs/     the code as it is here, unless the cluster's nodes have it installed
        problems.jsonl                      --dataset problems.jsonl
        my_task.py                          --task my_task:TASK

So the job's options are the same there and here. A file under an absolute path or a URL is one that the cluster's nodes see.
"""

import re
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from pipelines.errors import InputError

PACKAGES = ("esamp", "actors", "pipelines", "jobs")
CODE = Path(__file__).resolve().parents[2]
"""Holds them: a checkout, or site-packages."""
NOT_SENT = shutil.ignore_patterns("__pycache__", "*.so", "*.pyc")
"""A compiled kernel fits this machine; the cluster's nodes compile their own."""
MODULE = re.compile(r"([A-Za-z_][\w.]*):\w+")
"""module:name, as --task and --verifier take it."""


@contextmanager
def working_folder(files: Sequence[Path], *, code: bool) -> Iterator[Path | None]:
    """A folder to send, for the `with` block; None if nothing is sent. `files`: relative to the current folder."""
    if not code and not files:
        yield None
        return
    with tempfile.TemporaryDirectory(prefix="esamp-submit-") as name:
        folder = Path(name)
        for package in PACKAGES if code else ():
            shutil.copytree(CODE / package, folder / package, ignore=NOT_SENT)
        for file in files:
            (folder / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(file, folder / file)
        yield folder


def files_named(words: Sequence[str]) -> list[Path]:
    """Files of the current folder that a command line names, in their order. Raises InputError at one outside of it."""
    found: dict[Path, None] = {}
    for word in words:
        value = word.partition("=")[2] if word.startswith("--") else word
        module = MODULE.fullmatch(value)
        path = Path(f"{module[1].replace('.', '/')}.py" if module else value)
        # Not in `is_file`'s hands alone: a value may be too long for a file's name, or hold a line break.
        if not value or path.is_absolute() or len(value) > 255 or not path.is_file():
            continue
        if ".." in path.parts:
            raise InputError(
                f"{value} lies outside the current folder, whose files are sent with the job. Start in a folder above it, or give an "
                "absolute path that every node of the cluster sees."
            )
        found[path] = None
    return list(found)
