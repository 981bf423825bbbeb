"""The panel's pictures: this session's or all of the ledger's, with their thumbnails, stars, and what was put aside."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable
from contextlib import suppress
from typing import Any

from imagegen_magic.engine import loop
from imagegen_magic.engine.jobs.reuse import generated
from imagegen_magic.engine.ledger.ledger import Ledger
from imagegen_magic.errors import ImageGenError, LedgerError
from imagegen_magic.notebook.output import display
from imagegen_magic.result import GeneratedImage
from imagegen_magic.studies.history.annotations import MAX_STARS, import_starred_file, set_stars, starred

THUMBNAIL, THUMBNAIL_BYTES = 320, 14_500  # pixels; bytes that are at most 20 kB as a data address
_GONE = "data:image/svg+xml;base64,PHN2ZyB4bWxucz0naHR0cDovL3d3dy53My5vcmcvMjAwMC9zdmcnIHdpZHRoPSc0JyBoZWlnaHQ9JzQnLz4="


class ImageStore:
    """Pictures by their ledger id, newest first; lives on the engine's loop. `starred` holds those with stars, as last read."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._known: dict[int, GeneratedImage] = {}
        self._session: list[int] = []
        self._all: list[int] = []
        self._aside: set[int] = set()
        self._thumbnails: dict[int, str] = {}
        self.whole_ledger = False
        self.starred: set[int] = set()
        with suppress(LedgerError):  # what is wrong with it is told where something is to be kept
            loop.run(self._read_stars())

    def add(self, image: GeneratedImage) -> None:
        """Take in a picture that was just made."""
        self._known[image.id] = image
        self._session.insert(0, image.id)
        self._all.insert(0, image.id)

    def fill(self, rows: Iterable[Any]) -> None:
        """Take in the whole ledger, as its own rows of pictures."""
        self._all = []
        for row in rows:
            self._known.setdefault(row.id, generated(row))
            self._all.append(row.id)

    @property
    def images(self) -> tuple[GeneratedImage, ...]:
        """The pictures in view, newest first."""
        ids = self._all if self.whole_ledger else self._session
        return tuple(self._known[number] for number in ids if number not in self._aside)

    def find(self, number: Any) -> GeneratedImage | None:
        """Return the picture of that id, or None."""
        return self._known.get(int(number)) if isinstance(number, (int, str)) and str(number).isdigit() else None

    def put_aside(self, number: int) -> None:
        """Take a picture from view; its file and its row in the ledger stay."""
        self._aside.add(number)

    async def turn_star(self, number: int) -> None:
        """Give a picture five stars, or take all it has; kept in the ledger. Raises LedgerError where that cannot be written."""
        await set_stars(self._ledger, number, 0 if number in self.starred else MAX_STARS)
        self.starred ^= {number}

    async def _read_stars(self) -> None:
        await import_starred_file(self._ledger)
        self.starred = await starred(self._ledger)

    async def tiles(self, images: Iterable[GeneratedImage]) -> list[dict[str, Any]]:
        """Return what the gallery draws of these pictures, with the stars they have by now, whoever gave them."""
        with suppress(LedgerError):
            self.starred = await starred(self._ledger)
        return [await self.tile(image) for image in images]

    async def tile(self, image: GeneratedImage) -> dict[str, Any]:
        """Return what the gallery draws of a picture."""
        return {
            "id": image.id,
            "thumbnail": await self.thumbnail(image),
            "caption": caption(image),
            "alt": image.request.prompt,
            "width": image.width,
            "height": image.height,
            "starred": image.id in self.starred,
            "different": bool(image.differences),
        }

    async def thumbnail(self, image: GeneratedImage) -> str:
        """Return a thumbnail's data address of at most 20 kB; that of an empty picture where the file is gone."""
        if image.id not in self._thumbnails:
            self._thumbnails[image.id] = await asyncio.to_thread(_address, image, THUMBNAIL, THUMBNAIL_BYTES) or _GONE
        return self._thumbnails[image.id]


async def enlarged(image: GeneratedImage) -> str:
    """Return a preview's data address, at most 1024 pixels and 150 kB; empty where the file is gone."""
    return await asyncio.to_thread(_address, image, 1024, 150_000)


def _address(image: GeneratedImage, edge: int, limit: int) -> str:
    from imagegen_magic.imaging.preview import preview

    try:
        small = preview(image.preview.data if image.preview else image.data, edge, limit)
    except (OSError, ImageGenError):
        return ""
    return f"data:{small.mime_type};base64,{small.base64}"


def caption(image: GeneratedImage) -> str:
    """Return what a person wants to know of a picture: its prompt, and the line beneath it in a cell."""
    made = time.strftime("%Y-%m-%d %H:%M", time.localtime(image.created))
    return f"{image.request.prompt}\n{display.caption(image).text} · {made}"
