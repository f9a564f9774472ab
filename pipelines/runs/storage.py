"""The files of a run folder, on this machine, a network disk, or an object store that fsspec knows (s3://, gs://, ...).

Promise: `atomic_file` leaves a file in full or not at all, also under kill -9. What goes wrong is an OSError, whatever the client of an
object store raises, and no answer is never taken for "there is no such file".
"""

import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from typing import Any, BinaryIO, Concatenate, ParamSpec, TypeVar, cast

import fsspec
from fsspec.core import url_to_fs
from fsspec.implementations.local import LocalFileSystem

from pipelines.errors import ClusterInputError, InputError

P = ParamSpec("P")
T = TypeVar("T")


def raises_os_error(method: "Callable[Concatenate[Storage, P], T]") -> "Callable[Concatenate[Storage, P], T]":
    """A method of Storage that raises OSError where the store's client raises an error of its own, such as botocore's where no server
    answers."""

    @wraps(method)
    def wrapped(self: "Storage", /, *args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return method(self, *args, **kwargs)
        except OSError:
            raise
        except Exception as error:
            # The error boundary: each kind of store has a client with errors of its own.
            raise OSError(f"{self.url()} cannot be reached: {type(error).__name__}: {error}") from error

    return wrapped


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

    def check_reachable(self) -> None:
        """Raise InputError if nothing can be kept here: there is no such bucket, or it does not answer."""
        bucket = self.root.partition("/")[0]
        try:
            self._info(bucket)
        except PermissionError:
            pass  # a policy may allow a part of the bucket only: the first file will tell
        except FileNotFoundError as error:
            raise InputError(f"{self.url()}: there is no bucket {bucket}; create it, or correct the URL.") from error
        except OSError as error:
            raise ClusterInputError(f"{error} Look at the credentials, and at the address of the store.") from error

    def is_file(self, name: str) -> bool:
        """True if there is such a file."""
        # Not `fs.isfile`, which answers False to every error: a run whose store is away for a moment would be taken for none.
        try:
            return bool(self._info(self.place(name))["type"] == "file")
        except (FileNotFoundError, NotADirectoryError):
            return False

    @raises_os_error
    def _info(self, place: str) -> dict[str, Any]:
        info: dict[str, Any] = self.fs.info(place)
        return info

    @raises_os_error
    def is_folder(self, name: str = "") -> bool:
        """True if there is such a folder; on an object store, if anything lies below that name."""
        return bool(self.fs.isdir(self.place(name)))

    @raises_os_error
    def names(self, folder: str = "", *, suffix: str = "") -> list[str]:
        """Names of what lies in a folder, sorted; those that begin with a dot are left out. Empty if there is no such folder."""
        if not self.is_folder(folder):
            return []
        found = (place.rstrip("/").rpartition("/")[2] for place in self.fs.ls(self.place(folder), detail=False))
        prefix = f"{folder}/" if folder else ""
        return sorted(f"{prefix}{name}" for name in found if name.endswith(suffix) and not name.startswith("."))

    @raises_os_error
    def open(self, name: str) -> BinaryIO:
        """A file to read from, at any place."""
        return cast(BinaryIO, self.fs.open(self.place(name), "rb"))

    @raises_os_error
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
            self._put(draft.name, name)

    @raises_os_error
    def _put(self, draft: str, name: str) -> None:
        self.fs.put_file(draft, self.place(name))

    def write(self, name: str, content: bytes) -> None:
        """Write a file atomically."""
        with self.atomic_file(name) as file:
            file.write(content)

    def make_folder(self, name: str = "") -> None:
        """Make a folder and those above it; one that is there is left as it is. An object store has no folders, and nothing to do: its
        client would make a bucket that is missing."""

    @raises_os_error
    def move(self, name: str, to: str) -> None:
        """Give a file another name."""
        self.make_folder(to.rpartition("/")[0])
        self.fs.mv(self.place(name), self.place(to))

    @raises_os_error
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

    def check_reachable(self) -> None:
        """Folders are made as they are needed."""

    def make_folder(self, name: str = "") -> None:
        self.fs.makedirs(self.place(name), exist_ok=True)

    @contextmanager
    def atomic_file(self, name: str) -> Iterator[BinaryIO]:
        with atomic_file(Path(self.place(name))) as file:
            yield file


def storage_at(place: str | Path) -> Storage:
    """The folder at a path or URL. Raises InputError if the URL's protocol is unknown, or needs a package that is not there."""
    try:
        # No cache of listings: other processes write to the folder too.
        fs, root = url_to_fs(str(place), use_listings_cache=False)
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
