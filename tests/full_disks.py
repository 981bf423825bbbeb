"""Disks that are full in earnest, for what must go on when there is room again: a small one of its own, or a limit on every file."""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import sys
from collections.abc import Iterator
from pathlib import Path

_SIZE = 2 * 2**20  # bytes of the small disk


class LimitedFiles:
    """No file of this process can grow any more: needs no rights, and the system refuses each write itself."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._before = resource.getrlimit(resource.RLIMIT_FSIZE)

    def fill(self) -> None:
        """Let no byte be written from now on."""
        resource.setrlimit(resource.RLIMIT_FSIZE, (1, self._before[1]))

    def make_room(self) -> None:
        """Let everything be written again."""
        resource.setrlimit(resource.RLIMIT_FSIZE, self._before)


class SmallDisk:
    """A file system of its own in memory, filled to its last byte."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._filling = folder / "filling"

    def fill(self) -> None:
        """Write until there is no room."""
        with self._filling.open("ab", buffering=0) as file, contextlib.suppress(OSError):
            while file.write(b"x" * 4096):
                pass

    def make_room(self) -> None:
        """Remove what fills it."""
        self._filling.unlink(missing_ok=True)


def _mount(folder: Path, flags: int = 0) -> bool:
    if sys.platform != "linux" or os.geteuid() != 0:
        return False
    arguments = b"tmpfs", os.fsencode(folder), b"tmpfs", flags, f"size={_SIZE}".encode()
    return ctypes.CDLL(None, use_errno=True).mount(*arguments) == 0


@contextlib.contextmanager
def full_disk(kind: str, folder: Path) -> Iterator[LimitedFiles | SmallDisk]:
    """Yield a disk whose `folder` is empty: `small` where this user may mount one, else, and for `limited`, one of limited files."""
    folder.mkdir()
    if kind == "small" and _mount(folder):
        try:
            yield SmallDisk(folder)
        finally:
            ctypes.CDLL(None).umount2(os.fsencode(folder), 2)  # 2: also where something is still open
        return
    disk = LimitedFiles(folder)
    try:
        yield disk
    finally:
        disk.make_room()


@contextlib.contextmanager
def read_only(folder: Path) -> Iterator[Path]:
    """Yield an empty folder that takes nothing: a disk of its own where this user may mount one, else by its rights."""
    folder.mkdir()
    if _mount(folder, 1):  # MS_RDONLY
        try:
            yield folder
        finally:
            ctypes.CDLL(None).umount2(os.fsencode(folder), 2)
        return
    folder.chmod(0o555)
    try:
        yield folder
    finally:
        folder.chmod(0o755)
