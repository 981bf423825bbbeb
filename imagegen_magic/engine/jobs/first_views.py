"""First views of a picture that is being made: reported with the progress, and the latest kept if the picture does not come."""

from __future__ import annotations

import asyncio
import contextlib
import math
from typing import TYPE_CHECKING

from imagegen_magic.engine import threads
from imagegen_magic.engine.clock import Clock
from imagegen_magic.engine.jobs.task import Reporter
from imagegen_magic.engine.storage import spool, stores
from imagegen_magic.errors import ImageInvalid, SaveError

if TYPE_CHECKING:
    from imagegen_magic.imaging.preview import Preview

_REDRAW = 0.2  # seconds between two first views
_EDGE, _BYTES = 288, 60_000  # pixels and bytes of one


class FirstViews:
    """The first views of one task, each as base64; `end` stops reporting them."""

    def __init__(self, reporter: Reporter, clock: Clock) -> None:
        self._reporter, self._clock = reporter, clock
        self._latest = ""
        self._shown = -math.inf  # monotonic seconds
        self._ended = False
        self._showing: set[asyncio.Task[None]] = set()

    def take(self, text: str) -> None:
        """Report a view, not more often than each `_REDRAW` seconds."""
        self._latest, now = text, self._clock.monotonic()
        if now - self._shown >= _REDRAW:
            self._shown = now
            task = asyncio.create_task(self._report(text))
            self._showing.add(task)
            task.add_done_callback(self._showing.discard)

    async def _report(self, text: str) -> None:
        with contextlib.suppress(ImageInvalid):
            view = await threads.drawing(_preview, text)
            if not self._ended:
                self._reporter.progress("waiting", preview=view)

    def end(self) -> None:
        """Report no further view: the task has its result, or has ended."""
        self._ended = True

    async def kept(self) -> str:
        """End, save the latest view, and return what an error says about it; empty if there is none."""
        self.end()
        return await threads.saving(self._keep) if self._latest else ""

    def _keep(self) -> str:
        spec, task = self._reporter.spec, self._reporter.task
        try:
            path = stores.open_store(spec.save_dir).keep_partial(spool.decoded(self._latest), spec.filename_stem, task.first)
        except (ImageInvalid, SaveError):
            return ""
        return f"; a first view was kept, which is not the finished picture: {path}"


def _preview(text: str) -> Preview:
    from imagegen_magic.imaging.preview import preview  # imports Pillow, while the service works

    return preview(spool.decoded(text), _EDGE, _BYTES)
