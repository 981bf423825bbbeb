"""Which processes are alive: each holds a lock on a file of its own, which the operating system lets go the moment the process ends."""

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
        """Take the exclusive lock of an open file, waiting for whoever is only asking. Raises OSError."""
        os.lseek(descriptor, 0, os.SEEK_SET)
        msvcrt.locking(descriptor, msvcrt.LK_LOCK, 1)

    def _is_locked(descriptor: int) -> bool:
        # there is no shared lock here, so two who ask at once see each other: ask again before believing it
        for _ in range(5):
            with suppress(PermissionError):
                msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
                msvcrt.locking(descriptor, msvcrt.LK_UNLCK, 1)
                return False
            time.sleep(0.002)
        return True

    _ASKING = os.O_RDWR

else:
    import fcntl

    def lock(descriptor: int) -> None:
        """Take the exclusive lock of an open file, waiting for whoever is only asking. Raises OSError."""
        fcntl.flock(descriptor, fcntl.LOCK_EX)

    def _is_locked(descriptor: int) -> bool:
        # shared, so that two who ask at once do not take each other for the owner
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        return False

    _ASKING = os.O_RDONLY


def held(path: Path) -> bool:
    """Tell whether a living process holds the lock of this file; a file that is not there is held by nobody. Raises OSError."""
    try:
        descriptor = os.open(path, _ASKING)
    except FileNotFoundError:
        return False
    try:
        return _is_locked(descriptor)
    finally:
        os.close(descriptor)


def create_locked(path: Path) -> int:
    """Create a file that only its user may read, lock it, and return its descriptor. Raises OSError, also where it is there already."""
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        lock(descriptor)
        if os.fstat(descriptor).st_nlink:
            return descriptor
        os.close(descriptor)  # somebody tidied up between the two lines, taking it for a dead one's


class ProcessLock:
    """This process, as others see it: alive until `release`, or until the process ends in whatever way.

    A child after a fork is an owner of its own.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._name = ""
        self._descriptor: int | None = None
        _owners.add(self)

    @property
    def name(self) -> str:
        """The name to write into a ledger; the first use takes the lock. Raises OSError."""
        if self._descriptor is None:
            self.folder.mkdir(parents=True, exist_ok=True)
            sweep(self.folder)
            self._name = f"{os.getpid()}-{os.urandom(4).hex()}"
            self._descriptor = create_locked(self._path)
        return self._name

    @property
    def known(self) -> str:
        """The name, where it was used already; else nothing, and nothing is taken."""
        return "" if self._descriptor is None else self._name

    @property
    def _path(self) -> Path:
        return self.folder / f"{self._name}.lock"

    def release(self) -> None:
        """Stop being seen as alive; a later use of `name` starts anew."""
        if self._descriptor is None:
            return
        self._let_go()
        with suppress(OSError):
            self._path.unlink()

    def _let_go(self) -> None:
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)


def alive(folder: Path, name: str | None) -> bool:
    """Tell whether the owner of that name still lives. Raises OSError."""
    return name is not None and held(folder / f"{name}.lock")


def sweep(folder: Path) -> None:
    """Remove the lock files of the dead. Raises OSError where the folder cannot be read."""
    for path in folder.glob("*.lock"):
        if not held(path):
            with suppress(OSError):
                path.unlink()


_owners: weakref.WeakSet[ProcessLock] = weakref.WeakSet()


def _forget() -> None:
    # the child shares its parent's open files: keeping this one would keep the parent alive for others after its death
    for owner in list(_owners):
        owner._let_go()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
