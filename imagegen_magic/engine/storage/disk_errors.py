"""Errors of the disk in words, as SaveError."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from imagegen_magic.errors import SaveError
from imagegen_magic.paths import text_of


@contextmanager
def as_save_error(path: Path) -> Iterator[None]:
    """Raise the errors of a file that cannot be written as SaveError; its hint names another folder unless the disk is full."""
    try:
        yield
    except SaveError:
        raise
    except (OSError, ValueError) as error:
        hint = None if is_full(error) else "%imagegen resume DIR saves it in another folder; it fetches without paying again"
        raise SaveError(f"The picture could not be written to {shown(path)}: {reason(error, path)}", hint=hint) from error


def is_full(error: OSError | ValueError) -> bool:
    """Return whether the disk, or the user's quota of it, is full."""
    return isinstance(error, OSError) and error.errno in (errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC))


def reason(error: OSError | ValueError, path: Path) -> str:
    """Return why the operating system refuses a path, in words."""
    if isinstance(error, UnicodeEncodeError):
        return "the file system's encoding has no such name"
    if isinstance(error, ValueError):
        return "its name holds a NUL character" if "\0" in str(path) else str(error)
    if isinstance(error, (FileExistsError, NotADirectoryError)):
        taken = next((each for each in (path, *path.parents) if os.path.lexists(each)), path)
        return f"{shown(taken)} is a file" if taken.exists() else f"{shown(taken)} is a link that leads nowhere"
    return error.strerror or str(error)


def shown(path: Path) -> str:
    """Return a path as a message shows it, in one line."""
    return "".join(mark if mark.isprintable() else "\N{REPLACEMENT CHARACTER}" for mark in text_of(path))
