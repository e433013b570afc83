"""Where the files of a lake are: a directory, or a bucket of an object store with the API of S3."""

from __future__ import annotations

import fcntl
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any, Protocol

PART = ".part"
"""The end of the name of a file that is being written."""
_CHUNK_BYTES = 1 << 20


class LakeError(Exception):
    """The files of the lake cannot be read or written; the message says why."""


class Lake(Protocol):
    """Files by their paths below a root."""

    def scratch(self) -> Path:
        """Return the directory for files that are being written."""

    def read(self, path: str) -> bytes | None:
        """Return a whole small file; None: there is none."""

    def put(self, file: Path, path: str) -> None:
        """Move a local file to its place at once: a reader sees the old one or the new one."""

    def remove(self, path: str) -> None:
        """Delete a file, if it is there."""


class LocalLake:
    """A lake in a directory.

    Args:
        root: The directory; it is made.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        root.mkdir(parents=True, exist_ok=True)

    def scratch(self) -> Path:
        """Return the directory itself: moving within a file system is atomic."""
        return self._root

    def read(self, path: str) -> bytes | None:
        """Return a whole small file; None: there is none."""
        try:
            return (self._root / path).read_bytes()
        except FileNotFoundError:
            return None

    def put(self, file: Path, path: str) -> None:
        """Rename a file to its place, when its bytes are on the disk."""
        target = self._root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        with file.open("rb") as written:
            os.fsync(written.fileno())
        file.replace(target)
        directory = os.open(target.parent, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)

    def remove(self, path: str) -> None:
        """Delete a file, if it is there."""
        (self._root / path).unlink(missing_ok=True)


class ObjectLake:
    """A lake in an object store: an object is there when its upload is complete, and not before.

    Args:
        files: A file system of pyarrow.
        root: Bucket and prefix.
        scratch: A local directory for the file of one day.
    """

    def __init__(self, files: Any, root: str, scratch: Path) -> None:
        self._files, self._root, self._scratch = files, PurePosixPath(root), scratch

    def scratch(self) -> Path:
        """Return the local directory."""
        return self._scratch

    def read(self, path: str) -> bytes | None:
        """Return a whole small object; None: there is none."""
        try:
            with self._files.open_input_stream(str(self._root / path)) as stream:
                return bytes(stream.read())
        except FileNotFoundError:
            return None

    def put(self, file: Path, path: str) -> None:
        """Upload a file that is complete, part by part."""
        target = self._root / path
        self._files.create_dir(str(target.parent), recursive=True)
        with file.open("rb") as source, self._files.open_output_stream(str(target)) as stream:
            while chunk := source.read(_CHUNK_BYTES):
                stream.write(chunk)
        file.unlink()

    def remove(self, path: str) -> None:
        """Delete an object, if it is there."""
        try:
            self._files.delete_file(str(self._root / path))
        except FileNotFoundError:
            return


@contextmanager
def open_lake(out: str) -> Iterator[Lake]:
    """Open the lake at a directory or a URL such as `s3://bucket/prefix?endpoint_override=…`.

    One export writes to a directory at a time. What a killed one left half written is deleted.

    Raises:
        LakeError: It cannot be opened, or another export is writing to it.
    """
    try:
        if "://" not in out:
            with _alone(Path(out)):
                yield LocalLake(Path(out))
            return
        files, root = _object_store(out)
        with tempfile.TemporaryDirectory(prefix="throughline-lake-") as scratch:
            yield ObjectLake(files, root, Path(scratch))
    except OSError as error:
        raise LakeError(f"{out.partition('?')[0]}: {error}") from error


@contextmanager
def _alone(root: Path) -> Iterator[None]:
    root.mkdir(parents=True, exist_ok=True)
    with (root / ".export.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise LakeError(f"another export writes to {root}: wait until it has ended") from None
        for left in root.glob(f"*{PART}"):
            left.unlink()
        yield


def _object_store(url: str) -> tuple[Any, str]:
    try:
        from pyarrow import ArrowException
        from pyarrow.fs import FileSystem
    except ModuleNotFoundError:
        raise LakeError("object stores need the extra: pip install 'throughline[parquet]'") from None
    try:
        files, root = FileSystem.from_uri(url)
    except (ArrowException, ValueError) as error:
        raise LakeError(f"{url.partition('?')[0]} is no address of an object store: {error}") from None
    return files, root
