"""Saved pictures put straight into a ledger, for what needs many of them and no gateway."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from imagegen_magic.engine import api, loop
from imagegen_magic.engine.jobs.reuse import generated
from imagegen_magic.engine.ledger.ledger import NewJob, NewSource, NewTask
from imagegen_magic.result import Cost, GeneratedImage


def a_png(colour: tuple[int, int, int] = (200, 90, 40), size: tuple[int, int] = (48, 32)) -> bytes:
    """Return a small picture of one colour."""
    from PIL import Image

    memory = io.BytesIO()
    Image.new("RGB", size, colour).save(memory, "PNG")
    return memory.getvalue()


def saved(
    prompt: str = "a red fox",
    *,
    count: int = 1,
    provider: str = "evolink",
    model: str = "gpt-image-2",
    name: str | None = None,
    sources: Sequence[NewSource] = (),
    data: bytes | None = None,
    url: str = "",
    **asked: Any,
) -> list[GeneratedImage]:
    """Put a finished request of `count` pictures into this test's ledger, their files in `imagegen/`; returns the pictures."""
    book, folder = api.ledger(), Path("imagegen").absolute()
    folder.mkdir(exist_ok=True)
    request = {"prompt": prompt, **asked}
    task = NewTask({"method": "POST", "path": "/", "json": {}}, count, "key")
    where = (provider, provider, "http://sandbox.invalid", True, model, "low", "1k")
    job = NewJob(*where, request, request, {}, Cost(), str(folder), name, [task], sources)
    ((_, (row,)),) = loop.run(book.add([job]))
    urls = [url or f"https://cdn.example/{row}-{place}.png" for place in range(count)]
    ids = loop.run(book.record_result(row, urls, expires_at=None, cost=Cost(), seconds=1.0, answer=None))
    for number in ids:
        content = data or a_png((number * 37 % 256, number * 91 % 256, 120))
        path = folder / f"picture-{number}.png"
        path.write_bytes(content)
        facts = {"sha256": hashlib.sha256(content).hexdigest(), "size": len(content), "width": 48, "height": 32, "mime_type": "image/png"}
        loop.run(book.record_saved(number, path=path, **facts))
    return sorted((generated(one) for one in loop.run(book.pictures(ids=ids, limit=None))), key=lambda image: image.id)
