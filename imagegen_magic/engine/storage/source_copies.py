"""Copies of references and masks, from which drift is computed; removed after a month without use."""

from __future__ import annotations

import os
import re
import tempfile
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from imagegen_magic.errors import ImageInvalid, SaveError
from imagegen_magic.providers.uploads import ENDINGS
from imagegen_magic.request import LocalImage

_LIFE = 30 * 86_400.0  # seconds since a copy was last used
_SHA256 = re.compile(r"[0-9a-f]{64}")
_OURS = re.compile(r"[0-9a-f]{64}\.\w+|\.\w+\.part")  # the folder may hold other files, too


def save_copy(home: Path, picture: LocalImage) -> Path:
    """Save a copy of an image under its SHA-256, readable by its owner only, and return its path; old copies are removed.

    Raises SaveError if the disk refuses.
    """
    path = home / "sources" / f"{picture.identity}.{ENDINGS.get(picture.mime_type, 'bin')}"
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        if path.is_file() and path.stat().st_size == len(picture.data):
            os.utime(path)
        else:
            _write(path, picture.data)
    except OSError as error:
        what = f"A copy of {picture.name} could not be kept in {path.parent}: {error.strerror or error}"
        raise SaveError(what, charge="no", hint="make room or make the folder writable", retry=True) from error
    _prune(path.parent)
    return path


def find_copy(home: Path, sha256: str) -> Path | None:
    """Return the path of the copy with that SHA-256, None if there is none."""
    if not _SHA256.fullmatch(sha256):
        return None
    return next((home / "sources").glob(f"{sha256}.*"), None)


def remove_copies(home: Path, sha256s: Iterable[str]) -> None:
    """Remove the copies with these SHA-256. Raises OSError."""
    for path in [found for sha256 in sha256s if (found := find_copy(home, sha256))]:
        path.unlink(missing_ok=True)


def _write(path: Path, data: bytes) -> None:
    """Write a file that is complete at any moment, in place of an earlier one."""
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=".", suffix=".part", delete=False) as part:  # for its owner only
        try:
            part.write(data)
            part.flush()
            os.fsync(part.fileno())
            part.close()  # an open file cannot be renamed on Windows
            os.replace(part.name, path)
        except BaseException:
            part.close()
            os.unlink(part.name)
            raise


def _prune(folder: Path) -> None:
    oldest = time.time() - _LIFE
    for path in folder.iterdir():
        with suppress(OSError):  # another process was faster
            if _OURS.fullmatch(path.name) and path.stat().st_mtime < oldest:
                path.unlink()


def drift(home: Path, after: bytes, before: str, mask: str) -> tuple[float, float] | None:
    """Return how an edit changed what its mask protects: (share of the pixels, mean absolute difference), both 0..1.

    `before` and `mask` are the SHA-256 of the edited image and of its mask. None if a copy is missing or cannot be read.
    """
    from imagegen_magic.imaging import mask_drift

    original, mask_copy = find_copy(home, before), find_copy(home, mask)
    if original is None or mask_copy is None:
        return None
    try:
        measured = mask_drift.drift(original.read_bytes(), after, mask_copy.read_bytes())
    except (ImageInvalid, OSError):
        return None
    return measured.share, measured.mean
