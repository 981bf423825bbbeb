"""The panel's gallery: the images of this session or of the whole ledger, their thumbnails and stars, and a comparison of two."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any

from imagegen_magic.engine.jobs.reuse import generated
from imagegen_magic.engine.ledger.annotations import MAX_STARS, set_stars, starred
from imagegen_magic.engine.ledger.ledger import Ledger
from imagegen_magic.errors import LedgerError
from imagegen_magic.humanize import local_minute
from imagegen_magic.notebook.output import captions
from imagegen_magic.notebook.output.thumbnails import thumbnail
from imagegen_magic.notebook.panel import controls
from imagegen_magic.notebook.widgets.compare import Compare
from imagegen_magic.notebook.widgets.gallery import Gallery
from imagegen_magic.result import GeneratedImage
from imagegen_magic.studies import comparison

THUMBNAIL, THUMBNAIL_BYTES = 320, 14_500  # pixels; bytes, at most 20 kB as a data URL
_EMPTY = "data:image/svg+xml;base64,PHN2ZyB4bWxucz0naHR0cDovL3d3dy53My5vcmcvMjAwMC9zdmcnIHdpZHRoPSc0JyBoZWlnaHQ9JzQnLz4="


class ImageStore:
    """Images by their ledger id, newest first; used on the engine's loop. `starred` are the ids with stars, as last read."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._known: dict[int, GeneratedImage] = {}
        self._session: list[int] = []
        self._all: list[int] = []
        self._hidden: set[int] = set()
        self._thumbnails: dict[int, str] = {}
        self.whole_ledger = False
        self.starred: set[int] = set()

    def add(self, image: GeneratedImage) -> None:
        """Add a new image."""
        self._known[image.id] = image
        self._session.insert(0, image.id)
        self._all.insert(0, image.id)

    def load(self, rows: Iterable[Any]) -> None:
        """Load the whole ledger from its rows of images."""
        self._all = []
        for row in rows:
            self._known.setdefault(row.id, generated(row))
            self._all.append(row.id)

    @property
    def images(self) -> tuple[GeneratedImage, ...]:
        """The visible images, newest first."""
        ids = self._all if self.whole_ledger else self._session
        return tuple(self._known[number] for number in ids if number not in self._hidden)

    def find(self, number: Any) -> GeneratedImage | None:
        """Return the picture of that id, or None."""
        return self._known.get(int(number)) if isinstance(number, (int, str)) and str(number).isdigit() else None

    def hide(self, number: int) -> None:
        """Hide an image; its file and its row in the ledger stay."""
        self._hidden.add(number)

    async def toggle_star(self, number: int) -> None:
        """Give an image five stars, or remove all, in the ledger. Raises LedgerError if it cannot be written."""
        await set_stars(self._ledger, number, 0 if number in self.starred else MAX_STARS)
        self.starred ^= {number}

    async def tiles(self, images: Iterable[GeneratedImage]) -> list[dict[str, Any]]:
        """Return what the gallery draws of these images, with their current stars."""
        with suppress(LedgerError):  # reported when something is to be written
            self.starred = await starred(self._ledger)
        return [
            {
                "id": image.id,
                "thumbnail": await self.thumbnail(image),
                "caption": _caption(image),
                "alt": image.request.prompt,
                "width": image.width,
                "height": image.height,
                "starred": image.id in self.starred,
                "different": bool(image.differences),
            }
            for image in images
        ]

    async def thumbnail(self, image: GeneratedImage) -> str:
        """Return a thumbnail's data URL of at most 20 kB; that of an empty image if the file is missing."""
        if image.id not in self._thumbnails:
            self._thumbnails[image.id] = await asyncio.to_thread(thumbnail, image, THUMBNAIL, THUMBNAIL_BYTES) or _EMPTY
        return self._thumbnails[image.id]


class GalleryView:
    """The gallery's widgets; `on_action` gets each action with an image's id, `on_turn` the trait `page` or `selected` and its value."""

    def __init__(self, on_action: Callable[[str, Any], None], on_turn: Callable[[str, Any], None]) -> None:
        self.gallery = Gallery(on_action)
        for trait in ("page", "selected"):
            controls.observed(self.gallery, trait, on_turn, trait)
        self.compare = Compare()
        self.widget = controls.box("stack", self.gallery, self.compare)

    async def draw(self, store: ImageStore) -> None:
        """Show the current page, and the two selected images side by side."""
        images, gallery = store.images, self.gallery
        controls.update(gallery, total=len(images), ledger=store.whole_ledger)
        first = gallery.page * gallery.page_size
        tiles = await store.tiles(images[first : first + gallery.page_size])
        visible = {image.id for image in images}
        controls.update(gallery, pictures=tiles, selected=[number for number in gallery.selected if number in visible])
        await self.draw_comparison(store)

    async def draw_comparison(self, store: ImageStore) -> None:
        """Show the two selected images and how their requests differ; hide the comparison with fewer."""
        chosen = [image for number in self.gallery.selected if (image := store.find(number))]
        if len(chosen) == 2:
            controls.update(self.compare, **await _comparison(*chosen))
        controls.set_visible(self.compare, len(chosen) == 2)

    async def enlarge(self, image: GeneratedImage) -> None:
        """Show a large preview."""
        self.gallery.enlarged = {"id": image.id, "url": await _preview(image), "caption": _caption(image)}


async def _preview(image: GeneratedImage) -> str:
    """Return a preview as a data URL, at most 1024 pixels and 150 kB; empty if the file is missing."""
    return await asyncio.to_thread(thumbnail, image, 1024, 150_000)


def _caption(image: GeneratedImage) -> str:
    return f"{image.request.prompt}\n{captions.caption(image).text} · {local_minute(image.created)}"


async def _comparison(left: GeneratedImage, right: GeneratedImage) -> dict[str, Any]:
    prompt_left, prompt_right = comparison.word_diff(left.request.prompt, right.request.prompt)
    differences = comparison.setting_diff(comparison.settings(left), comparison.settings(right))
    return {
        "left": await _side(left),
        "right": await _side(right),
        "differences": [{"name": name, "left": one, "right": other} for name, one, other in differences],
        "prompt_left": prompt_left,
        "prompt_right": prompt_right,
    }


async def _side(image: GeneratedImage) -> dict[str, str]:
    return {"url": await _preview(image), "caption": image.file.name, "alt": image.request.prompt}
