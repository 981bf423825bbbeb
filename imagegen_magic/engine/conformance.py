"""How a result compares with its plan: in words, and as facts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from imagegen_magic.engine.ledger.records import Checks
from imagegen_magic.formats import BY_TYPE
from imagegen_magic.request import Size

if TYPE_CHECKING:
    from imagegen_magic.imaging.verify import ImageInfo

_SAME_SHAPE = 0.03  # relative; tables round edges to multiples of 16


def checks(expected: Mapping[str, Any], info: ImageInfo) -> Checks:
    """Return how an image's bytes compare with the plan's `expected` (pixels, mime_type, alpha)."""
    pixels, mime_type, alpha = expected.get("pixels"), expected.get("mime_type"), expected.get("alpha")
    return Checks(
        [info.width, info.height] in [list(pair) for pair in pixels] if pixels else None,
        info.mime_type == mime_type if mime_type else None,
        bool(info.transparent) == alpha if isinstance(alpha, bool) else None,
    )


def mismatches(expected: Mapping[str, Any], size_asked: str, info: ImageInfo) -> tuple[str, ...]:
    """Return how an image's bytes differ from the plan's `expected` (pixels, mime_type, alpha); empty if they do not."""
    found = _pixels(expected.get("pixels") or (), size_asked, info)
    asked_type = expected.get("mime_type")
    if asked_type and asked_type != info.mime_type:
        found.append(f"asked {_kind(asked_type)}, got {_kind(info.mime_type)}")
    if expected.get("alpha") is True and not info.transparent:
        found.append("asked a transparent background, got an opaque one")
    if expected.get("alpha") is False and info.transparent:
        found.append("asked an opaque background, got transparent places")
    return tuple(found)


def _pixels(allowed: Any, size_asked: str, info: ImageInfo) -> list[str]:
    if [info.width, info.height] in [list(pair) for pair in allowed]:
        return []
    requested = _size(size_asked)
    if requested.kind == "ratio" and abs(info.width / info.height * requested.height / requested.width - 1) > _SAME_SHAPE:
        return [f"asked {requested}, got {shape(info.width, info.height)} ({info.width}×{info.height})"]
    return [f"asked {width}×{height}, got {info.width}×{info.height}" for width, height in allowed[:1]]


def _size(asked: str) -> Size:
    try:
        return Size.parse(asked or "auto")
    except ValueError:  # of a newer version: the pixels are compared all the same
        return Size("auto")


def shape(width: int, height: int) -> str:
    """Return an aspect ratio with its smaller term 1: 2.25:1."""
    if width >= height:
        return f"{width / height:.3g}:1"
    return f"1:{height / width:.3g}"


def _kind(mime_type: str) -> str:
    return BY_TYPE[mime_type].name.lower() if mime_type in BY_TYPE else mime_type.removeprefix("image/")
