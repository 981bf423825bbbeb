"""Images on disk with their sidecars: complete or absent at any moment, never in place of another file.

How a file is written durably belongs in `parts`, how it is called in `filenames`.
"""

from __future__ import annotations

import glob
import itertools
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from imagegen_magic import notebook_folder
from imagegen_magic.engine.storage import parts
from imagegen_magic.engine.storage.disk_errors import as_save_error
from imagegen_magic.engine.storage.parts import Part
from imagegen_magic.engine.storage.unreadable import suffix_of
from imagegen_magic.paths import Location

UNREADABLE = "unreadable"
_MAX_UNSETTLED = 2  # unsettled files of one image that are kept, besides the latest
MAX_FILES = 9  # files of one name that are read


class Saved(NamedTuple):
    """A picture that is on the disk or in a store: its SHA-256 in hexadecimal, its size in bytes, and where its sidecar is."""

    path: Location
    sha256: str
    size: int
    sidecar: Location


def save(data: bytes | Part, directory: Path, filename_stem: str, index: int, suffix: str, sidecar: Mapping[str, Any]) -> Saved:
    """Write a picture and, under the same name with `.json`, its sidecar, durably; a kill at any moment leaves complete files or none.

    The sidecar gets the picture's `sha256`, and is written first, so that each image on disk has one.

    Called again with the same bytes and name it returns the same path; if another file has that name, `-2` and so on is added.
    Raises SaveError if the disk refuses, TypeError if the sidecar is not JSON, ValueError if the name would leave the folder.
    """
    if isinstance(data, bytes):
        with Part(directory, data=data) as part:
            return save(part, directory, filename_stem, index, suffix, sidecar)
    base, suffix = checked_name(filename_stem, index, suffix)
    described = pretty({**sidecar, "sha256": data.sha256})
    with as_save_error(directory / (base + suffix)):
        parts.in_folder(directory, lambda: None)
        paths = (directory / (name + suffix) for name in names_of(base))
        path = next(path for path in paths if _takes(path, data, described))
        parts.sync(directory)
    return Saved(path, data.sha256, data.size, path.with_suffix(".json"))


def keep_partial(data: bytes, directory: Path, filename_stem: str, index: int) -> Path:
    """Save a first view of a picture that did not come, beside the pictures; returns its path. Raises SaveError."""
    base, suffix = checked_name(filename_stem, index, suffix_of(data[:64], ""))
    with as_save_error(directory / base):
        parts.in_folder(directory, lambda: None)
        paths = (directory / f"{name}{suffix}" for name in names_of(f"{base}-first-view"))
        return next(path for path in paths if parts.publish(data, path))


def keep_unreadable(
    part: Part, directory: Path, filename_stem: str, index: int, suffix: str, sidecar: Mapping[str, Any], *, certain: bool, answer: bool
) -> tuple[Path, bool]:
    """Save a file that is no readable image, durably, in the folder `unreadable`; returns its path and whether it is settled.

    What is `certain` to be what the gateway delivers is settled at once, else as soon as the same bytes came twice. An `answer`, such as
    an error page, is never settled; the latest one is kept. The sidecar has `settled`. Raises SaveError.
    """
    folder = directory / UNREADABLE
    base, _ = checked_name(filename_stem, index, suffix)
    with as_save_error(folder / base):
        earlier = list(_files_of(folder, base, sidecar["task_id"], index))
        known = next((path for path, _ in earlier if part.is_in(path)), None)
        settled = not answer and (certain or known is not None)
        notes = {**sidecar, "number": index, "answer": answer, "settled": settled}
        if known is None:
            known = folder / save(part, folder, filename_stem, index, suffix, notes).path.name
        else:
            parts.replace(pretty({**notes, "sha256": part.sha256}), known.with_suffix(".json"))
        unsettled = [(path, before) for path, before in earlier if path != known and not before.get("settled")]
        spent = [path for path, before in unsettled if settled or bool(before.get("answer")) == answer]
        for path in spent if settled or answer else spent[: max(0, len(spent) - _MAX_UNSETTLED)]:
            _remove(path)
        parts.sync(folder)
    return known, settled


def remove_unsettled(directory: Path, filename_stem: str, index: int, task_id: str) -> None:
    """Remove the unsettled files of a picture, once the picture itself is saved."""
    folder = directory / UNREADABLE
    with suppress(OSError, ValueError):
        for path, notes in list(_files_of(folder, f"{filename_stem}-{index}", task_id, index)) if folder.is_dir() else ():
            if notes.get("settled") is False:
                _remove(path)


def saved_before(directory: Path, filename_stem: str, index: int, task_id: str) -> Path | None:
    """Return the file of a picture that was saved, although the ledger does not know: its bytes are those that its sidecar notes."""
    with suppress(OSError, ValueError):
        for path, notes in _files_of(directory, f"{filename_stem}-{index}", task_id, index):
            if parts.holds(path, path.stat().st_size, str(notes.get("sha256"))):
                return path
    return None


def remove(path: Path, sha256: str | None) -> int | None:
    """Remove an image with its sidecar, durably; returns how many bytes that freed, 0 if there was none.

    None, and nothing is removed, if the file does not have this SHA-256 (None: that of its sidecar): it is another picture now. After a
    kill in the middle it removes the rest.
    """
    path = notebook_folder.followed(path.parent) / path.name
    note = path.with_suffix(".json")
    noted = read_sidecar(note).get("sha256")
    if path.is_file() and not parts.holds(path, path.stat().st_size, str(sha256 or noted)):
        return None
    removed = [path, *([note] if noted == (sha256 or noted) else [])]
    freed = sum(each.stat().st_size for each in removed if each.is_file())
    for each in removed:
        each.unlink(missing_ok=True)
    if path.parent.is_dir():
        parts.sync(path.parent)
    return freed


def read_sidecar(path: Location) -> dict[str, Any]:
    """Return the content of a sidecar, empty if it cannot be read."""
    try:
        notes = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    return notes if isinstance(notes, dict) else {}


def _files_of(folder: Path, base: str, task_id: str, number: int) -> Iterator[tuple[Path, dict[str, Any]]]:
    """Yield the files of a task's picture in a folder, oldest first, with the content of their sidecars."""
    for name in itertools.islice(names_of(base), MAX_FILES):
        note = folder / f"{name}.json"
        notes = read_sidecar(note) if note.exists() else {}
        if notes.get("task_id") == task_id and notes.get("number", number) == number:
            yield from ((path, notes) for path in folder.glob(f"{glob.escape(name)}.*") if path != note)


def names_of(base: str) -> Iterator[str]:
    """Yield the names for files of one name: without a number, then from 2."""
    yield base
    yield from (f"{base}-{number}" for number in itertools.count(2))


def _remove(path: Path) -> None:
    for each in (path, path.with_suffix(".json")):
        each.unlink(missing_ok=True)


def checked_name(filename_stem: str, index: int, suffix: str) -> tuple[str, str]:
    """Return the name of an image without and its suffix with a dot. Raises ValueError if the name would leave the folder."""
    base, suffix = f"{filename_stem}-{index}", "." + suffix.lstrip(".")
    if Path(base + suffix).name != base + suffix or "\\" in base + suffix or "\0" in base + suffix:
        raise ValueError(f"{base + suffix!r} is not a file name")
    return base, suffix


def pretty(sidecar: Mapping[str, Any]) -> bytes:
    """Return a sidecar as JSON that people can read. Raises TypeError if it is not JSON."""
    try:
        return (json.dumps(sidecar, ensure_ascii=False, indent=2) + "\n").encode()
    except UnicodeEncodeError:  # half of a surrogate pair, which a prompt can hold and UTF-8 cannot
        return (json.dumps(sidecar, indent=2) + "\n").encode()


def _takes(path: Path, part: Part, described: bytes) -> bool:
    """Give the image this name, its sidecar first; False if another file has it, True also if this image has it already."""
    note = path.with_suffix(".json")
    if not os.path.lexists(path):
        hidden = part.durable(path)
        if not (parts.publish(described, note) or _takes_over(note, described)):
            return False
        try:
            parts.name_part(hidden, path)
        except BaseException as error:
            note.unlink(missing_ok=True)  # by another process that saves this very picture
            if not isinstance(error, FileExistsError):
                raise
        else:
            return True
    if not part.is_in(path):
        return False
    parts.publish(described, note)
    return True


def _takes_over(note: Path, described: bytes) -> bool:
    """Replace a sidecar of this very picture whose process was killed before the picture had its name."""
    ours, theirs = ((notes.get("task_id"), notes.get("number")) for notes in (json.loads(described), read_sidecar(note)))
    alone = not any(other != note for other in note.parent.glob(f"{glob.escape(note.stem)}.*"))
    if not (ours[0] and ours == theirs and alone):
        return False
    parts.replace(described, note)
    return True
