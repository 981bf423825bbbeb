"""Where the notebook is, also after its folder was renamed while the kernel runs; light, as the extension loads it."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path


class NotebookFolder:
    """The folder of a notebook, found again after it was renamed while the kernel runs."""

    def __init__(self, path: Path) -> None:
        self._path, self._identity = path, _identity(path)

    @property
    def path(self) -> Path:
        """Where the folder is now; its last known path where it was deleted, or renamed while the kernel works in another folder."""
        if self._identity != _identity(self._path) and self._identity == _identity(Path()):
            with suppress(FileNotFoundError):  # the working folder was deleted
                self._path = Path.cwd()
        return self._path


def _identity(folder: Path) -> tuple[int, int] | None:
    """Return what a folder keeps when it is renamed; None where there is none."""
    try:
        found = folder.stat()
    except (OSError, ValueError):
        return None
    return found.st_dev, found.st_ino


def working() -> Path:
    """Return the working folder; where it was deleted, the path that it had."""
    try:
        return Path.cwd()
    except FileNotFoundError:
        pass
    try:
        return Path(os.readlink("/proc/self/cwd").removesuffix(" (deleted)"))
    except OSError:  # pragma: no cover - only Linux tells the path
        return Path(os.sep, "(deleted)")
