"""Checks that images can be saved in a folder, before anything is sent."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from imagegen_magic.engine.storage import parts, stores
from imagegen_magic.engine.storage.disk_errors import is_full, reason, shown
from imagegen_magic.errors import ImageGenError, SaveError
from imagegen_magic.paths import Location, StorePath

if TYPE_CHECKING:
    from imagegen_magic.engine.settings import Settings

_ANOTHER = "choose another folder with --save-dir (save_dir=… in Python)"
_BACK = "change to a folder that exists (%cd and %reload_ext imagegen_magic; os.chdir in Python), or give save_dir as an absolute path"


def check(settings: Settings) -> None:
    """Raise SaveError if images cannot be saved in the settings' folder, as far as can be checked without a change."""
    folder = settings.save_dir
    if isinstance(folder, StorePath):
        stores.object_store(folder).check()
        return
    with _as_save_error(settings, folder):
        nearest = next(path for path in (folder, *folder.parents) if _exists(path))
        if not nearest.is_dir():
            raise _os_error(errno.ENOTDIR, nearest)
        max_bytes = os.pathconf(nearest, "PC_NAME_MAX") if hasattr(os, "pathconf") else 255
        if any(len(os.fsencode(name)) > max_bytes for name in folder.relative_to(nearest).parts):
            raise _os_error(errno.ENAMETOOLONG, nearest)
        if not os.access(nearest, os.W_OK | os.X_OK):
            raise _os_error(errno.EACCES, nearest)
        if hasattr(os, "statvfs"):  # all systems but Windows
            disk = os.statvfs(nearest)
            free = disk.f_bfree if os.geteuid() == 0 else disk.f_bavail  # the superuser may also use what is reserved
            if disk.f_blocks and not free:  # a file system that counts no blocks reports 0 of 0
                raise _os_error(errno.ENOSPC, nearest)


def problems(settings: Settings) -> list[str]:
    """Return the reason why images cannot be saved in the settings' folder, in one line; empty if none is known."""
    try:
        check(settings)
    except ImageGenError as error:
        return [str(error)]
    return []


def _exists(path: Path) -> bool:
    try:
        path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return path == path.parent
    return True


def _os_error(code: int, path: Path) -> OSError:
    return OSError(code, os.strerror(code), str(path))


def make_ready(settings: Settings, folder: Location | None = None, *, name: str = "picture") -> tuple[Path, ...]:
    """Create a folder (default: the settings' own) and write a byte in it, which is removed; returns the folders that were created.

    The file of that byte has a name as long as that of an image called `name`. Raises SaveError, and leaves nothing behind then.
    Of a store see `FsspecStore.make_ready`.
    It waits for the disk or the network: call it from a thread.
    """
    folder = settings.save_dir if folder is None else folder
    if isinstance(folder, StorePath):
        stores.object_store(folder).make_ready()
        return ()
    created: list[Path] = []
    with _as_save_error(settings, folder):
        try:
            parts.in_folder(folder, lambda: parts.write_a_byte(folder, name), created)
        except BaseException:
            remove_empty(created)
            raise
    return tuple(created)


def remove_empty(created: Sequence[Path]) -> None:
    """Remove the folders that `make_ready` created, as far as they are empty."""
    for folder in reversed(created):
        with suppress(OSError):
            folder.rmdir()


@contextmanager
def _as_save_error(settings: Settings, folder: Path) -> Iterator[None]:
    """Raise the errors of a folder as a SaveError of one line; a missing folder of the notebook comes first."""
    base = settings.folder
    if base in (folder, *folder.parents) and not base.is_dir():
        what = f"The notebook's folder {shown(base)} no longer exists: it was renamed or deleted while this kernel runs"
        raise SaveError(what, charge="no", hint=_BACK)
    try:
        yield
    except (OSError, ValueError) as error:
        step = "make room there, or " + _ANOTHER if is_full(error) else _ANOTHER
        if folder == settings.save_dir and settings.origin("save_dir") not in ("built in", "this cell", "this call"):
            step += f"; save_dir is set in {settings.origin('save_dir')}"
        raise SaveError(f"Pictures cannot be saved in {shown(folder)}: {reason(error, folder)}", charge="no", hint=step) from error
