"""The text in a picture, read by rapidocr, an optional package whose models are part of it: it needs no network."""

from __future__ import annotations

import functools
import importlib.util
from collections.abc import Iterator
from typing import Any

from PIL import Image

from imagegen_magic.imaging.preview import small

_EDGES = (736, 1472)  # px of the longer edge: small print is lost at the first, large letters may be misread at the second
_DETECTION_EDGE = 1024  # px at which lines are found: more takes up to 800 MB and finds less small print; they are read at the full size


def is_available() -> bool:
    """Return whether rapidocr and its runtime are installed; it is not imported."""
    return all(importlib.util.find_spec(name) for name in ("rapidocr", "onnxruntime"))


def texts_of(image: Image.Image) -> Iterator[tuple[str, ...]]:
    """Yield the pieces of text in a picture as they are read at each of two scales, from top to bottom; no piece if there is no text."""
    copies = [small(image, edge).convert("RGB") for edge in _EDGES]
    del image  # a large one takes memory that the reader needs
    for copy in {copy.size: copy for copy in copies}.values():
        yield tuple(_reader()(copy).txts or ())


@functools.cache
def _reader() -> Any:
    """Return the reader of this process; its models take two seconds to load."""
    from rapidocr import RapidOCR  # type: ignore[import-not-found,import-untyped,unused-ignore]  # optional

    detection = {"Det.limit_type": "max", "Det.limit_side_len": _DETECTION_EDGE}
    return RapidOCR(params={"Global.log_level": "critical", **detection})
