"""The panel's pictures: this session's or all of the ledger's, with their thumbnails, stars, and what was put aside."""

from __future__ import annotations

import asyncio
import difflib
import json
import re
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from imagegen_magic.errors import ImageGenError
from imagegen_magic.notebook import display
from imagegen_magic.notebook.commands import generated
from imagegen_magic.result import GeneratedImage

THUMBNAIL, THUMBNAIL_BYTES = 320, 14_500  # pixels; bytes that are at most 20 kB as a data address
_GONE = "data:image/svg+xml;base64,PHN2ZyB4bWxucz0naHR0cDovL3d3dy53My5vcmcvMjAwMC9zdmcnIHdpZHRoPSc0JyBoZWlnaHQ9JzQnLz4="
_PIECES = re.compile(r"\s+|\w+|[^\w\s]")


class Album:
    """Pictures by their ledger id, newest first; lives on the engine's loop. `home` is the ledger's folder."""

    def __init__(self, home: Path) -> None:
        self._stars_file = home / "starred.json"
        self._known: dict[int, GeneratedImage] = {}
        self._session: list[int] = []
        self._all: list[int] = []
        self._aside: set[int] = set()
        self._thumbnails: dict[int, str] = {}
        self.whole_ledger = False
        self.starred = self._read_stars()

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

    def turn_star(self, number: int) -> None:
        """Star a picture, or take its star; kept beside the ledger. Raises OSError where that cannot be written."""
        self.starred ^= {number}
        self._stars_file.parent.mkdir(parents=True, exist_ok=True)
        self._stars_file.write_text(json.dumps(sorted(self.starred)), encoding="utf-8")

    def _read_stars(self) -> set[int]:
        try:
            return {int(number) for number in json.loads(self._stars_file.read_text(encoding="utf-8"))}
        except (OSError, ValueError, TypeError):
            return set()

    async def tiles(self, images: Iterable[GeneratedImage]) -> list[dict[str, Any]]:
        """Return what the gallery draws of these pictures."""
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
    from imagegen_magic.pictures.preview import preview

    try:
        small = preview(image.preview.data if image.preview else image.data, edge, limit)
    except (OSError, ImageGenError):
        return ""
    return f"data:{small.mime_type};base64,{small.base64}"


def caption(image: GeneratedImage) -> str:
    """Return what a person wants to know of a picture: its prompt, and the line beneath it in a cell."""
    made = time.strftime("%Y-%m-%d %H:%M", time.localtime(image.created))
    return f"{image.request.prompt}\n{display.caption(image).text} · {made}"


def differing(left: GeneratedImage, right: GeneratedImage) -> list[dict[str, str]]:
    """Return the settings in which two pictures differ."""
    one, other = _settings(left), _settings(right)
    names = [name for name in dict.fromkeys((*one, *other)) if one.get(name) != other.get(name)]
    return [{"name": name.replace("_", " "), "left": one.get(name, "–"), "right": other.get(name, "–")} for name in names]


def _settings(image: GeneratedImage) -> dict[str, str]:
    said = {name: value for name, value in image.request.asked().items() if name not in ("prompt", "model")}
    words = {name: ", ".join(map(str, value)) if isinstance(value, list) else str(value) for name, value in said.items()}
    gateway = image.provider + (" (sandbox)" if image.sandbox else "")
    return {"gateway": gateway, "model": image.model, **words, "pixels": f"{image.width}×{image.height}", "cost": str(image.cost)}


def compared(left: str, right: str) -> tuple[list[tuple[str, bool]], list[tuple[str, bool]]]:
    """Return two prompts in pieces, each with whether it differs from the other's; the pieces joined are the prompts."""
    one, other = _PIECES.findall(left), _PIECES.findall(right)
    matcher = difflib.SequenceMatcher(None, one, other, autojunk=False)
    blocks = matcher.get_opcodes()
    return (
        list(_pieces(one, ((tag, start, stop) for tag, start, stop, _, _ in blocks))),
        list(_pieces(other, ((tag, start, stop) for tag, _, _, start, stop in blocks))),
    )


def _pieces(words: list[str], blocks: Iterable[tuple[str, int, int]]) -> Iterator[tuple[str, bool]]:
    for tag, start, stop in blocks:
        if start < stop:
            yield "".join(words[start:stop]), tag != "equal"
