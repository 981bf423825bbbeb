"""Where the pictures of a request are kept: a folder on a disk, or a prefix of an object store such as `s3://bucket/prefix`.

`open_store` is all that a process needs that saves or reads pictures; it takes an address as text, and finds credentials itself.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

from imagegen_magic.engine.storage import images
from imagegen_magic.engine.storage.fsspec_store import FsspecStore
from imagegen_magic.engine.storage.images import Saved
from imagegen_magic.engine.storage.parts import Part
from imagegen_magic.errors import ReadError
from imagegen_magic.notebook_folder import followed
from imagegen_magic.paths import Location, StorePath, located

_ARRIVING = "arriving"


class Store(Protocol):
    """What keeps the pictures of a request. Its methods wait for the disk or the network: call them from a thread.

    They raise SaveError if a picture cannot be kept, ValueError if a name would leave the folder.
    """

    @property
    def location(self) -> Location:
        """The folder."""

    def save(self, data: bytes | Part, filename_stem: str, index: int, suffix: str, sidecar: Mapping[str, Any]) -> Saved:
        """Save a picture and its sidecar; see `images.save`. Repeated, the same bytes and name are saved once."""

    def keep_partial(self, data: bytes, filename_stem: str, index: int) -> Location:
        """Save a first view of a picture that did not come; see `images.keep_partial`."""

    def keep_unreadable(
        self, part: Part, filename_stem: str, index: int, suffix: str, sidecar: Mapping[str, Any], *, certain: bool, answer: bool
    ) -> tuple[Location, bool]:
        """Save a file that is no readable image; returns where, and whether it is settled. See `images.keep_unreadable`."""

    def remove_unsettled(self, filename_stem: str, index: int, task_id: str) -> None:
        """Remove the unsettled files of a picture, once the picture itself is saved."""

    def saved_before(self, filename_stem: str, index: int, task_id: str) -> Location | None:
        """Return a picture that was saved, although the ledger does not know."""

    def saved_without_sidecar(self, filename_stem: str, index: int) -> Location | None:
        """Return the only picture of that name if it has no sidecar, as a kill between the two leaves it. Raises OSError."""

    def remove(self, name: str, sha256: str | None) -> int | None:
        """Remove a picture with its sidecar; returns the freed bytes, None if it is another picture now. Raises OSError."""


class FolderStore:
    """A folder on a disk."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @property
    def location(self) -> Path:
        """The folder, also after its notebook's folder was renamed."""
        return followed(self._folder)

    def save(self, data: bytes | Part, filename_stem: str, index: int, suffix: str, sidecar: Mapping[str, Any]) -> Saved:
        """Save a picture and its sidecar."""
        return images.save(data, self.location, filename_stem, index, suffix, sidecar)

    def keep_partial(self, data: bytes, filename_stem: str, index: int) -> Path:
        """Save a first view."""
        return images.keep_partial(data, self.location, filename_stem, index)

    def keep_unreadable(
        self, part: Part, filename_stem: str, index: int, suffix: str, sidecar: Mapping[str, Any], *, certain: bool, answer: bool
    ) -> tuple[Path, bool]:
        """Save a file that is no readable image."""
        return images.keep_unreadable(part, self.location, filename_stem, index, suffix, sidecar, certain=certain, answer=answer)

    def remove_unsettled(self, filename_stem: str, index: int, task_id: str) -> None:
        """Remove the unsettled files of a picture."""
        images.remove_unsettled(self.location, filename_stem, index, task_id)

    def saved_before(self, filename_stem: str, index: int, task_id: str) -> Path | None:
        """Return a picture that was saved."""
        return images.saved_before(self.location, filename_stem, index, task_id)

    def saved_without_sidecar(self, filename_stem: str, index: int) -> None:
        """Return None: in a folder the sidecar is first."""

    def remove(self, name: str, sha256: str | None) -> int | None:
        """Remove a picture with its sidecar."""
        return images.remove(self._folder / name, sha256)


def open_store(address: str | os.PathLike[str] | StorePath) -> Store:
    """Return the store at an address (`s3://bucket/prefix`, `memory://…`), or of a folder; nothing is sent yet."""
    location = located(address)
    return FolderStore(location) if isinstance(location, Path) else object_store(location)


@functools.lru_cache(maxsize=256)
def object_store(location: StorePath) -> FsspecStore:
    """Return the store of a folder in one."""
    return FsspecStore(location)


def arrival_folder(save_dir: Location, home: Path) -> Path:
    """Return where the files of pictures for a folder arrive: in that folder if it is on a disk, else below `home`."""
    return save_dir if isinstance(save_dir, Path) else home / _ARRIVING


def sizes(files: Iterable[Location]) -> dict[Location, int]:
    """Return the sizes in bytes of those files that exist; a folder in a store is listed once if several of its files are asked for.

    Raises ReadError if a store does not answer: its pictures may exist.
    """
    found: dict[Location, int] = {}
    stored: dict[StorePath, list[str]] = {}
    for each in set(files):
        if isinstance(each, StorePath):
            stored.setdefault(each.parent, []).append(each.name)
            continue
        with suppress(OSError):
            found[each] = each.stat().st_size
    for folder, names in stored.items():
        try:
            known = object_store(folder).sizes(names)
        except OSError as error:
            raise ReadError.of(folder.address, error) from None
        found.update({folder / name: size for name, size in known.items()})
    return found


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=object_store.cache_clear)
