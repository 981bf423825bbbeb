"""The panel as widgets: the form, what will happen, the runs and the gallery, put together and kept in step."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from html import escape
from typing import Any, Protocol

import ipywidgets  # type: ignore[import-untyped]  # it ships no types

from imagegen_magic.notebook.output import display
from imagegen_magic.notebook.panel import controls as parts
from imagegen_magic.notebook.panel import summary
from imagegen_magic.notebook.panel.form import Form
from imagegen_magic.notebook.panel.gallery import GalleryView, ImageStore
from imagegen_magic.notebook.panel.references import References
from imagegen_magic.notebook.panel.runs import Run
from imagegen_magic.notebook.panel.state import PanelState
from imagegen_magic.notebook.panel.static_sheet import PANEL_CLASS
from imagegen_magic.notebook.panel.style import STYLE
from imagegen_magic.notebook.panel.summary import Usual
from imagegen_magic.notebook.progress import html as progress_html
from imagegen_magic.notebook.widgets.key_field import KeyField
from imagegen_magic.notebook.widgets.prompt import Prompt
from imagegen_magic.result import GeneratedImage


class PanelEvents(Protocol):
    """What the view tells; each returns at once, for it is called by the kernel's own threads."""

    def heard(self, option: str, value: Any) -> None:
        """A control has a new value, or a function of the one that is chosen when it is its turn."""

    def pressed(self, prompt: str) -> None:
        """Generate was pressed with this prompt."""

    def mended(self) -> None:
        """The offered nearest values are wanted."""

    def typed_key(self, secret: str) -> None:
        """A key was typed."""

    def acted(self, action: str, picture: Any) -> None:
        """Something is to be done with a picture."""

    def turned(self, name: str, value: Any) -> None:
        """Another page of the gallery, or other pictures to compare, are wanted."""

    def dismissed(self, run: Run) -> None:
        """A run's button was pressed."""


class View:
    """All widgets of one panel; `root` is the one to be displayed."""

    def __init__(self, ears: PanelEvents, thumbnails: dict[str, str]) -> None:
        self.form = Form(ears.heard)
        self.prompt = parts.listening(Prompt(), "prompt", ears.heard)
        self.prompt.on_msg(lambda _, message, __: _tell(message, "generate", "prompt", ears.pressed))
        self.preflight = parts.html()
        self.problems = parts.html()
        self.mend = parts.button("", ears.mended)
        self.mend.add_class("imagegen-mend")
        self._wrong = parts.box("stack", self.problems, self.mend)
        self.key = KeyField()
        self.key.on_msg(lambda _, message, __: _tell(message, "key", "key", ears.typed_key))
        self.to_sandbox = parts.button("Use the sandbox", lambda: ears.heard("sandbox", True), tooltip="Drawn here: no key, no cost")
        self._keyless = parts.box("stack", self.key, self.to_sandbox)
        self.references = References(
            lambda edit: ears.heard("references", edit),
            thumbnails,
            masked=lambda mask: ears.heard("mask", mask),
        )
        self.message = parts.html()
        self.file = ipywidgets.Output()
        self.shelf = GalleryView(ears.acted, ears.turned)
        self._dismissed = ears.dismissed
        self._runs = parts.box("stack")
        parts.shown(self._runs, False)
        self._rows: dict[Run, tuple[Any, Any, Any, Any]] = {}
        self._drawn: dict[Run, str] = {}
        self.root = self._put_together()

    def _put_together(self) -> Any:
        asking = parts.box("stack", self.prompt, self.preflight, self._wrong)
        asking.add_class("imagegen-first")
        left = parts.box("sides", asking, self.form.where, self._keyless, self.form.options, self.references.widget)
        self._told = parts.box("stack", self.message, self.file)
        self._under_way = parts.box("stack", self._runs, self._told)
        self._under_way.add_class("imagegen-second")
        right = parts.box("sides", self._under_way, self.shelf.widget)
        self._show_told(False)
        root = ipywidgets.Box([parts.html(STYLE), parts.box("columns", left, right)])
        root.add_class(PANEL_CLASS)
        return root

    def draw(self, desk: PanelState, usual: Usual) -> None:
        """Show how the desk stands, and what would happen."""
        judgement = desk.judgement
        self.form.draw(desk)
        model, request = judgement.model, desk.request
        self.references.draw(request.references, model.max_references, mask=request.mask, masks=model.mask)
        idle = desk.idle_because
        parts.put(self.prompt, value=desk.request.prompt, limit=judgement.model.max_prompt or 0, ready=not idle, why=idle)
        parts.put(self.preflight, value="" if judgement.problems else summary.html(judgement.likely, usual, sandbox=desk.sandbox))
        self._draw_problems(desk)
        missing = desk.missing_key
        parts.shown(self._keyless, bool(missing))
        parts.put(self.key, about=f"{missing} it is kept in memory only." if missing else "")

    def _draw_problems(self, desk: PanelState) -> None:
        problems = desk.judgement.problems
        lines = "".join(f'<div class="imagegen-problem">{escape(problem.text)}</div>' for problem in problems)
        parts.put(self.problems, value=f'<div role="alert">{lines}</div>' if lines else "")
        offers = [problem.label for problem in problems if problem.option != "prompt"]
        parts.put(self.mend, description=", ".join([*offers[:1], *(offer[:1].lower() + offer[1:] for offer in offers[1:])]))
        parts.shown(self.mend, bool(offers))
        parts.shown(self._wrong, bool(problems))

    def draw_runs(self, runs: Sequence[Run], now: float) -> None:
        """Show a row for each run, newest first; rows of other runs are closed."""
        for run in runs:
            if run not in self._rows:
                self._rows[run] = self._row(run)
            self._draw_row(run, now)
        self._rows = {run: self._rows[run] for run in runs}
        self._drawn = {run: self._drawn[run] for run in runs}
        parts.fill(self._runs, [self._rows[run][0] for run in runs])
        parts.shown(self._runs, bool(runs))
        self._fold()

    def _row(self, run: Run) -> tuple[Any, Any, Any, Any]:
        words = parts.html()
        cancel = parts.button("Cancel", run.cancel, tooltip=f"Stop waiting for: {run.name}", now=run.cancel)
        # a button of its own: a click that was meant to cancel must not take away what the row then says
        dismiss = parts.button("Dismiss", lambda: self._dismissed(run), tooltip=f"Take away: {run.name}")
        parts.shown(dismiss, False)
        return parts.box("line", words, cancel, dismiss), words, cancel, dismiss

    def _draw_row(self, run: Run, now: float) -> None:
        _, words, cancel, dismiss = self._rows[run]
        html = run.html(now)
        if self._drawn.get(run) != html:
            self._drawn[run] = html
            words.value = progress_html.in_phase(html, now)
        parts.shown(dismiss, bool(run.ended))
        parts.shown(cancel, not run.ended)
        if run.board.stopping:
            parts.put(cancel, description="Stopping", disabled=True)

    def tell(self, words: str, *, wrong: bool = False) -> None:
        """Say something about what was done; an empty text says nothing."""
        kind, role = ("problem", "alert") if wrong else ("told", "status")
        parts.put(self.message, value=f'<div class="imagegen-{kind}" role="{role}">{escape(words)}</div>' if words else "")
        parts.put(self.file, outputs=())
        self._show_told(bool(words))

    def _show_told(self, visible: bool) -> None:
        parts.shown(self._told, visible)
        self._fold()

    def _fold(self) -> None:
        """Take no room where neither a run nor a message is to be seen."""
        parts.shown(self._under_way, any(part.layout.display is None for part in (self._told, self._runs)))

    def point_to(self, image: GeneratedImage) -> None:
        """Show a link to a picture's file, which the front end opens as it opens the notebook's own."""
        self.tell("")
        data = dict(display.caption(image).data)
        parts.put(self.file, outputs=({"output_type": "display_data", "data": data, "metadata": {}},))
        self._show_told(True)

    async def draw_gallery(self, album: ImageStore) -> None:
        """Show the gallery's page."""
        await self.shelf.draw(album)

    def close(self) -> None:
        """Close every widget."""
        parts.close(self.root)
        self._rows.clear()


def _tell(message: Any, event: str, name: str, told: Callable[[str], None]) -> None:
    if isinstance(message, dict) and message.get("event") == event:
        told(str(message.get(name, "")))
