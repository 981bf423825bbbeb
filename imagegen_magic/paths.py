"""Paths as text and as the file system takes them, also where its encoding is not UTF-8 (as under `LC_ALL=C`)."""

from __future__ import annotations

import os
import re
import sys
import unicodedata
from pathlib import Path

_BYTE = re.compile(r"\\udc([89a-f][0-9a-f])")


def path_of(text: str | os.PathLike[str]) -> Path:
    """Return the path that a text names: its name on the disk is in UTF-8, whatever this process takes for the file system's encoding."""
    said = os.fspath(text)
    if os.name == "nt" or (said.isascii() and "\\udc" not in said):
        return Path(said)
    if "\\udc" in said and not os.path.lexists(said):
        said = _BYTE.sub(lambda match: chr(int(match[1], 16) + 0xDC00), said)  # a byte that is no UTF-8, as `text_of` writes it
    try:
        return Path(os.fsdecode(said.encode("utf-8", "surrogateescape")))
    except UnicodeEncodeError:  # half of a surrogate pair, which no file system has
        return Path(said)


def text_of(path: str | os.PathLike[str]) -> str:
    """Return a path as text that every encoding can hold, and that `path_of` reads again."""
    said = os.fspath(path)
    if said.isascii():
        return said
    try:
        raw = os.fsencode(said)
    except UnicodeEncodeError:  # not yet in the file system's encoding
        raw = said.encode("utf-8", "backslashreplace")
    return raw.decode("utf-8", "surrogateescape").encode("utf-8", "backslashreplace").decode()


def carried(text: str) -> str:
    """Return a text with a space for every letter that the file system's encoding cannot carry; an accented one loses its accent."""
    encoding = sys.getfilesystemencoding()
    return text if encoding == "utf-8" or text.isascii() else "".join(_carried(each, encoding) for each in text)


def _carried(letter: str, encoding: str) -> str:
    if _fits(letter, encoding):
        return letter
    plain = "".join(each for each in unicodedata.normalize("NFKD", letter) if _fits(each, encoding))
    return plain or ("" if unicodedata.category(letter).startswith("M") else " ")


def _fits(letter: str, encoding: str) -> bool:
    try:
        letter.encode(encoding)
    except UnicodeEncodeError:
        return False
    return True
