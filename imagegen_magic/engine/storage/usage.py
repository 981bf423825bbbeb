"""How much of the disk is used by what is kept: files and bytes of a folder."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple


class Usage(NamedTuple):
    """A number of files and their bytes."""

    files: int = 0
    size: int = 0


def of_folders(folders: Iterable[Path], *, without: str = "") -> Usage:
    """Return the usage of the files in these folders; hidden ones, and those with the suffix `without`, are left out."""
    sizes = [size for folder in folders for size in _sizes(folder, without)]
    return Usage(len(sizes), sum(sizes))


def of_file(path: Path) -> Usage:
    """Return the usage of a file with what SQLite keeps beside it."""
    sizes = [each.stat().st_size for each in path.parent.glob(f"{path.name}*") if each.is_file()]
    return Usage(len(sizes), sum(sizes))


def _sizes(folder: Path, without: str) -> Iterator[int]:
    try:
        paths = list(folder.iterdir())
    except OSError:
        return
    for path in paths:
        with suppress(OSError):  # removed meanwhile
            if not path.name.startswith(".") and not (without and path.suffix == without) and path.is_file():
                yield path.stat().st_size
