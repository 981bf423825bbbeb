"""Files while they are written: hidden until they are complete, durable and named, in folders that are made durably.

A process that is killed leaves hidden files alone, which `remove_stale_parts` removes.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
import shutil
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Self, TypeVar

from imagegen_magic.engine.ledger import process_locks
from imagegen_magic.engine.storage.disk_errors import as_save_error
from imagegen_magic.errors import SaveError
from imagegen_magic.notebook_folder import followed

T = TypeVar("T")

_DAY = 86_400.0
_MAX_ATTEMPTS = 20  # to be in a folder that others remove while it is empty
_HEAD = 4096  # bytes that identify a file's format
_PART = re.compile(r"\..+\.[0-9a-f]{8}\.part")
_NO_LINKS = {errno.EPERM, errno.EACCES, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK, errno.EXDEV, errno.EINVAL}


class Part:
    """A file as it arrives: in memory while it is small, then in a hidden file of the folder that it is for.

    `head` is its beginning, which identifies its format. Call what waits for the disk from a thread. `discard` may be called at any time,
    and is called at the end of a `with` block.
    """

    def __init__(self, directory: Path, name: str = "picture", data: bytes = b"") -> None:
        self._directory, self._name = directory, name
        self._pending: list[bytes] = []  # not written yet
        self._hidden: Path | None = None
        self._descriptor = -1
        self._hash = hashlib.sha256()
        self._lock = threading.Lock()
        self._discarded = False
        self.size, self.head = 0, b""
        self.hold(data)

    def hold(self, data: bytes) -> None:
        """Take a few bytes into memory; they are written with the next ones, or when the file gets its name."""
        self.size += len(data)
        self.head += data[: _HEAD - len(self.head)]
        self._pending.append(data)

    def write(self, data: bytes) -> None:
        """Write bytes to the hidden file, after those in memory. Raises SaveError if the disk refuses, or is nearly full."""
        self.hold(data)
        path = followed(self._directory) / self._name
        with self._lock, as_save_error(path):
            if not self._discarded:
                self._flush(path)

    def make_room(self, size: int, spare: int = 0) -> None:
        """Raise SaveError unless so many bytes fit on the folder's disk, and as many again as are to `spare`."""
        folder = followed(self._directory)
        with as_save_error(folder / self._name):
            free = in_folder(folder, lambda: shutil.disk_usage(folder).free)
        if free < size + spare:
            raise SaveError(f"The picture has {size / 2**20:.0f} MiB, and the disk of {folder} has {free / 2**20:.0f} MiB free")

    @property
    def sha256(self) -> str:
        """The SHA-256 of all bytes so far, in hexadecimal."""
        known = self._hash.copy()
        for data in self._pending:
            known.update(data)
        return known.hexdigest()

    def content(self) -> bytes:
        """Return all its bytes. Raises SaveError if they cannot be read."""
        if self._hidden is None:
            return b"".join(self._pending)
        path = followed(self._directory) / self._name
        with self._lock, as_save_error(path):
            self._flush(path)
            return self._hidden_path().read_bytes()

    def durable(self, path: Path) -> Path:
        """Return the hidden file with all its bytes, safe on the disk; it is made beside `path` if there is none yet. Raises OSError."""
        with self._lock:
            self._flush(path)
            if self._descriptor >= 0:
                os.fsync(self._descriptor)
            if sys.platform == "win32":  # pragma: no cover - an open file cannot be renamed there
                self._close()
            return self._hidden_path()

    def is_in(self, path: Path) -> bool:
        """Return whether a file holds these very bytes."""
        return holds(path, self.size, self.sha256)

    def discard(self) -> None:
        """Remove the hidden file, if there is one; nothing more is written."""
        with self._lock:
            self._discarded, self._pending = True, []
            if self._hidden is not None:
                path, self._hidden = self._hidden_path(), None
                self._close()
                _unlink(path)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.discard()

    def _hidden_path(self) -> Path:
        """Return the hidden file, also after its folder was renamed."""
        assert self._hidden is not None
        return followed(self._hidden.parent) / self._hidden.name

    def _close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def _flush(self, path: Path) -> None:
        if self._hidden is None:
            self._hidden, self._descriptor = in_folder(path.parent, lambda: _open_part(path))
        for data in self._pending:
            self._hash.update(data)
            rest = memoryview(data)
            while rest:
                rest = rest[os.write(self._descriptor, rest) :]
        self._pending = []


def publish(data: bytes, path: Path) -> bool:
    """Write a file under a name that is free, complete at any moment; False if the name is taken, and nothing changes.

    Its bytes are durable then; its name is once the folder has been synchronised.
    """
    if os.path.lexists(path):
        return False
    with Part(path.parent, path.name, data) as part:
        try:
            name_part(part.durable(path), path)
        except FileExistsError:
            return False
    return True


def replace(data: bytes, path: Path) -> None:
    """Give a file other bytes; it holds the old ones or the new ones at any moment."""
    with Part(path.parent, path.name, data) as part:
        os.replace(part.durable(path), path)


def holds(path: Path, size: int, sha256: str) -> bool:
    """Return whether a file exists with these bytes."""
    with suppress(FileNotFoundError, IsADirectoryError, NotADirectoryError):
        if path.stat().st_size == size:
            with path.open("rb") as file:
                return hashlib.file_digest(file, "sha256").hexdigest() == sha256
    return False


def name_part(part: Path, path: Path) -> None:
    """Give a finished file its name. Raises FileExistsError if the name is taken."""
    if sys.platform == "win32":  # pragma: no cover - there a rename never overwrites
        os.rename(part, path)
        return
    try:
        os.link(part, path)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        _rename(part, path)


def _rename(part: Path, path: Path) -> None:
    # FAT and some network folders have no links. A rename would replace an existing file, so look first, under a lock. It is the folder's
    # own lock: unlike an empty file in the image's place, it leaves nothing behind when its process is killed.
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        with suppress(OSError):
            process_locks.lock(folder)
        if os.path.lexists(path):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path))
        os.rename(part, path)
    finally:
        os.close(folder)


def _open_part(path: Path) -> tuple[Path, int]:
    while True:
        part = path.with_name(f".{path.name}.{os.urandom(4).hex()}.part")
        descriptor = os.open(part, os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o666)
        with suppress(OSError):  # a file system without locks: `remove_stale_parts` then goes by age
            process_locks.lock(descriptor)
        if os.fstat(descriptor).st_nlink:
            return part, descriptor
        os.close(descriptor)  # another process removed it between the two lines as a stale part


def remove_stale_parts(directory: Path) -> None:
    """Remove the half-written files of ended processes from a folder; those of living ones stay."""
    with suppress(OSError, ValueError):  # a path that no folder can have holds nothing to remove
        for path in directory.iterdir():
            if _PART.fullmatch(path.name) and _is_stale(path):
                _unlink(path)


def _is_stale(part: Path) -> bool:
    try:
        return not process_locks.is_locked(part)
    except OSError:
        return time.time() - part.stat().st_mtime > _DAY


def _unlink(path: Path) -> None:
    with suppress(OSError):
        path.unlink()


def write_a_byte(directory: Path, filename_stem: str) -> None:
    """Write one byte to a hidden file, as for an image of that name, and remove it. Raises OSError if the byte cannot be written."""
    part, descriptor = _open_part(directory / f"{filename_stem}-100.jpeg")
    try:
        if sys.platform != "win32":  # an open file keeps its name there
            _unlink(part)  # before the byte is written, so that a kill leaves nothing behind
        os.write(descriptor, b"\0")
        os.fsync(descriptor)  # a network disk reports only now that it is full
    finally:
        os.close(descriptor)
        _unlink(part)


def in_folder(directory: Path, work: Callable[[], T], created: list[Path] | None = None) -> T:
    """Return the result of `work` in a folder, which is created first, and again if another job removes it, empty, in between."""
    for _ in range(_MAX_ATTEMPTS - 1):
        with suppress(FileNotFoundError):
            make(directory, created)
            return work()
    make(directory, created)
    return work()


def make(directory: Path, created: list[Path] | None = None) -> None:
    """Create a folder with its parents, durably, and add them to `created`. Raises OSError, and ValueError for a NUL."""
    if directory.is_dir():
        return
    make(directory.parent, created)
    try:
        directory.mkdir()
    except FileExistsError:  # by another process, between the two lines, or by what is no folder
        if not directory.is_dir():
            raise
        return
    if created is not None and directory not in created:
        created.append(directory)
    sync(directory.parent)


def sync(directory: Path) -> None:
    """Make the names in a folder durable, if the system supports it."""
    if sys.platform == "win32":  # pragma: no cover - a folder cannot be opened there
        return
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP):
            raise
    finally:
        os.close(descriptor)
