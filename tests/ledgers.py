"""Saved pictures put straight into a ledger, for what needs many of them and no gateway."""

from __future__ import annotations

import functools
import hashlib
import io
import itertools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from imagegen_magic.engine import api, loop
from imagegen_magic.engine.jobs.reuse import generated
from imagegen_magic.engine.ledger.ledger import Ledger, NewJob, NewSource, NewTask
from imagegen_magic.engine.ledger.sweeps import SweepRecord, record_sweep
from imagegen_magic.result import Cost, GeneratedImage
from imagegen_magic.studies.sweeps.load import load
from imagegen_magic.studies.sweeps.result import SweepResult

NO_COST = Cost()


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
    ids = loop.run(_finish(book, folder, row, urls, lambda number: data or a_png((number * 37 % 256, number * 91 % 256, 120))))
    return sorted((generated(one) for one in loop.run(book.pictures(ids=ids, limit=None))), key=lambda image: image.id)


async def _finish(
    book: Ledger, folder: Path, row: int, urls: Sequence[str], draw: Callable[[int], bytes], cost: Cost = NO_COST, task_id: str = ""
) -> list[int]:
    """Record the result of a task, and its pictures as saved; `draw` gets the id of each."""
    ids = await book.record_result(row, urls, expires_at=None, cost=cost, seconds=1.0, answer=None, task_id=task_id)
    for number in ids:
        content = draw(number)
        path = folder / f"picture-{number}.png"
        path.write_bytes(content)
        facts = {"sha256": hashlib.sha256(content).hexdigest(), "size": len(content), "width": 48, "height": 32, "mime_type": "image/png"}
        await book.record_saved(number, path=path, **facts)
    return ids


def swept(
    prompt: str,
    axes: Mapping[str, Sequence[str]],
    *,
    repeat: int = 1,
    model: str = "gpt-image-2",
    draw: Callable[[dict[str, str]], bytes] | None = None,
    cost: Callable[[int], Cost] = lambda number: NO_COST,
) -> SweepResult:
    """Put a finished sweep into this test's ledger, as `saved` does, and return it.

    `draw` makes the file of a combination, `cost` the price of the picture with a number from 0.
    """
    book, folder = api.ledger(), Path("imagegen").absolute()
    folder.mkdir(exist_ok=True)
    combinations = [dict(zip(axes, values, strict=True)) for values in itertools.product(*axes.values()) for _ in range(repeat)]
    jobs = [_job(_filled(prompt, each), model, folder) for each in combinations]

    async def record() -> int:
        rows = [row for _, (row,) in await book.add(jobs)]
        for number, (row, each) in enumerate(zip(rows, combinations, strict=True)):
            url = f"https://cdn.example/{row}.png"
            await _finish(book, folder, row, [url], functools.partial(_drawn, draw, each), cost(number), f"task-{row}")
        return await record_sweep(book, SweepRecord(prompt, axes), dict(zip(rows, combinations, strict=True)), [True])

    return load(loop.run(record()))


def _drawn(draw: Callable[[dict[str, str]], bytes] | None, combination: dict[str, str], number: int) -> bytes:
    return draw(combination) if draw else a_png((number * 37 % 256, number * 91 % 256, 120))


def _filled(prompt: str, combination: Mapping[str, str]) -> str:
    for axis, value in combination.items():
        prompt = prompt.replace(f"{{{{{axis}}}}}", value)
    return prompt


def _job(prompt: str, model: str, folder: Path) -> NewJob:
    where = ("evolink", "evolink", "http://sandbox.invalid", True, model, "low", "1k")
    task = NewTask({"method": "POST", "path": "/", "json": {}}, 1, "key")
    return NewJob(*where, {"prompt": prompt}, {"prompt": prompt}, {}, Cost(), str(folder), None, [task], ())
