"""Checks that images can be saved in a folder, before anything is sent."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from imagegen_magic.engine.storage import images
from imagegen_magic.errors import ImageGenError, SaveError

if TYPE_CHECKING:
    from imagegen_magic.engine.settings import Settings

_ANOTHER = "choose another folder with --save-dir (save_dir=… in Python)"
_BACK = "change to a folder that exists (%cd and %reload_ext imagegen_magic; os.chdir in Python), or give save_dir as an absolute path"


def check(settings: Settings, folder: Path | None = None) -> None:
    """Raise SaveError if images cannot be saved in a folder (default: the settings' own), as far as can be checked without a change."""
    folder = settings.save_dir if folder is None else folder
    with _one_line(settings, folder):
        nearest = next(place for place in (folder, *folder.parents) if _is_there(place))
        if not nearest.is_dir():
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(nearest))
        _check_names(nearest, folder.relative_to(nearest).parts)
        _check_writable(nearest)


def troubles(settings: Settings) -> list[str]:
    """Return the reason why images cannot be saved in the settings' folder, in one line; empty if none is known."""
    try:
        check(settings)
    except ImageGenError as error:
        return [str(error)]
    return []


def _is_there(place: Path) -> bool:
    try:
        place.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return place == place.parent
    return True


def _check_names(folder: Path, names: Sequence[str]) -> None:
    most = os.pathconf(folder, "PC_NAME_MAX") if hasattr(os, "pathconf") else 255
    if any(len(os.fsencode(name)) > most for name in names):
        raise OSError(errno.ENAMETOOLONG, os.strerror(errno.ENAMETOOLONG), str(folder))


def _check_writable(folder: Path) -> None:
    if not os.access(folder, os.W_OK | os.X_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(folder))
    if not hasattr(os, "statvfs"):  # pragma: no cover - Windows
        return
    disk = os.statvfs(folder)
    free = disk.f_bfree if os.geteuid() == 0 else disk.f_bavail  # what is reserved is the superuser's
    if disk.f_blocks and not free:  # a file system that counts no blocks says 0 of 0
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(folder))


def make_ready(settings: Settings, folder: Path | None = None, *, name: str = "picture") -> tuple[Path, ...]:
    """Make a folder (default: the settings' own) and write a byte in it, which is removed; returns the folders that were made.

    The file of that byte has a name as long as one of a picture called `name` has. Raises SaveError, and leaves nothing behind then.
    It waits for the disk: from a thread.
    """
    folder = settings.save_dir if folder is None else folder
    made: list[Path] = []
    with _one_line(settings, folder):
        try:
            images.in_folder(folder, lambda: images.write_a_byte(folder, name), made)
        except BaseException:
            remove_empty(made)
            raise
    return tuple(made)


def remove_empty(made: Sequence[Path]) -> None:
    """Remove the folders that `make_ready` made, as far as they are empty."""
    for folder in reversed(made):
        with suppress(OSError):
            folder.rmdir()


@contextmanager
def _one_line(settings: Settings, folder: Path) -> Iterator[None]:
    """Turn the errors of a folder into a SaveError of one line; a missing folder of the notebook comes first."""
    base = settings.folder
    if base in (folder, *folder.parents) and not base.is_dir():
        what = f"The notebook's folder {images.shown(base)} is gone: it was renamed or deleted while this kernel runs"
        raise SaveError(what, charge="no", hint=_BACK)
    try:
        yield
    except (OSError, ValueError) as error:
        step = "make room there, or " + _ANOTHER if _is_full(error) else _ANOTHER
        if folder == settings.save_dir and settings.origin("save_dir") not in ("built in", "this cell", "this call"):
            step += f"; save_dir is set in {settings.origin('save_dir')}"
        raise SaveError(f"Pictures cannot be saved in {images.shown(folder)}: {_why(error, folder)}", charge="no", hint=step) from error


def _is_full(error: Exception) -> bool:
    return isinstance(error, OSError) and error.errno in images.FULL


def _why(error: Exception, folder: Path) -> str:
    if isinstance(error, UnicodeEncodeError):
        return "the file system's encoding has no such name"
    if isinstance(error, ValueError):
        return "its name holds a NUL character"
    if isinstance(error, (FileExistsError, NotADirectoryError)):
        taken = next((place for place in (folder, *folder.parents) if place.exists() or place.is_symlink()), folder)
        return f"{images.shown(taken)} is a link that leads nowhere" if not taken.exists() else f"{images.shown(taken)} is a file"
    return (error.strerror if isinstance(error, OSError) else "") or str(error)
