"""What a scorer gets besides the image: its prompt, its combination, its first reference."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from imagegen_magic.engine.ledger.ledger import Ledger, NewSource
from imagegen_magic.engine.storage import source_copies
from imagegen_magic.paths import Location, located
from imagegen_magic.records import FrozenDict
from imagegen_magic.result import GeneratedImage

if TYPE_CHECKING:
    from PIL.Image import Image

Combinations = Mapping[int, Mapping[str, str]]


async def hash_of(names: Sequence[str], image: GeneratedImage, combinations: Combinations, ledger: Ledger) -> str:
    """Return the hash of the inputs of these names, 32 hexadecimal digits; empty if there are none."""
    parts = []
    for name in names:
        if name == "prompt":
            parts.append(image.request.prompt)
        elif name == "reference":
            source = await _reference(image, ledger)
            parts.append("" if source is None else source.sha256 or source.name)
        else:
            parts.append(repr(sorted(combinations.get(image.id, {}).items())))
    return hashlib.sha256("\0".join(parts).encode(errors="surrogatepass")).hexdigest()[:32] if parts else ""


async def values_of(names: Sequence[str], image: GeneratedImage, combinations: Combinations, ledger: Ledger, home: Path) -> dict[str, Any]:
    """Return the inputs of these names; `reference` is a Pillow image, None if the image has none or its file is missing.

    Raises ReadError and ImageInvalid if the reference cannot be read.
    """
    values: dict[str, Any] = {}
    for name in names:
        if name == "prompt":
            values[name] = image.request.prompt
        elif name == "reference":
            values[name] = await _reference_image(image, ledger, home)
        else:
            values[name] = FrozenDict(combinations.get(image.id, {}))
    return values


async def _reference(image: GeneratedImage, ledger: Ledger) -> NewSource | None:
    for row in await ledger.pictures(ids=[image.id]):
        for source in await ledger.sources(row.job):
            if source.role == "reference":
                return source
    return None


async def _reference_image(image: GeneratedImage, ledger: Ledger, home: Path) -> Image | None:
    from imagegen_magic.imaging.decode import reopened

    source = await _reference(image, ledger)
    paths: list[Location | None] = [] if source is None or source.sha256 is None else [source_copies.find_copy(home, source.sha256)]
    if source is not None and source.picture is not None:
        paths += [located(row.path) for row in await ledger.pictures(ids=[source.picture]) if row.path]
    data = await asyncio.to_thread(_first_content, [path for path in paths if path is not None])
    return None if data is None else reopened(data)


def _first_content(paths: Sequence[Location]) -> bytes | None:
    found = next((path for path in paths if path.is_file()), None)
    return None if found is None else found.read_bytes()
