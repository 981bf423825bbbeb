"""The panel as widgets: the form, the summary, the runs and the gallery."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from html import escape
from typing import Any, Protocol

import ipywidgets  # type: ignore[import-untyped]  # it ships no types

from imagegen_magic.notebook.output import display
from imagegen_magic.notebook.panel import controls, summary
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
    """The events of the view; each handler returns at once, as the kernel's threads call it."""

    def option_changed(self, option: str, value: Any) -> None:
        """A control has a new value, or a function from the current value to the new one."""

    def generate_clicked(self, prompt: str) -> None:
        """Generate was pressed with this prompt."""

    def fixes_accepted(self) -> None:
        """The button with the offered fixes was pressed."""

    def key_entered(self, secret: str) -> None:
        """A key was entered."""

    def image_action(self, action: str, picture: Any) -> None:
        """An action of the gallery was chosen for an image."""

    def gallery_turned(self, name: str, value: Any) -> None:
        """The gallery has another page or another selection."""

    def run_dismissed(self, run: Run) -> None:
        """The Dismiss button of a run was pressed."""


class View:
    """All widgets of one panel; `root` is displayed."""

    def __init__(self, events: PanelEvents, thumbnails: dict[str, str]) -> None:
        self.form = Form(events.option_changed)
        self.prompt = controls.observed(Prompt(), "prompt", events.option_changed)
        self.prompt.on_msg(lambda _, message, __: _call_on(message, "generate", "prompt", events.generate_clicked))
        self.summary_line = controls.html()
        self.problems = controls.html()
        self.fix_button = controls.button("", events.fixes_accepted)
        self.fix_button.add_class("imagegen-fix")
        self._problem_box = controls.box("stack", self.problems, self.fix_button)
        self.key = KeyField()
        self.key.on_msg(lambda _, message, __: _call_on(message, "key", "key", events.key_entered))
        self.to_sandbox = controls.button(
            "Use the sandbox", lambda: events.option_changed("sandbox", True), tooltip="Drawn here: no key, no cost"
        )
        self._key_box = controls.box("stack", self.key, self.to_sandbox)
        self.references = References(
            lambda edit: events.option_changed("references", edit),
            thumbnails,
            on_mask=lambda mask: events.option_changed("mask", mask),
        )
        self.message = controls.html()
        self.file = ipywidgets.Output()
        self.gallery_view = GalleryView(events.image_action, events.gallery_turned)
        self._run_dismissed = events.run_dismissed
        self._runs = controls.box("stack")
        controls.set_visible(self._runs, False)
        self._rows: dict[Run, tuple[Any, Any, Any, Any]] = {}
        self._drawn: dict[Run, str] = {}
        self.root = self._put_together()

    def _put_together(self) -> Any:
        asking = controls.box("stack", self.prompt, self.summary_line, self._problem_box)
        asking.add_class("imagegen-first")
        left = controls.box("sides", asking, self.form.where, self._key_box, self.form.options, self.references.widget)
        self._messages = controls.box("stack", self.message, self.file)
        self._activity = controls.box("stack", self._runs, self._messages)
        self._activity.add_class("imagegen-second")
        right = controls.box("sides", self._activity, self.gallery_view.widget)
        self._show_messages(False)
        root = ipywidgets.Box([controls.html(STYLE), controls.box("columns", left, right)])
        root.add_class(PANEL_CLASS)
        return root

    def draw(self, state: PanelState, usual: Usual) -> None:
        """Show the state, and what a request would do."""
        validation = state.validation
        self.form.draw(state)
        model, request = validation.model, state.request
        self.references.draw(request.references, model.max_references, mask=request.mask, masks=model.mask)
        idle = state.not_ready_reason
        controls.update(self.prompt, value=state.request.prompt, limit=validation.model.max_prompt or 0, ready=not idle, why=idle)
        controls.update(
            self.summary_line, value="" if validation.problems else summary.html(validation.likely, usual, sandbox=state.sandbox)
        )
        self._draw_problems(state)
        missing = state.missing_key
        controls.set_visible(self._key_box, bool(missing))
        controls.update(self.key, about=f"{missing} it is kept in memory only." if missing else "")

    def _draw_problems(self, state: PanelState) -> None:
        problems = state.validation.problems
        lines = "".join(f'<div class="imagegen-problem">{escape(problem.text)}</div>' for problem in problems)
        controls.update(self.problems, value=f'<div role="alert">{lines}</div>' if lines else "")
        offers = [problem.label for problem in problems if problem.option != "prompt"]
        controls.update(self.fix_button, description=", ".join([*offers[:1], *(offer[:1].lower() + offer[1:] for offer in offers[1:])]))
        controls.set_visible(self.fix_button, bool(offers))
        controls.set_visible(self._problem_box, bool(problems))

    def draw_runs(self, runs: Sequence[Run], now: float) -> None:
        """Show a row for each run, newest first; rows of other runs are closed."""
        for run in runs:
            if run not in self._rows:
                self._rows[run] = self._row(run)
            self._draw_row(run, now)
        self._rows = {run: self._rows[run] for run in runs}
        self._drawn = {run: self._drawn[run] for run in runs}
        controls.set_children(self._runs, [self._rows[run][0] for run in runs])
        controls.set_visible(self._runs, bool(runs))
        self._collapse()

    def _row(self, run: Run) -> tuple[Any, Any, Any, Any]:
        words = controls.html()
        cancel = controls.button("Cancel", run.cancel, tooltip=f"Stop waiting for: {run.name}", at_once=run.cancel)
        # a separate button: a late click on Cancel must not remove the errors in the row
        dismiss = controls.button("Dismiss", lambda: self._run_dismissed(run), tooltip=f"Remove: {run.name}")
        controls.set_visible(dismiss, False)
        return controls.box("line", words, cancel, dismiss), words, cancel, dismiss

    def _draw_row(self, run: Run, now: float) -> None:
        _, words, cancel, dismiss = self._rows[run]
        html = run.html(now)
        if self._drawn.get(run) != html:
            self._drawn[run] = html
            words.value = progress_html.in_phase(html, now)
        controls.set_visible(dismiss, bool(run.ended))
        controls.set_visible(cancel, not run.ended)
        if run.progress.stopping:
            controls.update(cancel, description="Stopping", disabled=True)

    def show_message(self, words: str, *, wrong: bool = False) -> None:
        """Show a message; an empty one hides it."""
        kind, role = ("problem", "alert") if wrong else ("message", "status")
        controls.update(self.message, value=f'<div class="imagegen-{kind}" role="{role}">{escape(words)}</div>' if words else "")
        controls.update(self.file, outputs=())
        self._show_messages(bool(words))

    def _show_messages(self, visible: bool) -> None:
        controls.set_visible(self._messages, visible)
        self._collapse()

    def _collapse(self) -> None:
        """Hide the area if there is neither a run nor a message."""
        controls.set_visible(self._activity, any(part.layout.display is None for part in (self._messages, self._runs)))

    def show_file_link(self, image: GeneratedImage) -> None:
        """Show a link to an image's file, which the front end opens like the links of the notebook."""
        self.show_message("")
        data = dict(display.caption(image).data)
        controls.update(self.file, outputs=({"output_type": "display_data", "data": data, "metadata": {}},))
        self._show_messages(True)

    async def draw_gallery(self, store: ImageStore) -> None:
        """Show the gallery's page."""
        await self.gallery_view.draw(store)

    def close(self) -> None:
        """Close every widget."""
        controls.close(self.root)
        self._rows.clear()


def _call_on(message: Any, event: str, name: str, callback: Callable[[str], None]) -> None:
    if isinstance(message, dict) and message.get("event") == event:
        callback(str(message.get(name, "")))
