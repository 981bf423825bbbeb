"""The request of an image, found by its ledger id, its bytes, its sidecar, or the metadata of a copy."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from imagegen_magic._version import UPDATE
from imagegen_magic.engine.ledger import stored_requests
from imagegen_magic.engine.ledger.deletion import deleted_among
from imagegen_magic.engine.ledger.history import find_by_content
from imagegen_magic.engine.ledger.ledger import Ledger, NewSource, PictureRow
from imagegen_magic.engine.storage import source_copies
from imagegen_magic.engine.storage.images import read_sidecar
from imagegen_magic.imaging.metadata import embed
from imagegen_magic.imaging.metadata.provenance import SANDBOX, Origin
from imagegen_magic.paths import Location
from imagegen_magic.records import Record
from imagegen_magic.request import ImageRequest

_FIELDS = {field.name for field in fields(ImageRequest)}
_MAX_SIDECAR = 4_000_000  # bytes


@dataclass(frozen=True, slots=True)
class Recollection(Record):
    """The request of an image and its gateway; `source` is where it was found, `notes` are remarks for repeating it."""

    request: ImageRequest
    provider: str
    sandbox: bool
    source: str
    notes: tuple[str, ...] = ()


async def of_picture(ledger: Ledger, number: int, folder: Path) -> Recollection:
    """Return the request of an image of the ledger; reference files are searched in `folder`.

    Raises LookupError if there is no such image.
    """
    rows = await ledger.pictures(ids=[number])
    if not rows:
        raise LookupError(f"there is no picture {number}")
    return await _of_row(ledger, rows[0], folder)


async def of_file(ledger: Ledger, path: Location, folder: Path) -> Recollection:
    """Return the request of a file: an image, an exported copy, or a sidecar.

    The ledger comes first, then the sidecar, then the copy's metadata. Raises LookupError if none of them has it, OSError if the file
    cannot be read.
    """
    data = path.read_bytes()
    content = hashlib.sha256(data).hexdigest()
    if row := await find_by_content(ledger, content):
        return await _of_row(ledger, row, folder)
    if path.suffix.lower() == ".json":
        if (origin := _sidecar(path)) is None:
            raise LookupError(f"{path.name} is not the sidecar of a picture")
        return await _of_origin(ledger, origin, path.name, folder)
    beside = path.with_suffix(".json")
    if (origin := _sidecar(beside)) is not None:
        found = await _of_origin(ledger, origin, beside.name, folder)
        note = f"{path.name} was changed since it was saved; this is the request of the original."
        return found if origin.sha256 in ("", content) else replace(found, notes=(note, *found.notes))
    if (origin := embed.read(data)) is None:
        raise LookupError(f"{path.name} is not in the ledger, has no sidecar and no metadata of a request")
    return await _of_origin(ledger, origin, f"the metadata of {path.name}", folder)


async def _of_row(ledger: Ledger, row: PictureRow, folder: Path) -> Recollection:
    request = asked(row.asked)
    if request is None:
        raise LookupError(f"the ledger does not have the request of picture {row.id}")
    used = await ledger.sources(row.job)
    deleted = await deleted_among(ledger, (source.picture for source in used if source.picture))
    named = [_name(source, ledger.path.parent, folder, deleted) for source in used]
    references = tuple(name for source, (name, _) in zip(used, named, strict=True) if source.role == "reference")
    mask = next((name for source, (name, _) in zip(used, named, strict=True) if source.role == "mask"), request.mask)
    request = replace(request, references=references or request.references, mask=mask)
    notes = (*(note for _, note in named if note), *_left_out(row.asked))
    return Recollection(request, row.provider, row.sandbox, f"picture {row.id}", notes)


def _name(source: NewSource, home: Path, folder: Path, deleted: Collection[int]) -> tuple[str, str]:
    """Return a name with which a cell finds the same bytes again, and a note, which may be empty."""
    if source.picture in deleted:
        return f"@{source.picture}", f"@{source.picture} was deleted: give another picture in its place."
    if source.picture:
        return f"@{source.picture}", ""
    if not source.sha256 or _same_bytes(folder / source.name, source.sha256):
        return source.name, ""
    if copy := source_copies.find_copy(home, source.sha256):
        return str(copy), f"{source.name} is replaced by its stored copy: it is not in this folder, or has changed since."
    return source.name, f"{source.name} must exist unchanged: there is no stored copy of it."


def _same_bytes(path: Path, sha256: str) -> bool:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest() == sha256
    except (OSError, ValueError):
        return False


def _sidecar(path: Location) -> Origin | None:
    """Return what a sidecar of this package records, None if there is none."""
    try:
        stored = read_sidecar(path) if path.stat().st_size <= _MAX_SIDECAR else {}
        valid = isinstance(stored.get("asked"), dict) and _is_usable("gateway", stored.get("gateway"))
        return Origin.of_sidecar(stored) if valid else None
    except (OSError, TypeError, ValueError):  # there is no file, or it has a list where an object should be
        return None


async def _of_origin(ledger: Ledger, origin: Origin, source: str, folder: Path) -> Recollection:
    """Return a recorded request, from the ledger if that has its image."""
    if row := await find_by_content(ledger, origin.sha256):
        return await _of_row(ledger, row, folder)
    request = asked({"prompt": origin.prompt, **origin.asked})
    if request is None or not origin.gateway:
        raise LookupError(f"{source} does not have the request; an export with --metadata minimal leaves it out")
    cut = (f"{source} has only a part of {', '.join(origin.shortened)}.",) if origin.shortened else ()
    gateway = origin.gateway.removesuffix(SANDBOX)
    notes = (*cut, *_foreign(request), *_left_out(origin.asked))
    return Recollection(request, gateway, gateway != origin.gateway, source, notes)


def asked(stored: Mapping[str, Any]) -> ImageRequest | None:
    """Return stored options as a request, None without a prompt; unknown options and those that no option line can express are left out."""
    kept = {name: value for name, value in stored.items() if name in _FIELDS and _is_usable(name, value)}
    return ImageRequest(**kept) if isinstance(kept.get("prompt"), str) and kept["prompt"].strip() else None


def _is_usable(name: str, value: Any) -> bool:
    if name in ("parameters", "extra"):
        return isinstance(value, dict) and all(isinstance(key, str) and key.isprintable() and "=" not in key for key in value)
    if name == "references":
        return isinstance(value, list | tuple) and all(isinstance(each, str) and each.isprintable() for each in value)
    if name in ("n", "output_compression"):
        return isinstance(value, int) and not isinstance(value, bool)
    if name == "unchecked":
        return isinstance(value, bool)
    return isinstance(value, str) and (name == "prompt" or value.isprintable())


def _left_out(stored: Mapping[str, Any]) -> Iterator[str]:
    """Yield a note about the options of a newer version, which are not in the request."""
    if names := sorted(stored_requests.unknown(stored)):
        yield f"Left out, because this version does not know it in this form: {', '.join(names)} ({UPDATE})."


def _foreign(request: ImageRequest) -> Iterator[str]:
    """Yield a note about sources that are not URLs: they must exist here too."""
    named = [source for source in (*request.references, request.mask) if isinstance(source, str) and "://" not in source]
    if named:
        yield f"It was made with {', '.join(named)}, which must exist here too."
