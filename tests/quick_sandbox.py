"""Makes a test process quick: images that cost a tenth to draw, tasks of a hundredth of a second, certificates that are read once."""

from __future__ import annotations

import functools
import hashlib
import os
import ssl
from typing import Any

from PIL import Image

from imagegen_magic.engine import endpoints
from imagegen_magic.engine.net import client, transport
from imagegen_magic.sandbox import app, images

_create_app = app.create_app
_REPLACED = (images, "paint"), (app, "create_app"), (endpoints, "_SANDBOX_INTERVAL")
_AS_DELIVERED = [(module, name, getattr(module, name)) for module, name in _REPLACED]


def paint(prompt: str, *, seed: int, width: int, height: int, alpha: bool = False, quality: str = "medium") -> Image.Image:
    """Return a frame of one colour around another, both from prompt and seed; outside it is transparent if `alpha`.

    It takes the place of `imagegen_magic.sandbox.drawing.paint`.
    """
    colours = hashlib.sha256(f"{seed}\n{prompt}\n{quality}".encode("utf-8", "replace")).digest()
    outside, inside = tuple(colours[:3]), tuple(colours[3:6])
    image = Image.new("RGBA", (width, height), (*outside, 0)) if alpha else Image.new("RGB", (width, height), outside)
    image.paste((*inside, 255)[: len(image.mode)], (width // 4, height // 4, width - width // 4, height - height // 4))
    return image


@functools.cache
def _tls_context(certificates: tuple[str | None, ...]) -> ssl.SSLContext:
    return transport.tls_context()


def tls_context() -> ssl.SSLContext:
    """Return the TLS context of this process for the certificates that the environment names: reading them takes 40 ms each time."""
    return _tls_context(tuple(map(os.environ.get, ("SSL_CERT_FILE", "SSL_CERT_DIR"))))


def quicken(monkeypatch: Any) -> None:
    """Let the engine's own sandbox finish its tasks at once, and every sandbox of this process draw quickly, until the test ends.

    Engines that start after one another share their TLS context.
    """
    monkeypatch.setattr(client, "tls_context", tls_context)
    monkeypatch.setattr(images, "paint", paint)
    monkeypatch.setattr(app, "create_app", functools.partial(_create_app, scale=0.0005))
    monkeypatch.setattr(endpoints, "_SANDBOX_INTERVAL", 0.02)


def unquicken(monkeypatch: Any) -> None:
    """Make the sandbox of this process again what is delivered, until the test ends."""
    for module, name, value in _AS_DELIVERED:
        monkeypatch.setattr(module, name, value)
