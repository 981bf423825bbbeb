"""Copies of references and masks, which drift is measured against; pruned after a month."""

from __future__ import annotations

import os
import re
import time
from contextlib import suppress
from pathlib import Path

from imagegen_magic.errors import ImageInvalid, SaveError
from imagegen_magic.providers.uploads import ENDINGS
from imagegen_magic.request import LocalPicture

KEPT = 30 * 86_400.0  # seconds since a copy was last wanted
_SHA256 = re.compile(r"[0-9a-f]{64}")
_OURS = re.compile(r"[0-9a-f]{64}\.\w+|\.[0-9a-f]{16}\.part")  # the folder may hold other files, too


def keep(home: Path, picture: LocalPicture) -> Path:
    """Keep a copy of an image under its SHA-256, readable by its owner only, and return its path; old copies are removed.

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


def kept(home: Path, sha256: str) -> Path | None:
    """Return the path of the copy with that SHA-256, None if there is none."""
    if not _SHA256.fullmatch(sha256):
        return None
    return next((home / "sources").glob(f"{sha256}.*"), None)


def _write(path: Path, data: bytes) -> None:
    """Let a file appear whole, whatever was there before."""
    part = path.with_name(f".{os.urandom(8).hex()}.part")
    try:
        descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    finally:
        with suppress(OSError):
            part.unlink()


def _prune(folder: Path) -> None:
    oldest = time.time() - KEPT
    for path in folder.iterdir():
        with suppress(OSError):  # another process was faster
            if _OURS.fullmatch(path.name) and path.stat().st_mtime < oldest:
                path.unlink()


def drift(home: Path, after: bytes, before: str, mask: str) -> tuple[float, float] | None:
    """Return how an edit changed what its mask protects: (share of the pixels, mean absolute difference), both 0..1.

    `before` and `mask` are the SHA-256 of the edited image and of its mask. None if a copy is missing or cannot be read.
    """
    from imagegen_magic.imaging import mask_drift

    paths = kept(home, before), kept(home, mask)
    if paths[0] is None or paths[1] is None:
        return None
    try:
        measured = mask_drift.drift(paths[0].read_bytes(), after, paths[1].read_bytes())
    except (ImageInvalid, OSError):
        return None
    return measured.share, measured.mean
