"""Which processes are alive: each locks a file of its own, and the operating system releases the lock when the process ends."""

from __future__ import annotations

import os
import sys
import weakref
from contextlib import suppress
from pathlib import Path

if sys.platform == "win32":  # pragma: no cover - the other half of this file runs on every other system
    import msvcrt
    import time

    def lock(descriptor: int) -> None:
        """Take the exclusive lock of an open file, waiting for processes that only test it. Raises OSError."""
        os.lseek(descriptor, 0, os.SEEK_SET)
        msvcrt.locking(descriptor, msvcrt.LK_LOCK, 1)

    def _is_taken(descriptor: int) -> bool:
        # Windows has no shared lock, so two tests at once see each other: test again before the answer counts
        for _ in range(5):
            with suppress(PermissionError):
                msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
                msvcrt.locking(descriptor, msvcrt.LK_UNLCK, 1)
                return False
            time.sleep(0.002)
        return True

    _TEST_FLAGS = os.O_RDWR

else:
    import fcntl

    def lock(descriptor: int) -> None:
        """Take the exclusive lock of an open file, waiting for processes that only test it. Raises OSError."""
        fcntl.flock(descriptor, fcntl.LOCK_EX)

    def _is_taken(descriptor: int) -> bool:
        # shared, so that two tests at once do not take each other for the owner
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        return False

    _TEST_FLAGS = os.O_RDONLY


def is_locked(path: Path) -> bool:
    """Return whether a living process has the lock of this file; False if there is no such file. Raises OSError."""
    try:
        descriptor = os.open(path, _TEST_FLAGS)
    except FileNotFoundError:
        return False
    try:
        return _is_taken(descriptor)
    finally:
        os.close(descriptor)


def create_locked(path: Path) -> int:
    """Create a file that only its user may read, lock it, and return its descriptor. Raises OSError, also if it exists already."""
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        lock(descriptor)
        if os.fstat(descriptor).st_nlink:
            return descriptor
        os.close(descriptor)  # another process removed it between the two lines as a stale lock


class ProcessLock:
    """A lock file that is locked until `release`, or until the process ends for any reason.

    After a fork the child takes a lock of its own.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._name = ""
        self._descriptor: int | None = None
        _locks.add(self)

    @property
    def name(self) -> str:
        """The name to store in a ledger; the first use takes the lock. Raises OSError."""
        if self._descriptor is None:
            self.folder.mkdir(parents=True, exist_ok=True)
            remove_stale(self.folder)
            self._name = f"{os.getpid()}-{os.urandom(4).hex()}"
            self._descriptor = create_locked(self._path)
        return self._name

    @property
    def taken_name(self) -> str:
        """The name if the lock is taken already, else empty."""
        return "" if self._descriptor is None else self._name

    @property
    def _path(self) -> Path:
        return self.folder / f"{self._name}.lock"

    def release(self) -> None:
        """Release the lock; a later use of `name` takes a new one."""
        if self._descriptor is None:
            return
        self._close()
        with suppress(OSError):
            self._path.unlink()

    def _close(self) -> None:
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)


def is_alive(folder: Path, name: str | None) -> bool:
    """Return whether the process with that lock's name still runs. Raises OSError."""
    return name is not None and is_locked(folder / f"{name}.lock")


def remove_stale(folder: Path) -> None:
    """Remove the lock files of ended processes. Raises OSError if the folder cannot be read."""
    for path in folder.glob("*.lock"):
        if not is_locked(path):
            with suppress(OSError):
                path.unlink()


_locks: weakref.WeakSet[ProcessLock] = weakref.WeakSet()


def _close_in_child() -> None:
    # the child shares its parent's open files: an open one would keep the parent's lock after the parent ends
    for lock_file in list(_locks):
        lock_file._close()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_close_in_child)
