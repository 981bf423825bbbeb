"""Paths as text and as the file system takes them, also if its encoding is not UTF-8 (as under `LC_ALL=C`); addresses in stores."""

from __future__ import annotations

import os
import re
import sys
import unicodedata
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.:-]+://")  # two letters at least: C:// is a disk
_DISKS = ("file", "local")  # what fsspec calls the disk
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


def text_of(path: str | os.PathLike[str] | StorePath) -> str:
    """Return a path as text that every encoding can hold, and that `path_of` reads again; of a picture in a store its address."""
    name = path.address if isinstance(path, StorePath) else os.fspath(path)
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


class FileSize(NamedTuple):
    """What is known of a file in a store: its size in bytes."""

    st_size: int


class StorePath:
    """A picture or a folder in a store, by its address: `s3://bucket/prefix/fox-1.png`. It has what a Path has for reading.

    What reads raises OSError as a Path does, and waits for the network. It is no `os.PathLike`, so that no file is made in its name.
    It is immutable by convention, and no Record: these load with the first cell, this module with the extension.
    """

    __slots__ = ("address",)

    def __init__(self, address: str) -> None:
        scheme, _, key = address.partition("://")
        self.address = f"{scheme}://{key.rstrip('/')}"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, StorePath) and self.address == other.address

    def __hash__(self) -> int:
        return hash(self.address)

    def __repr__(self) -> str:
        return f"StorePath({self.address!r})"

    def __str__(self) -> str:
        return self.address

    def __truediv__(self, name: str) -> StorePath:
        return StorePath(f"{self.scheme}://{self._key}{'/' if self._key else ''}{name}")

    @property
    def scheme(self) -> str:
        """The protocol: `s3`."""
        return self.address.partition("://")[0]

    @property
    def _key(self) -> str:
        return self.address.partition("://")[2]

    @property
    def name(self) -> str:
        """The last part of the address."""
        return self._key.rpartition("/")[2]

    @property
    def stem(self) -> str:
        """The name without its suffix."""
        return PurePosixPath(self.name).stem

    @property
    def suffix(self) -> str:
        """The suffix of the name, with its dot."""
        return PurePosixPath(self.name).suffix

    @property
    def parent(self) -> StorePath:
        """The folder."""
        return StorePath(f"{self.scheme}://{self._key.rpartition('/')[0]}")

    def with_suffix(self, suffix: str) -> StorePath:
        """Return the address with another suffix."""
        return self.parent / f"{self.stem}{suffix}"

    def absolute(self) -> StorePath:
        """Return itself: an address has no working folder."""
        return self

    def read_bytes(self) -> bytes:
        """Return the bytes."""
        return bytes(_store_of(self).read(self.name))

    def stat(self) -> FileSize:
        """Return the size, as the store has it now."""
        return FileSize(_store_of(self).size(self.name))

    def is_file(self) -> bool:
        """Return whether there is such an object."""
        try:
            self.stat()
        except OSError:
            return False
        return True

    exists = is_file


Location = Path | StorePath
"""A file or a folder: on a disk, or in a store."""


def is_address(text: str) -> bool:
    """Return whether a text is an address such as `s3://bucket/prefix`, and no path."""
    return bool(_ADDRESS.match(text))


def is_plain_address(text: str) -> bool:
    """Return whether an address names a folder and nothing else: no user, password, query, or chain of file systems.

    `abfs://container@account.dfs.core.windows.net` has no user: Azure writes its container so.
    """
    scheme, _, rest = text.partition("://")
    user, at, _ = rest.partition("/")[0].rpartition("@")
    named = not at or (scheme.lower() in ("abfs", "abfss") and ":" not in user)
    return named and ":" not in scheme and not set(rest) & set("?#") and rest.isprintable()


def located(text: str | os.PathLike[str] | StorePath) -> Location:
    """Return the file or folder that a text names: in a store if it is an address, else on a disk (also `file://`)."""
    if isinstance(text, StorePath):
        return text
    name = os.fspath(text)
    if not is_address(name):
        return path_of(name)
    scheme, _, path = name.partition("://")
    return path_of(path) if scheme.lower() in _DISKS else StorePath(name)


def _store_of(path: StorePath) -> Any:
    """Return the store of a file's folder. It is found by its name, because the engine's modules are a layer above."""
    from pkgutil import resolve_name

    return resolve_name("imagegen_magic.engine.storage.stores:open_store")(path.parent)
