"""Uploaded files: the form that carries them, their storage, and what they are."""

from __future__ import annotations

import hashlib
import io
import os
import re
import time
import warnings
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, UnidentifiedImageError

from imagegen_magic.formats import GIF, JPEG, PNG, WEBP

_KEPT_DAYS = 8
_FORMATS = {image_format.name.upper(): image_format for image_format in (JPEG, PNG, WEBP, GIF)}  # by Pillow's names
_NAME = re.compile(rf"[0-9a-f]{{64}}\.({'|'.join(image_format.extension for image_format in _FORMATS.values())})")


@dataclass(frozen=True, slots=True)
class Part:
    """One part of a multipart form: its file name, "" for a plain field, its bytes and its MIME type, "" if it names none."""

    file_name: str
    content: bytes
    mime_type: str = ""


@dataclass(frozen=True, slots=True)
class StoredFile:
    """An uploaded picture: its name, its MIME type, its pixels, and whether it has alpha."""

    name: str
    mime_type: str
    width: int
    height: int
    alpha: bool


def form(body: bytes, content_type: str) -> dict[str, Part]:
    """Return the parts of a multipart form by name; none if it is no such form."""
    return dict(parts(body, content_type))


def parts(body: bytes, content_type: str) -> list[tuple[str, Part]]:
    """Return the names and parts of a multipart form in order; none if it is no such form."""
    boundary = re.search(r'boundary="?([^";,]+)"?', content_type)
    if boundary is None or not content_type.lower().startswith("multipart/form-data"):
        return []
    pieces = (b"\r\n" + body).split(b"\r\n--" + boundary[1].encode())
    return [named for piece in pieces[1:-1] if (named := _part(piece))]


def _part(piece: bytes) -> tuple[str, Part] | None:
    head, _, content = piece.removeprefix(b"\r\n").partition(b"\r\n\r\n")
    fields = dict(re.findall(r'\b(name|filename)="([^"]*)"', head.decode("utf-8", "replace")))
    kind = re.search(rb"(?im)^content-type: *([^;\r\n]+)", head)
    part = Part(fields.get("filename", ""), content, kind[1].decode("ascii", "replace").strip() if kind else "")
    return (fields["name"], part) if "name" in fields else None


def mime_type(name: str) -> str:
    """Return the MIME type of a file by its name."""
    return next(each.mime_type for each in _FORMATS.values() if name.endswith(each.suffix))


class UploadStore:
    """Uploaded pictures by content, in memory, or in the folder `uploads` of a home, which outlives the process."""

    def __init__(self, home: Path | None = None) -> None:
        self._folder = home / "uploads" if home is not None else None
        self._held: dict[str, bytes] = {}

    def put(self, content: bytes) -> StoredFile | None:
        """Store an image; None if the bytes are none that can be uploaded."""
        facts = _facts(content)
        if facts is None:
            return None
        kind, width, height, alpha = facts
        name = f"{hashlib.sha256(content).hexdigest()}.{_FORMATS[kind].extension}"
        if self._folder is None:
            self._held[name] = content
        else:
            self._write(self._folder, name, content)
        return StoredFile(name, mime_type(name), width, height, alpha)

    def get(self, name: str) -> bytes | None:
        """Return the bytes of a name, None if it is missing."""
        if not _NAME.fullmatch(name):
            return None
        if self._folder is None:
            return self._held.get(name)
        with suppress(FileNotFoundError):
            return (self._folder / name).read_bytes()
        return None

    def facts(self, name: str) -> StoredFile | None:
        """Return the facts of a name, None if it is missing."""
        content = self.get(name)
        facts = _facts(content) if content is not None else None
        return None if facts is None else StoredFile(name, mime_type(name), *facts[1:])

    def _write(self, folder: Path, name: str, content: bytes) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        part = folder / f".{name}.{os.urandom(4).hex()}.part"
        part.write_bytes(content)
        os.replace(part, folder / name)
        for path in folder.iterdir():
            with suppress(OSError):  # another process was faster
                if path.stat().st_mtime < time.time() - _KEPT_DAYS * 86_400:
                    path.unlink()


def _facts(content: bytes) -> tuple[str, int, int, bool] | None:
    try:
        with warnings.catch_warnings(action="ignore"), Image.open(io.BytesIO(content), formats=tuple(_FORMATS)) as image:
            return str(image.format), image.width, image.height, image.has_transparency_data
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return None
