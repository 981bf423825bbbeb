"""What came back against what was asked, in words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from imagegen_magic.formats import BY_TYPE
from imagegen_magic.request import Size

if TYPE_CHECKING:
    from imagegen_magic.imaging.verify import ImageInfo

_SAME_SHAPE = 0.03  # relative; tables round edges to multiples of 16


def mismatches(expected: Mapping[str, Any], size_asked: str, facts: ImageInfo) -> tuple[str, ...]:
    """Say where a picture's bytes differ from the plan's `expected` (pixels, mime_type, alpha); empty where they do not."""
    said = [*_pixels(expected.get("pixels") or (), size_asked, facts)]
    asked_type = expected.get("mime_type")
    if asked_type and asked_type != facts.mime_type:
        said.append(f"asked {_kind(asked_type)}, got {_kind(facts.mime_type)}")
    if expected.get("alpha") is True and not facts.transparent:
        said.append("asked a transparent background, got an opaque one")
    if expected.get("alpha") is False and facts.transparent:
        said.append("asked an opaque background, got transparent places")
    return tuple(said)


def _pixels(allowed: Any, size_asked: str, facts: ImageInfo) -> list[str]:
    if [facts.width, facts.height] in [list(pair) for pair in allowed]:
        return []
    wish = _size(size_asked)
    if wish.kind == "ratio" and abs(facts.width / facts.height * wish.height / wish.width - 1) > _SAME_SHAPE:
        return [f"asked {wish}, got {shape(facts.width, facts.height)} ({facts.width}×{facts.height})"]
    return [f"asked {width}×{height}, got {facts.width}×{facts.height}" for width, height in allowed[:1]]


def _size(asked: str) -> Size:
    try:
        return Size.parse(asked or "auto")
    except ValueError:  # as a newer version writes it: the pixels are compared all the same
        return Size("auto")


def shape(width: int, height: int) -> str:
    """Return an aspect ratio with its smaller term 1: 2.25:1."""
    if width >= height:
        return f"{width / height:.3g}:1"
    return f"1:{height / width:.3g}"


def _kind(mime_type: str) -> str:
    return BY_TYPE[mime_type].name.lower() if mime_type in BY_TYPE else mime_type.removeprefix("image/")
