"""The files of a run folder, on this machine, a network disk, or an object store that fsspec knows (s3://, gs://, ...).

Promise: `atomic_file` leaves a file in full or not at all, also under kill -9.
"""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, cast

import fsspec
from fsspec.core import url_to_fs
from fsspec.implementations.local import LocalFileSystem

from pipelines.errors import InputError


class Storage:
    """Files by their names below a root, through fsspec. An object store puts an object completely, or not."""

    def __init__(self, fs: fsspec.AbstractFileSystem, root: str) -> None:
        """`root` is what `fs` calls the folder: without the protocol."""
        self.fs = fs
        self.root = root.rstrip("/")

    def place(self, name: str) -> str:
        """What the file system calls a file or folder of this one; "" is the root."""
        return f"{self.root}/{name}" if name else self.root

    def url(self, name: str = "") -> str:
        """How another process finds a file or folder: an absolute path, or a URL."""
        return str(self.fs.unstrip_protocol(self.place(name)))

    @property
    def ray_filesystem(self) -> fsspec.AbstractFileSystem | None:
        """What Ray Data's readers and writers need beside a `place`; None if they find it by themselves."""
        return self.fs

    def is_file(self, name: str) -> bool:
        """True if there is such a file."""
        return bool(self.fs.isfile(self.place(name)))

    def is_folder(self, name: str = "") -> bool:
        """True if there is such a folder; on an object store, if anything lies below that name."""
        return bool(self.fs.isdir(self.place(name)))

    def names(self, folder: str = "", *, suffix: str = "") -> list[str]:
        """Names of what lies in a folder, sorted; those that begin with a dot are left out. Empty if there is no such folder."""
        self.fs.invalidate_cache()
        if not self.is_folder(folder):
            return []
        found = (place.rstrip("/").rpartition("/")[2] for place in self.fs.ls(self.place(folder), detail=False))
        prefix = f"{folder}/" if folder else ""
        return sorted(f"{prefix}{name}" for name in found if name.endswith(suffix) and not name.startswith("."))

    def open(self, name: str) -> BinaryIO:
        """A file to read from, at any place."""
        return cast(BinaryIO, self.fs.open(self.place(name), "rb"))

    def read(self, name: str) -> bytes:
        """A file's content."""
        content: bytes = self.fs.cat_file(self.place(name))
        return content

    @contextmanager
    def atomic_file(self, name: str) -> Iterator[BinaryIO]:
        """A file to write to; it appears under its name when the `with` block ends well."""
        with tempfile.NamedTemporaryFile() as draft:
            yield cast(BinaryIO, draft)
            draft.flush()
            self.fs.put_file(draft.name, self.place(name))

    def write(self, name: str, content: bytes) -> None:
        """Write a file atomically."""
        with self.atomic_file(name) as file:
            file.write(content)

    def make_folder(self, name: str = "") -> None:
        """Make a folder and those above it; one that is there is left as it is."""
        self.fs.makedirs(self.place(name), exist_ok=True)

    def move(self, name: str, to: str) -> None:
        """Give a file another name."""
        self.make_folder(to.rpartition("/")[0])
        self.fs.mv(self.place(name), self.place(to))

    def remove(self, name: str) -> None:
        """Remove a file, or a folder with all that is in it; nothing happens if it is not there."""
        if self.fs.exists(self.place(name)):
            self.fs.rm(self.place(name), recursive=True)


class LocalStorage(Storage):
    """Files on a disk of this machine or a network disk, where a rename makes a file complete."""

    def url(self, name: str = "") -> str:
        return self.place(name)

    @property
    def ray_filesystem(self) -> None:
        return None

    @contextmanager
    def atomic_file(self, name: str) -> Iterator[BinaryIO]:
        with atomic_file(Path(self.place(name))) as file:
            yield file


def storage_at(place: str | Path) -> Storage:
    """The folder at a path or URL. Raises InputError if the URL's protocol is unknown, or needs a package that is not there."""
    try:
        fs, root = url_to_fs(str(place))
    except (ImportError, ValueError) as error:
        raise InputError(f"{place} cannot be reached: {error}") from error
    return LocalStorage(fs, root) if isinstance(fs, LocalFileSystem) else Storage(fs, root)


def open_place(place: str | Path) -> BinaryIO:
    """A file at a path or URL, to read from."""
    fs, path = url_to_fs(str(place))
    return cast(BinaryIO, fs.open(path, "rb"))


@contextmanager
def atomic_file(path: Path) -> Iterator[BinaryIO]:
    """A file to write to, on a disk; it appears under its name when the `with` block ends well."""
    draft = path.with_name(f".{path.name}.draft")
    try:
        with draft.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file so that it is either there in full or not at all."""
    with atomic_file(path) as file:
        file.write(content)
