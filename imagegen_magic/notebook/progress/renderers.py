"""Renderers of live progress: a widget, plain text, or a line in a terminal.

Each shows the same JobProgress and is replaced by the images at the end. `begin` is called in the main thread,
everything else on the engine's loop or in its threads.
"""

from __future__ import annotations

import asyncio
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from imagegen_magic.engine import threads
from imagegen_magic.notebook.output.display import Bundle, Canvas, joined, show_all, text_bundle, widget_bundle
from imagegen_magic.notebook.output.thumbnails import thumbnail
from imagegen_magic.notebook.progress import html as progress_html
from imagegen_magic.notebook.progress.state import JobProgress

_THUMBNAIL, _THUMBNAIL_BYTES = 144, 150_000  # pixels (twice the frame, for dense screens), bytes
_STOP_HINT = "Stop waiting. The gateway continues; %imagegen resume collects its pictures."
_SPARE = Bundle({"text/plain": " ", "text/html": "<span></span>"}, {})
_UNFINISHED = "still at work when this was saved; %imagegen history knows the picture"


class NullRenderer:
    """Shows no progress, only the result; for cells whose output is captured."""

    interval = 1.0

    def __init__(self, canvas: Canvas) -> None:
        self._canvas = canvas

    def begin(self, slots: int, cancel: Callable[[], None]) -> None:
        """Create the outputs for progress and images; only 1 if the others can be created at the end."""

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
    """Plain text in an output of the cell, for front ends without widgets: nbclient, papermill."""

    interval = 0.5

    def __init__(self, canvas: Canvas, title: str) -> None:
        super().__init__(canvas)
        self._title = title
        self._slots: list[str] = []
        self._ends: list[tuple[str, Bundle]] = []
        self._shown = ""

    def begin(self, slots: int, cancel: Callable[[], None]) -> None:
        """Show the first text, and the outputs that the result needs if none can be added later."""
        self._cancel = cancel
        self._slots = [self._canvas.show(self._first())]
        self._slots += [self._canvas.show(_SPARE) for _ in range(slots - 1)]

    def _first(self) -> Bundle:
        return Bundle({"text/plain": f"{self._title}: submitting"}, {})

    async def draw(self, progress: JobProgress, now: float) -> None:
        """Replace the text if it changed."""
        words = "\n".join(self._words(progress, now))
        if words != self._shown:
            self._shown = words
            self._canvas.update(self._slots[0], Bundle({"text/plain": words}, {}))

    def _words(self, progress: JobProgress, now: float) -> Iterator[str]:
        if len(progress.rows) == 1 or progress.many or progress.stopping:
            yield f"{self._title}: {progress.words(now)}"
            return
        yield self._title
        for number, row in enumerate(progress.rows, 1):
            yield f"{number}. {row.words(now)}"

    def finish(self, bundles: Sequence[Bundle]) -> None:
        """Replace the progress with the first output, and add the others below it."""
        if len(self._slots) == 1:
            self._canvas.update(self._slots[0], bundles[0])
            super().finish(bundles[1:])
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

    def __init__(
        self, canvas: Canvas, title: str, *, pixels: tuple[int, int], pictures: Sequence[int], warnings: Sequence[str] = ()
    ) -> None:
        super().__init__(canvas, title)
        self._warnings = warnings
        self._frame = progress_html.shape(*pixels)
        self._pictures = pictures
        self._thumbnails: dict[int, list[str]] = {}
        self._rows: list[Any] = []
        self._drawn: dict[int, str] = {}
        self._box: Any = None

    def _first(self) -> Bundle:
        html = progress_html.STYLE + "".join(self._html(JobProgress(len(self._pictures), 0.0), 0.0))
        return text_bundle(f"{self._title}: submitting", html)

    def _html(self, progress: JobProgress, now: float) -> list[str]:
        if progress.many:
            return [progress_html.total_html(progress, now)]
        pictures = [max(self._expected(task), len(row.images)) for task, row in enumerate(progress.rows)]
        columns = min(max(pictures), progress_html.FRAMES)
        return [
            progress_html.row_html(row, now, self._frame, pictures[task], self._thumbnails.get(task, ()), columns)
            for task, row in enumerate(progress.rows)
        ]

    def _expected(self, task: int) -> int:
        return self._pictures[task] if task < len(self._pictures) else 1

    async def open(self, progress: JobProgress, now: float) -> None:
        """Create the widgets in a thread (the import takes tens of milliseconds) and show them."""
        await asyncio.to_thread(self._build)
        await self.draw(progress, now)
        self._canvas.update(self._slots[0], widget_bundle(self._box, f"{self._title}: {_UNFINISHED}"))

    def _build(self) -> None:
        import ipywidgets  # type: ignore[import-untyped]  # it ships no types

        self._layout = ipywidgets.Layout(margin="0", overflow="hidden")
        self._row = lambda: ipywidgets.HTML(layout=self._layout)
        fixed = ipywidgets.Layout(width="auto", flex="0 0 auto", margin="0")
        self._button = ipywidgets.Button(description="Cancel", tooltip=_STOP_HINT, layout=fixed)
        self._button.on_click(self._clicked)
        answer_while_busy(self._button, self._cancel)
        about = progress_html.STYLE + progress_html.about_html([self._title, *self._warnings])
        self._foot = ipywidgets.HBox(
            [self._button, ipywidgets.HTML(about, layout=self._layout)],
            layout=ipywidgets.Layout(align_items="center", margin="2px 0", grid_gap="12px"),
        )
        self._box = ipywidgets.VBox([self._foot], layout=ipywidgets.Layout(margin="0"))

    def _clicked(self, _: Any) -> None:
        self._cancel()

    async def draw(self, progress: JobProgress, now: float) -> None:
        """Send the rows that changed."""
        await self._draw_thumbnails(progress)
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
        if self._box is not None:
            for widget in {id(part): part for part in widget_tree(self._box)}.values():
                widget.close()


class TerminalRenderer(NullRenderer):
    """One line of a terminal that is overwritten; without a terminal, only the result."""

    def __init__(self, title: str, *, background: bool) -> None:
        self._title = title
        self._live = not background and sys.stdout.isatty()
        self.interval = 0.2

    async def draw(self, progress: JobProgress, now: float) -> None:
        """Overwrite the line."""
        if self._live:
            text = f"{self._title}: {progress.words(now)}"[: shutil.get_terminal_size().columns - 1]
            print(f"\r{text}\x1b[K", end="", flush=True)

    def finish(self, bundles: Sequence[Bundle]) -> None:
        """Clear the line and print the captions."""
        if self._live:
            print("\r\x1b[K", end="")
        show_all(None, bundles)


def answer_while_busy(button: Any, cancel: Callable[[], None]) -> None:
    """Handle a click while the cell runs.

    ipykernel 7.4 handles a widget's messages in the shell thread that last used its comm, which is busy. This hook
    is called for every message on a thread that is never busy.
    """
    if not hasattr(button.comm, "_reply_subshell_for"):
        return

    def route(message: Any, default: Any) -> Any:
        content = message.get("content") if isinstance(message, dict) else None
        if isinstance(content, dict) and content.get("event") == "click":
            cancel()
        return default

    button.comm._reply_subshell_for = route


def widget_tree(widget: Any) -> Iterable[Any]:
    """Yield a widget's children, itself, its layout and its style."""
    for child in getattr(widget, "children", ()):
        yield from widget_tree(child)
    yield widget
    for name in ("layout", "style"):
        if hasattr(widget, name):
            yield getattr(widget, name)
