"""The sandbox's pictures: drawn on demand in two threads, kept for a while, and signed addresses that expire."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import struct
import threading
import zlib
from collections import OrderedDict
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import lru_cache
from urllib.parse import urlencode

from PIL import Image

from imagegen_magic.formats import BY_TYPE, JPEG, PNG
from imagegen_magic.sandbox import editing
from imagegen_magic.sandbox.drawing import encoded, paint
from imagegen_magic.sandbox.tasks import Task

_BOMB_EDGE = 10_000


Find = Callable[[str], bytes | None]
"""Returns the bytes of a picture of the sandbox's own by its name, None if it is missing."""


@dataclass(frozen=True, slots=True)
class ImageSpec:
    """Everything a drawing depends on, so that it can be made again.

    `sources` and `mask` name the pictures it starts from as `Task` does; `obeys` says that only the mask's inside is painted.
    """

    prompt: str
    seed: int
    width: int
    height: int
    mime_type: str
    alpha: bool
    quality: str
    compression: int | None
    sources: tuple[str, ...] = ()
    mask: str = ""
    obeys: bool = True

    @classmethod
    def of(cls, task: Task, index: int, seed: int) -> ImageSpec:
        """Return the picture of that index of a task."""
        width, height = task.pixels
        return cls(
            task.prompt,
            (seed * 1000 + task.take) * 1000 + index,
            width,
            height,
            task.mime_type,
            task.alpha,
            task.quality,
            task.compression,
            task.sources,
            task.mask,
            "mask-ignored" not in task.faults,
        )

    def reshaped(self) -> ImageSpec:
        """Return the same in an aspect ratio that was not asked for."""
        return replace(self, height=max(16, self.height * 3 // 4))

    def reformatted(self) -> ImageSpec:
        """Return the same in a format that was not asked for."""
        return replace(self, mime_type=PNG.mime_type if self.mime_type == JPEG.mime_type else JPEG.mime_type, alpha=False)

    def plain(self) -> ImageSpec:
        """Return the one picture that stands for all of these pixels and format."""
        return replace(self, prompt="a plain sheet", seed=0, quality="low", sources=(), mask="", obeys=True)

    def bytes(self, find: Find = lambda name: None) -> bytes:
        """Draw, on top of the pictures that `find` returns by name."""
        return encoded(self._picture(find), self.mime_type, self.compression)

    def _picture(self, find: Find) -> Image.Image:
        first, *others = [editing.opened(content) if (content := find(name)) else None for name in self.sources] or [None]
        mask = find(self.mask) if self.obeys and first else None
        if first and mask:
            picture = editing.inpainted(first, editing.opened(mask), (self.width, self.height), self._paint)
            return picture.convert("RGBA") if self._transparent else picture
        drawn = self._paint(self.width, self.height, alpha=self._transparent)
        references = [each for each in (first, *others) if each]
        return editing.blended(references, drawn) if references else drawn

    @property
    def _transparent(self) -> bool:
        return self.alpha and BY_TYPE[self.mime_type].alpha

    def _paint(self, width: int, height: int, alpha: bool = False) -> Image.Image:
        return paint(self.prompt, seed=self.seed, width=width, height=height, alpha=alpha, quality=self.quality)


class ImageCache:
    """Drawings with a memory of at most `room` bytes; two are drawn at once, and never in the event loop's thread."""

    def __init__(self, *, plain: bool = False, room: int = 64 * 1024 * 1024, find: Find = lambda name: None) -> None:
        self.plain = plain
        self._find = find
        self.room = room
        self._kept: OrderedDict[ImageSpec, bytes] = OrderedDict()
        self._held = 0
        self._lock = threading.Lock()
        self._threads: ThreadPoolExecutor | None = None

    async def fetch(self, drawing: ImageSpec) -> bytes:
        """Return the drawing's bytes."""
        drawing = drawing.plain() if self.plain else drawing
        found = self._recall(drawing)
        return found if found is not None else await asyncio.get_running_loop().run_in_executor(self._pool(), self.make, drawing)

    def _pool(self) -> ThreadPoolExecutor:
        # a pool and not a semaphore: one app may serve several loops, one after the other
        if self._threads is None:
            self._threads = ThreadPoolExecutor(2, thread_name_prefix="sandbox-drawing")
        return self._threads

    def close(self) -> None:
        """End the drawing threads; a later drawing starts them again."""
        threads, self._threads = self._threads, None
        if threads is not None:
            threads.shutdown()

    def _recall(self, drawing: ImageSpec) -> bytes | None:
        with self._lock:
            if drawing in self._kept:
                self._kept.move_to_end(drawing)
            return self._kept.get(drawing)

    def make(self, drawing: ImageSpec) -> bytes:
        """Return the drawing's bytes, drawn in this thread if they are not cached."""
        found = self._recall(drawing)
        if found is not None:
            return found
        made = drawing.bytes(self._find)
        with self._lock:
            self._held += len(made) - len(self._kept.pop(drawing, b""))
            self._kept[drawing] = made
            while self._held > self.room and len(self._kept) > 1:
                self._held -= len(self._kept.popitem(last=False)[1])
        return made


def address(origin: str, task: Task, index: int, *, serial: int, expires: float) -> str:
    """Return the absolute, signed address of a picture; `expires` in epoch seconds, `serial` counts its renewals."""
    return signed_address(
        origin, f"/files/{task.provider}/{task.id}/{index}.{BY_TYPE[task.mime_type].extension}", serial=serial, expires=expires
    )


def signed_address(origin: str, path: str, *, serial: int, expires: float) -> str:
    """Return a path of the sandbox's as an absolute, signed address."""
    query = {"expires": f"{expires:.3f}", "serial": str(serial)}
    return f"{origin}{path}?{urlencode(query)}&signature={_signature(path, **query)}"


def signed(path: str, query: Mapping[str, str]) -> bool:
    """Return whether an address has our signature."""
    expected = _signature(path, query.get("expires", ""), query.get("serial", ""))
    return hmac.compare_digest(expected.encode(), query.get("signature", "").encode("utf-8", "replace"))


def _signature(path: str, expires: str, serial: str) -> str:
    # no secret: it stands for a storage service's signature, so that a changed address is noticed, in every process alike
    return hmac.new(b"imagegen sandbox", f"{path}\n{expires}\n{serial}".encode("utf-8", "replace"), hashlib.sha256).hexdigest()[:32]


def corrupted(picture: bytes) -> bytes:
    """Return a picture's bytes with a stretch in the middle overwritten."""
    middle, length = len(picture) // 2, min(512, len(picture) // 8)
    return picture[:middle] + b"\xff\x00" * (length // 2) + picture[middle + length // 2 * 2 :]


@lru_cache(maxsize=1)
def bomb() -> bytes:
    """Return a whole and valid PNG of a few kilobytes that decodes to 100 megapixels."""
    packer = zlib.compressobj(9)
    row = bytes(1 + _BOMB_EDGE // 8)
    rows = b"".join(packer.compress(row) for _ in range(_BOMB_EDGE)) + packer.flush()
    header = struct.pack(">IIBBBBB", _BOMB_EDGE, _BOMB_EDGE, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", header) + _chunk(b"IDAT", rows) + _chunk(b"IEND", b"")


def _chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))
