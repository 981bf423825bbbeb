"""The panel's pictures: this session's or all of the ledger's, with their thumbnails, stars, and what was put aside."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any

from imagegen_magic.engine import loop
from imagegen_magic.engine.jobs.reuse import generated
from imagegen_magic.engine.ledger.ledger import Ledger
from imagegen_magic.errors import LedgerError
from imagegen_magic.humanize import local_minute
from imagegen_magic.notebook.output import captions
from imagegen_magic.notebook.output.thumbnails import thumbnail
from imagegen_magic.notebook.panel import controls as parts
from imagegen_magic.notebook.widgets import Compare, Gallery
from imagegen_magic.result import GeneratedImage
from imagegen_magic.studies import comparison
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
            self._thumbnails[image.id] = await asyncio.to_thread(thumbnail, image, THUMBNAIL, THUMBNAIL_BYTES) or _GONE
        return self._thumbnails[image.id]


async def _enlarged(image: GeneratedImage) -> str:
    """Return a preview as a data URL, at most 1024 pixels and 150 kB; empty if the file is missing."""
    return await asyncio.to_thread(thumbnail, image, 1024, 150_000)


def caption(image: GeneratedImage) -> str:
    """Return what a person wants to know of a picture: its prompt, and the line beneath it in a cell."""
    made = local_minute(image.created)
    return f"{image.request.prompt}\n{captions.caption(image).text} · {made}"


class GalleryView:
    """The gallery's widgets; `acted` is told each action with its picture's id, `turned` that another page or selection is wanted."""

    def __init__(self, acted: Callable[[str, Any], None], turned: Callable[[str, Any], None]) -> None:
        self.gallery = Gallery()
        self.gallery.on_action(acted)
        for name in ("page", "selected"):
            self.gallery.observe(lambda change: _unless_drawn(turned, change), name)
        self.compare = Compare()
        self.widget = parts.box("stack", self.gallery, self.compare)
        parts.shown(self.compare, False)

    async def draw(self, album: ImageStore) -> None:
        """Show the page that is turned to, and the two selected pictures beside each other."""
        images, gallery = album.images, self.gallery
        parts.put(gallery, total=len(images), ledger=album.whole_ledger)
        first = gallery.page * gallery.page_size
        tiles = await album.tiles(images[first : first + gallery.page_size])
        known = {image.id for image in images}
        parts.put(gallery, pictures=tiles, selected=[number for number in gallery.selected if number in known])
        await self.draw_comparison(album)

    async def draw_comparison(self, album: ImageStore) -> None:
        """Show the two selected pictures with what differs in what was asked; nothing with fewer."""
        chosen = [image for number in self.gallery.selected if (image := album.find(number))]
        if len(chosen) == 2:
            parts.put(self.compare, **await _comparison(*chosen))
        parts.shown(self.compare, len(chosen) == 2)

    async def enlarge(self, image: GeneratedImage) -> None:
        """Show a picture large."""
        self.gallery.enlarged = {"id": image.id, "url": await _enlarged(image), "caption": caption(image)}


async def _comparison(left: GeneratedImage, right: GeneratedImage) -> dict[str, Any]:
    before, after = comparison.word_diff(left.request.prompt, right.request.prompt)
    unlike = comparison.setting_diff(comparison.settings(left), comparison.settings(right))
    return {
        "left": await _side(left),
        "right": await _side(right),
        "differences": [{"name": name, "left": one, "right": other} for name, one, other in unlike],
        "prompt_left": before,
        "prompt_right": after,
    }


async def _side(image: GeneratedImage) -> dict[str, str]:
    return {"url": await _enlarged(image), "caption": image.path.name, "alt": image.request.prompt}


def _unless_drawn(turned: Callable[[str, Any], None], change: Any) -> None:
    if not loop.here():
        turned(change["name"], change["new"])
