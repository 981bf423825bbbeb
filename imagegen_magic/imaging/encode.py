"""From pixels to a file within a service's limits: as it is, or with `fit` made smaller."""

from __future__ import annotations

import io
import math
from dataclasses import dataclass, replace
from typing import Any

from PIL import Image

from imagegen_magic.errors import UnsupportedOption
from imagegen_magic.formats import JPEG, PNG, WEB_FORMATS, ImageFormat
from imagegen_magic.humanize import compared_sizes
from imagegen_magic.imaging.decode import min_alpha
from imagegen_magic.request import LocalImage

QUALITY = 92
_EFFORT = 4  # of zlib's 9: of a 4K photograph a third of the time of the usual 6, and no byte more


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits of a service, the name of the image, and the option that it was given with."""

    name: str
    types: tuple[str, ...]
    max_bytes: int
    max_pixels: float
    fit: bool
    option: str = "references"


@dataclass(frozen=True, slots=True)
class Draft:
    """An image to be encoded: its pixels in L, RGB or RGBA, the format, the options for saving, and notes of what was done.

    Without `options`, a JPEG or WebP is saved at quality 92.
    """

    image: Image.Image
    format: ImageFormat
    options: dict[str, Any]
    notes: tuple[str, ...]


def check_size(size: tuple[int, int], limits: Limits) -> None:
    """Raise UnsupportedOption for more pixels than are accepted, unless the image is to be made to fit."""
    width, height = size
    if width * height > limits.max_pixels and not limits.fit:
        claim = f"{width}×{height} pixels ({width * height / 1e6:.1f} megapixels)"
        words = f"{limits.name} has {claim}, more than the {limits.max_pixels / 1e6:.1f} megapixels that are taken"
        raise refused(limits, words, "--fit scales it down, and says from what to what")


def check_bytes(data: bytes, form: str, limits: Limits) -> None:
    """Raise UnsupportedOption for more bytes than are accepted, unless the image is to be made to fit; `form` names their format."""
    if len(data) <= limits.max_bytes or limits.fit:
        return
    have, taken = compared_sizes(len(data), limits.max_bytes)
    step = "--fit makes a smaller picture of it, and says from what to what"
    raise refused(limits, f"{limits.name} has {have}{form}, more than the {taken} that are taken", step)


def refused(limits: Limits, words: str, step: str) -> UnsupportedOption:
    """Return the refusal of this picture."""
    return UnsupportedOption(words, option=limits.option, value=limits.name, hint=step)


def fits(data: bytes, image: Image.Image, limits: Limits) -> bool:
    """Return whether a file and its picture keep to the limits."""
    return len(data) <= limits.max_bytes and image.width * image.height <= limits.max_pixels


def target(limits: Limits) -> ImageFormat:
    """Return the format that images of other formats become: PNG if it is accepted."""
    return next((image_format for image_format in WEB_FORMATS if image_format.mime_type in limits.types), PNG)


def encode_within(draft: Draft, limits: Limits) -> LocalImage:
    """Return the draft as a file within the limits. Raises UnsupportedOption if it is too large and not to be made to fit."""
    draft = _opaque(draft, limits) if draft.format is JPEG else draft
    small = _scaled(draft, math.sqrt(limits.max_pixels / (draft.image.width * draft.image.height)))
    data = _saved(small)
    if len(data) > limits.max_bytes:
        check_bytes(data, f" as {draft.format.name}", limits)
        small, data = _within_bytes(_lossy(small, data, limits), limits)
    notes = small.notes + _scaling(draft.image.size, small.image.size)
    return LocalImage(data, small.format.mime_type, *small.image.size, limits.name, notes)


def _scaling(before: tuple[int, int], after: tuple[int, int]) -> tuple[str, ...]:
    return () if before == after else (f"scaled down from {before[0]}×{before[1]} to {after[0]}×{after[1]}",)


def _lossy(draft: Draft, data: bytes, limits: Limits) -> Draft:
    """Return an opaque picture as a JPEG, which is smaller at the same pixels."""
    if draft.format is JPEG or _transparent(draft.image) or JPEG.mime_type not in limits.types:
        return draft
    note = f"made a JPEG of quality {QUALITY}: {compared_sizes(len(data), limits.max_bytes)[0]} as {draft.format.name} were too much"
    return _opaque(replace(draft, format=JPEG, options={}, notes=(*draft.notes, note)), limits)


def _opaque(draft: Draft, limits: Limits) -> Draft:
    """Return the draft without the alpha that no JPEG has. Raises UnsupportedOption if something is transparent."""
    if draft.image.mode != "RGBA":
        return draft
    if _transparent(draft.image):
        raise refused(limits, f"{limits.name} is transparent in places, which a JPEG cannot be", "lay it on a background first")
    image = draft.image.convert("RGB")
    image.info = draft.image.info
    return replace(draft, image=image)


def _transparent(image: Image.Image) -> bool:
    return image.mode == "RGBA" and min_alpha(image) < 255


def _within_bytes(draft: Draft, limits: Limits) -> tuple[Draft, bytes]:
    """Return the draft, made smaller until its file is small enough, and that file. Raises UnsupportedOption if no size is."""
    small, share = draft, 1.0
    while len(data := _saved(small)) > limits.max_bytes:
        if max(small.image.size) == 1:
            raise refused(limits, f"{limits.name} cannot be made as small as {limits.max_bytes} bytes", "give another picture")
        share *= min(0.95, 0.98 * math.sqrt(limits.max_bytes / len(data)))
        small = _scaled(draft, share)
    return small, data


def _scaled(draft: Draft, share: float) -> Draft:
    """Return the draft with each side `share` times as long; itself if that is not shorter."""
    if share >= 1:
        return draft
    size = (max(1, int(draft.image.width * share)), max(1, int(draft.image.height * share)))
    small = draft.image.resize(size, Image.Resampling.LANCZOS, reducing_gap=2.0)
    small.info = draft.image.info
    return replace(draft, image=small)


def _saved(draft: Draft) -> bytes:
    file = io.BytesIO()
    options = draft.options or ({"compress_level": _EFFORT} if draft.format is PNG else {"quality": QUALITY})
    draft.image.save(file, draft.format.name, icc_profile=draft.image.info.get("icc_profile"), **options)
    return file.getvalue()
