"""The panel's gallery and what is compared beneath it: one page at a time, drawn from the album."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from imagegen_magic.notebook.panel import controls as parts
from imagegen_magic.notebook.panel import gallery as albums
from imagegen_magic.notebook.panel.gallery import ImageStore
from imagegen_magic.notebook.widgets import Compare, Gallery
from imagegen_magic.result import GeneratedImage
from imagegen_magic.studies import comparison


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
        self.gallery.enlarged = {"id": image.id, "url": await albums.enlarged(image), "caption": albums.caption(image)}


async def _comparison(left: GeneratedImage, right: GeneratedImage) -> dict[str, Any]:
    before, after = comparison.words(left.request.prompt, right.request.prompt)
    unlike = comparison.differing(comparison.settings(left), comparison.settings(right))
    return {
        "left": await _side(left),
        "right": await _side(right),
        "differences": [{"name": name, "left": one, "right": other} for name, one, other in unlike],
        "prompt_left": before,
        "prompt_right": after,
    }


async def _side(image: GeneratedImage) -> dict[str, str]:
    return {"url": await albums.enlarged(image), "caption": image.path.name, "alt": image.request.prompt}


def _unless_drawn(turned: Callable[[str, Any], None], change: Any) -> None:
    from imagegen_magic.engine import loop

    if not loop.here():
        turned(change["name"], change["new"])
