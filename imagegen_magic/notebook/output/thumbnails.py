"""Small copies of images as data URLs, for tables, galleries and live progress."""

from __future__ import annotations

from imagegen_magic.errors import ImageGenError
from imagegen_magic.result import GeneratedImage

ALT_LENGTH = 300  # characters of a prompt as the alternative text of a thumbnail


def thumbnail(image: GeneratedImage | bytes, edge: int, limit: int) -> str:
    """Return a small copy as a data URL, within `edge` pixels and `limit` bytes; empty if the file is missing or was changed."""
    from imagegen_magic.imaging.preview import preview

    try:
        return preview(image if isinstance(image, bytes) else smallest_source(image, edge), edge, limit).data_url
    except (OSError, ImageGenError):
        return ""


def smallest_source(image: GeneratedImage, edge: int) -> bytes:
    """Return the smallest copy of an image that is large enough for `edge` pixels."""
    small = image.preview
    return small.data if small and max(small.width, small.height) >= edge else image.data
