"""What a picture was asked with: by its number in the ledger, by its bytes, by the sidecar beside it, or by what it says of itself."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from imagegen_magic.engine.ledger import stored_requests
from imagegen_magic.engine.ledger.history import find_by_content
from imagegen_magic.engine.ledger.ledger import Ledger, NewSource, PictureRow
from imagegen_magic.engine.storage import source_copies
from imagegen_magic.records import Record
from imagegen_magic.request import ImageRequest

_FIELDS = {field.name for field in fields(ImageRequest)}
_MOST_SIDECAR = 4_000_000  # bytes


@dataclass(frozen=True, slots=True)
class Recollection(Record):
    """A request as it was asked, of which gateway, who told (`source`), and what a person should know before asking it again."""

    request: ImageRequest
    provider: str
    sandbox: bool
    source: str
    notes: tuple[str, ...] = ()


async def of_picture(ledger: Ledger, number: int, folder: Path) -> Recollection:
    """Return what a picture of the ledger was asked with; references that are files are looked for in `folder`.

    Raises LookupError where there is no such picture.
    """
    rows = await ledger.pictures(ids=[number])
    if not rows:
        raise LookupError(f"there is no picture {number}")
    return await _of_row(ledger, rows[0], folder)


async def of_file(ledger: Ledger, path: Path, folder: Path) -> Recollection:
    """Return what a file was made with: a picture, a copy of one that `export` wrote, or the sidecar of one.

    The ledger's own word comes first, then the sidecar's, then the copy's. Raises LookupError where none of them tells, OSError where it
    cannot be read.
    """
    data = path.read_bytes()
    if row := await find_by_content(ledger, hashlib.sha256(data).hexdigest()):
        return await _of_row(ledger, row, folder)
    if path.suffix.lower() == ".json":
        told = _sidecar(path)
        if told is None:
            raise LookupError(f"{path.name} is no sidecar of a picture")
        return await _of_sidecar(ledger, told, path.name, "", folder)
    if (told := _sidecar(path.with_suffix(".json"))) is not None:
        changed = told.get("sha256") not in (None, hashlib.sha256(data).hexdigest())
        note = f"{path.name} was changed since it was saved; this is what the original was asked with." if changed else ""
        return await _of_sidecar(ledger, told, path.with_suffix(".json").name, note, folder)
    return await _of_copy(ledger, data, path.name, folder)


async def _of_row(ledger: Ledger, row: PictureRow, folder: Path) -> Recollection:
    request = asked(row.asked)
    if request is None:
        raise LookupError(f"the ledger does not tell what picture {row.id} was asked with")
    used = await ledger.sources(row.job)
    named, notes = _named(used, ledger.path.parent, folder)
    references = tuple(name for source, name in zip(used, named, strict=True) if source.role == "reference")
    mask = next((name for source, name in zip(used, named, strict=True) if source.role == "mask"), request.mask)
    request = replace(request, references=references or request.references, mask=mask)
    return Recollection(request, row.provider, row.sandbox, f"picture {row.id}", (*notes, *_left_out(row.asked)))


def _named(used: Sequence[NewSource], home: Path, folder: Path) -> tuple[list[str], list[str]]:
    """Return how each source is called in a cell that finds the same bytes again, and what there is to say of it."""
    names, notes = [], []
    for source in used:
        name, note = _name(source, home, folder)
        names.append(name)
        notes += [note] if note else []
    return names, notes


def _name(source: NewSource, home: Path, folder: Path) -> tuple[str, str]:
    if source.picture:
        return f"@{source.picture}", ""
    if not source.sha256 or _same_bytes(folder / source.name, source.sha256):
        return source.name, ""
    if copy := source_copies.kept(home, source.sha256):
        return str(copy), f"{source.name} is taken from the copy that was kept of it: it is not in this folder, or not as it was sent."
    return source.name, f"{source.name} must be there as it was: no copy of it is kept any more."


def _same_bytes(path: Path, sha256: str) -> bool:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest() == sha256
    except (OSError, ValueError):
        return False


def _sidecar(path: Path) -> dict[str, Any] | None:
    """Return a sidecar of ours, None where there is none."""
    try:
        if path.stat().st_size > _MOST_SIDECAR:
            return None
        told = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    whole = isinstance(told, dict) and isinstance(told.get("asked"), dict) and _is_sayable("gateway", told.get("gateway"))
    return told if whole else None


async def _of_sidecar(ledger: Ledger, told: Mapping[str, Any], name: str, note: str, folder: Path) -> Recollection:
    if row := await find_by_content(ledger, str(told.get("sha256") or "")):
        found = await _of_row(ledger, row, folder)
        return replace(found, notes=(note, *found.notes) if note else found.notes)
    request = asked({"prompt": told.get("prompt"), **told["asked"]})
    if request is None:
        raise LookupError(f"{name} does not tell what was asked")
    return Recollection(
        request,
        told["gateway"],
        bool(told.get("sandbox")),
        name,
        tuple(filter(None, [note, *_foreign(request), *_left_out(told["asked"])])),
    )


async def _of_copy(ledger: Ledger, data: bytes, name: str, folder: Path) -> Recollection:
    from imagegen_magic.imaging.metadata import embed
    from imagegen_magic.imaging.metadata.provenance import SANDBOX

    origin = embed.read(data)
    if origin is None:
        raise LookupError(f"{name} is not in the ledger, has no sidecar, and does not say how it was made")
    if row := await find_by_content(ledger, origin.sha256):
        return await _of_row(ledger, row, folder)
    request = asked({"prompt": origin.prompt, **origin.asked})
    if request is None or not origin.gateway:
        raise LookupError(f"{name} says that a model made it, and not with what: it was exported with little metadata")
    cut = (f"{', '.join(origin.shortened)} did not fit into {name} whole.",) if origin.shortened else ()
    gateway = origin.gateway.removesuffix(SANDBOX)
    return Recollection(
        request, gateway, gateway != origin.gateway, f"what {name} says of itself", (*cut, *_foreign(request), *_left_out(origin.asked))
    )


def asked(told: Mapping[str, Any]) -> ImageRequest | None:
    """Return what was asked as a request, None where it says no prompt; what no request has, or no option line can hold, is left out."""
    kept = {name: value for name, value in told.items() if name in _FIELDS and _is_sayable(name, value)}
    return ImageRequest(**kept) if isinstance(kept.get("prompt"), str) and kept["prompt"].strip() else None


def _is_sayable(name: str, value: Any) -> bool:
    if name == "extra":
        return isinstance(value, dict) and all(isinstance(key, str) and key.isprintable() and "=" not in key for key in value)
    if name == "references":
        return isinstance(value, list | tuple) and all(isinstance(each, str) and each.isprintable() for each in value)
    if name in ("n", "output_compression"):
        return isinstance(value, int) and not isinstance(value, bool)
    return isinstance(value, str) and (name == "prompt" or value.isprintable())


def _left_out(told: Mapping[str, Any]) -> Iterator[str]:
    """Say which options of a newer version are not in the request."""
    if names := sorted(stored_requests.unknown(told)):
        yield f"Left out, as this version does not know it in this form: {', '.join(names)} ({stored_requests.UPDATE})."


def _foreign(request: ImageRequest) -> Iterator[str]:
    """Say of sources that are no addresses that they must be here, too."""
    named = [each for each in (*request.references, request.mask) if isinstance(each, str) and "://" not in each]
    if named:
        yield f"It was made with {', '.join(named)}, which must be here, too."
