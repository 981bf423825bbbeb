"""Makes the sandbox of a test process quick: images that cost a tenth to draw, tasks of a hundredth of a second, servers in a thread."""

from __future__ import annotations

import functools
import hashlib
from typing import Any

from PIL import Image

from imagegen_magic.engine import endpoints
from imagegen_magic.sandbox import app, images

_create_app = app.create_app


def paint(prompt: str, *, seed: int, width: int, height: int, alpha: bool = False, quality: str = "medium") -> Image.Image:
    """Return a frame of one colour around another, both from prompt and seed; outside it is transparent if `alpha`.

    It takes the place of `imagegen_magic.sandbox.drawing.paint`.
    """
    colours = hashlib.sha256(f"{seed}\n{prompt}\n{quality}".encode("utf-8", "replace")).digest()
    outside, inside = tuple(colours[:3]), tuple(colours[3:6])
    image = Image.new("RGBA", (width, height), (*outside, 0)) if alpha else Image.new("RGB", (width, height), outside)
    image.paste((*inside, 255)[: len(image.mode)], (width // 4, height // 4, width - width // 4, height - height // 4))
    return image


def quicken(monkeypatch: Any) -> None:
    """Let the engine's own sandbox finish its tasks at once, and every sandbox of this process draw quickly, until the test ends."""
    monkeypatch.setattr(images, "paint", paint)
    monkeypatch.setattr(app, "create_app", functools.partial(_create_app, scale=0.0005))
    monkeypatch.setattr(endpoints, "_SANDBOX_INTERVAL", 0.02)
