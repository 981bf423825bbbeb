"""Pictures of this machine within a submission. The ledger keeps their placeholders; the bytes are inserted when it is sent."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from imagegen_magic.engine.net.client import FilePart
from imagegen_magic.engine.storage.source_copies import save_copy
from imagegen_magic.providers.base import Call, Model
from imagegen_magic.providers.model import ReferencesAs
from imagegen_magic.providers.uploads import file_name
from imagegen_magic.request import LocalImage

_FURTHER = ("form", "headers", "events")


def is_uploaded(model: Model) -> bool:
    """Return whether a model takes pictures of this machine as the addresses of uploaded files."""
    return model.references_as == "address"


def save_copies(home: Path, pictures: Iterable[LocalImage]) -> None:
    """Keep a copy of each picture on this machine, from which drift is computed. Raises SaveError."""
    for picture in pictures:
        save_copy(home, picture)


def further(call: Call) -> dict[str, Any]:
    """Return what the ledger keeps of a call beside its method, path and JSON."""
    return {name: dict(value) if isinstance(value, Mapping) else value for name in _FURTHER if (value := getattr(call, name))}


def call_of(sent: Mapping[str, Any], pictures: Iterable[LocalImage], model: Model, mask: object = None) -> Call:
    """Return a recorded submission as it goes out: each placeholder is replaced by its picture, `mime:` placeholders by its MIME type.

    The picture with the placeholder `mask` is the mask, which goes out as the model reads masks.
    """
    found: dict[str, Any] = {}
    for picture in () if is_uploaded(model) else pictures:
        data = _as_white(picture) if picture.placeholder == mask and model.mask_paints == "white" else picture.data
        found[picture.placeholder] = _content(picture, data, model.references_as)
        found[f"mime:{picture.placeholder}"] = picture.mime_type
    body, form = sent["json"], sent.get("form")
    return Call(
        sent["method"],
        sent["path"],
        None if form is not None else inserted(body, found),
        None if form is None else inserted(form, found),
        sent.get("headers", {}),
        bool(sent.get("events")),
    )


def _as_white(mask: LocalImage) -> bytes:
    from imagegen_magic.imaging.masks import as_white  # imports Pillow; only some services need it

    return as_white(mask.data)


def _content(picture: LocalImage, data: bytes, references_as: ReferencesAs) -> str | FilePart:
    if references_as == "part":
        return FilePart(file_name(picture), picture.mime_type, data)
    text = base64.b64encode(data).decode()
    return text if references_as == "base64" else f"data:{picture.mime_type};base64,{text}"


def inserted(value: Any, found: Mapping[str, Any]) -> Any:
    """Return a call's JSON or form with what was found for each placeholder in it."""
    if isinstance(value, str):
        return found.get(value, value)
    if isinstance(value, Mapping):
        return {name: inserted(each, found) for name, each in value.items()}
    return [inserted(each, found) for each in value] if isinstance(value, list | tuple) else value
