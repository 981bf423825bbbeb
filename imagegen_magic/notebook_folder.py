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


_asked: dict[Path, tuple[NotebookFolder, Path]] = {}  # folders of pictures that were given relative to a notebook's folder


def remember(base: Path, within: Path) -> None:
    """Take note that pictures go to the folder `within` of a notebook's folder, wherever that is when they come."""
    _asked[base / within] = NotebookFolder(base), within


def followed(folder: Path) -> Path:
    """Return where a folder of pictures is now: elsewhere where it is remembered and its notebook's folder was renamed meanwhile.

    It asks the disk: from a thread.
    """
    if folder not in _asked:
        return followed(folder.parent) / folder.name if folder.parent in _asked else folder
    base, within = _asked[folder]
    return base.path / within


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
    except OSError:  # pragma: no cover - only Linux gives the path
        return Path(os.sep, "(deleted)")
