"""Renderers of live progress: a widget, plain text, or a line in a terminal.

Each shows the same JobProgress and is replaced by the images at the end. `begin` is called in the main thread,
everything else on the engine's loop or in its threads.
"""

from __future__ import annotations

import asyncio
import shutil
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from imagegen_magic.engine import threads
from imagegen_magic.notebook.output.display import REMOVED, Bundle, Canvas, is_picture, joined, show_all, text_bundle, widget_bundle
from imagegen_magic.notebook.output.thumbnails import thumbnail
from imagegen_magic.notebook.progress import html as progress_html
from imagegen_magic.notebook.progress.state import JobProgress
from imagegen_magic.providers.base import Plan

_THUMBNAIL, _THUMBNAIL_BYTES = 144, 150_000  # pixels (twice the frame, for dense screens), bytes
_STOP_HINT = "Stop waiting. The service continues; %imagegen resume collects its pictures."
_SPARE = Bundle({"text/plain": " ", "text/html": "<span></span>"}, {})
_RUNNING = "running; %imagegen history has the pictures when they are finished"


class NullRenderer:
    """Shows no progress, only the result; for cells whose output is captured."""

    interval = 1.0

    def __init__(self, canvas: Canvas) -> None:
        self._canvas = canvas

    def begin(self, progress: JobProgress, slots: int, cancel: Callable[[], None]) -> None:
        """Create the outputs for progress and images: `slots`, or 0 if those of the result can be added at the end."""

    async def open(self, progress: JobProgress, now: float) -> None:
        """Create what takes time, after the request was sent; `now` in epoch seconds."""

    async def draw(self, progress: JobProgress, now: float) -> None:
        """Show the current progress."""

    def finish(self, bundles: Sequence[Bundle]) -> None:
        """Replace the progress with the outputs."""
        for bundle in bundles:
            self._canvas.show(bundle)

    def confirm(self) -> None:
        """Repeat the result in a later cell, for a front end that missed it."""

    def close(self) -> None:
        """Release all resources."""


class TextRenderer(NullRenderer):
    """Plain text in an output of the cell, for front ends without widgets: nbclient, papermill.

    `obeys_updates`: whether the front end certainly replaces an output when asked to; some terminals and clients do not.
    """

    interval = 0.5

    def __init__(self, canvas: Canvas, title: str, *, obeys_updates: bool = False) -> None:
        super().__init__(canvas)
        self._title, self._obeys_updates = title, obeys_updates
        self._slots: list[str] = []
        self._ends: list[tuple[str, Bundle]] = []
        self._shown = ""

    def begin(self, progress: JobProgress, slots: int, cancel: Callable[[], None]) -> None:
        """Show the first text, and the outputs that the result needs if none can be added later."""
        self._cancel, self._fixed = cancel, slots > 0
        self._slots = [self._canvas.show(bundle) for bundle in [self._first(progress), *[_SPARE] * (slots - 1)]]

    def _first(self, progress: JobProgress) -> Bundle:
        return Bundle({"text/plain": f"{self._title}: submitting"}, {})

    async def draw(self, progress: JobProgress, now: float) -> None:
        """Replace the text if it changed."""
        text = "\n".join(self._lines(progress, now))
        if text != self._shown:
            self._shown = text
            self._canvas.update(self._slots[0], Bundle({"text/plain": text}, {}))

    def _lines(self, progress: JobProgress, now: float) -> Iterator[str]:
        if len(progress.rows) == 1 or progress.many or progress.stopping:
            yield f"{self._title}: {progress.text(now)}"
            return
        yield self._title
        for number, row in enumerate(progress.rows, 1):
            yield f"{number}. {row.text(now)}"

    def finish(self, bundles: Sequence[Bundle]) -> None:
        """Replace the progress with the result.

        In front the pictures are a new output unless the front end obeys updates, so that no front end misses them.
        """
        if not self._fixed:
            in_place = self._obeys_updates or not is_picture(bundles[0])
            self._canvas.update(self._slots[0], bundles[0] if in_place else REMOVED)
            super().finish(bundles[1:] if in_place else bundles)
            return
        last = len(self._slots) - 1
        fitting = bundles if len(bundles) <= last + 1 else [*bundles[:last], joined(bundles[last:])]
        self._ends = list(zip(self._slots, fitting, strict=False))
        for slot, bundle in self._ends:
            self._canvas.update(slot, bundle)

    def confirm(self) -> None:
        """Replace the outputs again: nbclient drops updates between two cells."""
        for slot, bundle in self._ends:
            self._canvas.update(slot, bundle)
        self._ends = []


class WidgetRenderer(TextRenderer):
    """One row for each task, a Cancel button, and the title; closed with all its models at the end."""

    interval = 0.1

    def __init__(self, canvas: Canvas, title: str, plan: Plan | None = None) -> None:
        super().__init__(canvas, title)
        self._plan = plan
        self._thumbnails: dict[int, list[str]] = {}
        self._rows: list[Any] = []
        self._drawn: dict[int, str] = {}
        self._cancel: Callable[[], None] = lambda: None
        self._box: Any = None
        self._closed = False

    def _first(self, progress: JobProgress) -> Bundle:
        html = progress_html.STYLE + "".join(self._html(progress, progress.started))
        return text_bundle(f"{self._title}: submitting", html)

    def _html(self, progress: JobProgress, now: float) -> list[str]:
        expected = self._plan.images_per_call if self._plan else ()
        return progress_html.rows_html(progress, now, progress_html.frame_of(self._plan), expected, self._thumbnails)

    async def open(self, progress: JobProgress, now: float) -> None:
        """Create the widgets in a thread (the import takes tens of milliseconds) and show them."""
        await asyncio.to_thread(self._build)
        await self.draw(progress, now)
        self._canvas.update(self._slots[0], widget_bundle(self._box, f"{self._title}: {_RUNNING}"))

    def _build(self) -> None:
        import ipywidgets  # type: ignore[import-untyped]  # it ships no types

        self._layout = ipywidgets.Layout(margin="0", overflow="hidden")
        self._row = lambda: ipywidgets.HTML(layout=self._layout)
        fixed = ipywidgets.Layout(width="auto", flex="0 0 auto", margin="0")
        self._button = ipywidgets.Button(description="Cancel", tooltip=_STOP_HINT, layout=fixed)
        self._button.on_click(lambda _: self._cancel())
        answer_while_busy(self._button, self._cancel)
        about = progress_html.STYLE + progress_html.about_html([self._title, *(self._plan.warnings if self._plan else ())])
        self._foot = ipywidgets.HBox(
            [self._button, ipywidgets.HTML(about, layout=self._layout)],
            layout=ipywidgets.Layout(align_items="center", margin="2px 0", grid_gap="12px"),
        )
        box = ipywidgets.VBox([self._foot], layout=ipywidgets.Layout(margin="0"))
        with TREES:
            self._box = box
            if self._closed:  # the job ended while this thread was slow
                close_tree(box)

    async def draw(self, progress: JobProgress, now: float) -> None:
        """Send the rows that changed."""
        await self._draw_thumbnails(progress)
        if self._closed:
            return
        rows = self._html(progress, now)
        self._fit(len(rows))
        for number, html in enumerate(rows):
            if self._drawn.get(number) != html:
                self._drawn[number] = html
                self._rows[number].value = progress_html.in_phase(html, now)
        if progress.stopping and not self._button.disabled:
            self._button.description, self._button.disabled = "Stopping", True

    def _fit(self, rows: int) -> None:
        """Create or close row widgets to match the rows; the number of a resumed job's tasks is known only later."""
        if rows == len(self._rows):
            return
        for widget in self._rows[rows:]:
            widget.style.close()
            widget.close()
        self._rows = [*self._rows[:rows], *(self._row() for _ in range(rows - len(self._rows)))]
        self._box.children = [*self._rows, self._foot]

    async def _draw_thumbnails(self, progress: JobProgress) -> None:
        if progress.many:
            return
        for task, row in enumerate(progress.rows):
            known = self._thumbnails.setdefault(task, [])
            for image in row.images[len(known) :]:
                known.append(await threads.drawing(thumbnail, image, _THUMBNAIL, _THUMBNAIL_BYTES))

    def confirm(self) -> None:
        """Do nothing: a page misses no update."""
        self._ends = []

    def close(self) -> None:
        """Close every model of the tree: a box's own close leaves its children, layouts and styles."""
        with TREES:
            self._closed = True
            if self._box is not None:
                close_tree(self._box)


class TerminalRenderer(NullRenderer):
    """One line of a terminal that is overwritten; without a terminal, only the result."""

    def __init__(self, title: str, *, background: bool) -> None:
        self._title = title
        self._live = not background and sys.stdout.isatty()
        self.interval = 0.2

    async def draw(self, progress: JobProgress, now: float) -> None:
        """Overwrite the line."""
        if self._live:
            text = f"{self._title}: {progress.text(now)}"[: shutil.get_terminal_size().columns - 1]
            print(f"\r{text}\x1b[K", end="", flush=True)

    def finish(self, bundles: Sequence[Bundle]) -> None:
        """Clear the line and print the captions."""
        if self._live:
            print("\r\x1b[K", end="")
        show_all(None, bundles)


def answer_while_busy(widget: Any, on_click: Callable[[], None] | None = None) -> None:
    """Have a widget's messages handled while the cell runs; `on_click` must be quick.

    ipykernel 7.4 handles a widget's messages in the shell thread that last used its comm, which is busy. This hook
    is called for every message on a thread that is never busy.
    """
    if not hasattr(widget.comm, "_reply_subshell_for"):
        return

    def route(message: Any, default: Any) -> Any:
        content = message.get("content") if isinstance(message, dict) else None
        if on_click and isinstance(content, dict) and content.get("event") == "click":
            on_click()
        return default

    widget.comm._reply_subshell_for = route


TREES = threading.RLock()
"""Held while the children of a box change or a tree is closed: the kernel's threads and the engine's loop do both."""


def close_tree(widget: Any) -> None:
    """Close all models of a widget: a box's own close leaves its children, layouts and styles."""
    with TREES:
        for part in {id(part): part for part in _parts(widget) if part is not None}.values():
            part.close()


def set_children(container: Any, *children: Any) -> None:
    """Give a box new children, and close the previous ones that are not among them.

    A box that was closed meanwhile takes none: children that were made for it are closed at once.
    """
    with TREES:
        if container.comm is None:
            unused = list(children)
        else:
            unused = [child for child in container.children if child not in children]
            container.children = children
        for child in unused:
            close_tree(child)


def _parts(widget: Any) -> Iterable[Any]:
    for child in getattr(widget, "children", ()):
        yield from _parts(child)
    yield widget
    yield from (getattr(widget, name, None) for name in ("layout", "style"))
