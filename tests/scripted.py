"""A job that follows a script instead of a gateway, for looking at how a cell shows it."""

from __future__ import annotations

import asyncio
import functools
import hashlib
import io
import time
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from imagegen_magic.engine.credentials import Key
from imagegen_magic.engine.endpoints import Endpoint
from imagegen_magic.engine.settings import Settings
from imagegen_magic.errors import ImageGenError, WaitingStopped
from imagegen_magic.providers.base import Call, Model, Plan, PollingPolicy
from imagegen_magic.providers.registry import get_provider
from imagegen_magic.request import ImageRequest
from imagegen_magic.result import Cost, GeneratedImage, Progress

MODEL = Model(name="gpt-image-2", sizes={}, checked="2026-11-01", document="a test")


def plan(prompt: str = "a red fox", pictures: Sequence[int] = (1,), pixels: tuple[int, int] = (1536, 1024)) -> Plan:
    """Return a plan of one call for each entry of `pictures`."""
    calls = tuple(Call("POST", "/") for _ in pictures)
    return Plan("evolink", MODEL, ImageRequest(prompt), calls, tuple(pictures), (pixels,), "image/png", False, ("high", "1k"), Cost())


class ScriptedJob:
    """A job whose events are given: `(seconds to wait, event or error or function that makes one)`; begins when it is listened to."""

    note = title = ""
    settings = Settings(Path())
    errors: Sequence[ImageGenError] = ()

    def __init__(self, script: Sequence[tuple[float, Any]], the_plan: Plan | None = None, *, sandbox: bool = False) -> None:
        self.plan = the_plan or plan()
        self.request = self.plan.request
        self.expecting, self.tasks = self.plan.count, len(self.plan.calls)
        self.gateway = Endpoint(get_provider("evolink"), "https://example.org", sandbox, Key("unused"), PollingPolicy())
        self.cancels = 0
        self._script = list(script)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop = asyncio.Event()
        self._ended = asyncio.Event()
        self._error: ImageGenError | None = None

    def cancel(self) -> None:
        """Stop waiting."""
        self.cancels += 1
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._stop.set)

    @property
    def done(self) -> bool:
        """Whether it has ended."""
        return self._ended.is_set()

    async def result(self) -> None:
        """Raise what ended it."""
        await self._ended.wait()
        if self._error:
            raise self._error

    async def events(self) -> AsyncIterator[Progress | GeneratedImage]:
        """Yield the script's events in their time, and what is left where it is cancelled."""
        self._loop = asyncio.get_running_loop()
        try:
            while self._script and not await self._stopped(self._script[0][0]):
                event = self._script.pop(0)[1]
                made = event() if callable(event) else event
                if isinstance(made, ImageGenError):
                    self._error = made
                    return
                yield made
            if self._stop.is_set():
                self._error = WaitingStopped("The waiting was stopped")
                for task in range(len(self.plan.calls)):
                    yield progress("left", task, len(self.plan.calls), error=self._error)
        finally:
            self._ended.set()

    async def _stopped(self, seconds: float) -> bool:
        try:
            await asyncio.wait_for(self._stop.wait(), seconds)
        except TimeoutError:
            return self._stop.is_set()
        return True


def follow(job: Any, *, background: bool = False) -> Any:
    """Do what the magic does with a job, in a real kernel's cell."""
    from imagegen_magic.engine import loop
    from imagegen_magic.notebook.context import current_shell
    from imagegen_magic.notebook.progress.view import View

    view = View(job, current_shell(), background=background)
    if background:
        return loop.submit(view.follow())
    loop.run(view.follow())
    return loop.run(job.result())


def usual(seconds: float = 0.5, pictures: Sequence[int] = (1,), size: tuple[int, int] = (1536, 1024), **more: Any) -> ScriptedJob:
    """Return a job whose tasks all wait that long and then bring their pictures."""
    tasks = range(len(pictures))
    script: list[tuple[float, Any]] = [(0, progress("submitting", task, len(tasks))) for task in tasks]
    script += [(0, progress("waiting", task, len(tasks), **more)) for task in tasks]
    script.append((seconds, progress("fetching", 0, len(tasks))))
    for task in tasks:
        script += [(0, functools.partial(picture, task, number, size=size)) for number in range(pictures[task])]
        script.append((0, progress("saved", task, len(tasks))))
    return ScriptedJob(script, plan(pictures=pictures, pixels=size))


def progress(stage: Any, task: int = 0, tasks: int = 1, **more: Any) -> Progress:
    """Return where a task stands now."""
    return Progress(stage, task, tasks, task + 1, more.pop("since", time.time()), **more)


def picture(
    task: int = 0, number: int = 0, *, prompt: str = "a red fox", size: tuple[int, int] = (1536, 1024), **more: Any
) -> GeneratedImage:
    """Draw a picture into a file and return it."""
    path = Path.cwd() / "imagegen" / f"{prompt.replace(' ', '-')[:40]}-{task + 1}-{number + 1}.png"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(draw(prompt + str(task), size))
    request = ImageRequest(prompt)
    about = {"seconds": 48.0, "cost": Cost(), "size_asked": "3:2", **more}
    return GeneratedImage(
        path, "https://example.org/p.png", *size, "image/png", request=request, provider="evolink", model="gpt-image-2",
        task_id=f"t{task}", created=time.time(), task=task, **about,
    )  # fmt: skip


def draw(seed: str, size: tuple[int, int]) -> bytes:
    """Return a PNG with two colours of the seed's own running into one another."""
    ink = hashlib.sha256(seed.encode()).digest()
    small = Image.new("RGB", (2, 2))
    small.putdata([tuple(ink[3 * corner : 3 * corner + 3]) for corner in range(4)])
    buffer = io.BytesIO()
    small.resize(size, Image.Resampling.BICUBIC).save(buffer, "PNG")
    return buffer.getvalue()
