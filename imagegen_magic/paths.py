"""Paths as text and as the file system takes them, also if its encoding is not UTF-8 (as under `LC_ALL=C`)."""

from __future__ import annotations

import os
import re
import sys
import unicodedata
from pathlib import Path

_BYTE = re.compile(r"\\udc([89a-f][0-9a-f])")


def path_of(text: str | os.PathLike[str]) -> Path:
    """Return the path that a text names: its name on the disk is in UTF-8, also if the file system's encoding of this process is not."""
    name = os.fspath(text)
    if os.name == "nt" or (name.isascii() and "\\udc" not in name):
        return Path(name)
    if "\\udc" in name and not os.path.lexists(name):
        name = _BYTE.sub(lambda match: chr(int(match[1], 16) + 0xDC00), name)  # a byte that is no UTF-8, as `text_of` writes it
    try:
        return Path(os.fsdecode(name.encode("utf-8", "surrogateescape")))
    except UnicodeEncodeError:  # half of a surrogate pair, which no file system has
        return Path(name)


def text_of(path: str | os.PathLike[str]) -> str:
    """Return a path as text that every encoding can hold, and that `path_of` reads again."""
    name = os.fspath(path)
    if name.isascii():
        return name
    try:
        raw = os.fsencode(name)
    except UnicodeEncodeError:  # not yet in the file system's encoding
        raw = name.encode("utf-8", "backslashreplace")
    return raw.decode("utf-8", "surrogateescape").encode("utf-8", "backslashreplace").decode()


def encodable(text: str) -> str:
    """Return a text with a space for every letter that the file system's encoding does not have; an accented one loses its accent."""
    encoding = sys.getfilesystemencoding()
    return text if encoding == "utf-8" or text.isascii() else "".join(_encodable(letter, encoding) for letter in text)


def _encodable(letter: str, encoding: str) -> str:
    encoded = letter.encode(encoding, "ignore") or unicodedata.normalize("NFKD", letter).encode(encoding, "ignore")
    return encoded.decode(encoding) or ("" if unicodedata.category(letter).startswith("M") else " ")
