"""The panel as widgets: the form, the summary, the runs and the gallery."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from html import escape
from typing import Any, NamedTuple

import ipywidgets  # type: ignore[import-untyped]  # it ships no types

from imagegen_magic.notebook.output import display
from imagegen_magic.notebook.panel import controls, summary
from imagegen_magic.notebook.panel.form import Form
from imagegen_magic.notebook.panel.gallery import GalleryView
from imagegen_magic.notebook.panel.references import References
from imagegen_magic.notebook.panel.runs import Run, RunRow
from imagegen_magic.notebook.panel.state import PanelState
from imagegen_magic.notebook.panel.static_sheet import PANEL_CLASS
from imagegen_magic.notebook.panel.style import STYLE
from imagegen_magic.notebook.panel.summary import Usual
from imagegen_magic.notebook.progress import renderers
from imagegen_magic.notebook.widgets.key_field import KeyField
from imagegen_magic.notebook.widgets.prompt import Prompt
from imagegen_magic.providers.unchecked import can_be_sent
from imagegen_magic.result import GeneratedImage


class PanelEvents(NamedTuple):
    """What the view calls for each input of the user; each function returns at once, as the kernel's threads call it."""

    option_changed: Callable[[str, Any], None]  # the option, and its value or a function from the current value to the new one
    generate_clicked: Callable[[str], None]  # the prompt
    fixes_accepted: Callable[[], None]
    balance_clicked: Callable[[], None]
    compare_clicked: Callable[[], None]
    key_entered: Callable[[str], None]
    image_action: Callable[[str, Any], None]  # the action of the gallery, and the image's id
    gallery_turned: Callable[[str, Any], None]  # `page` or `selected`, and its value
    run_dismissed: Callable[[Run], None]


_BALANCE = "Balance"
_COMPARE = "Which of your services can make exactly this, and for how much; nothing is sent"
_ANYWAY = "Send what the model's page refuses; the service may refuse it or answer with something else"


class View:
    """All widgets of one panel; `root` is displayed."""

    def __init__(self, events: PanelEvents, thumbnails: dict[str, str]) -> None:
        self._run_dismissed = events.run_dismissed
        self._rows: dict[Run, RunRow] = {}
        self.form = Form(events.option_changed)
        self._prompt = controls.observed(Prompt(events.generate_clicked), "prompt", events.option_changed)
        self._summary, self._problems, self._message = (controls.html() for _ in range(3))
        self._balance = controls.button(_BALANCE, events.balance_clicked, tooltip="Ask the service what the account has; costs nothing")
        self._balance.add_class("imagegen-small")
        self._compare = controls.button("Compare services", events.compare_clicked, tooltip=_COMPARE)
        self._compare.add_class("imagegen-small")
        self._offers = controls.html()
        self._fix = controls.button("", events.fixes_accepted)
        self._fix.add_class("imagegen-fix")
        self._unchecked = False
        self._anyway = controls.button("", lambda: events.option_changed("unchecked", not self._unchecked), tooltip=_ANYWAY)
        self._key = KeyField(events.key_entered)
        use_sandbox = controls.button("Use the sandbox", lambda: events.option_changed("sandbox", True), tooltip="No key, no cost")
        self._key_box = controls.box("stack", self._key, use_sandbox)
        self._references = References(
            lambda edit: events.option_changed("references", edit), lambda mask: events.option_changed("mask", mask), thumbnails
        )
        self._file = ipywidgets.Output()
        self._runs, self._messages = controls.box("stack"), controls.box("stack", self._message, self._file)
        self.gallery_view = GalleryView(events.image_action, events.gallery_turned)
        self.root = self._layout()
        self.draw_runs((), 0.0)
        self.show_message("")

    def _layout(self) -> Any:
        self._price = controls.box("line", self._summary, self._compare, self._balance)
        request = controls.box("stack", self._prompt, self._price, self._offers, self._problems, self._fix, self._anyway)
        request.add_class("imagegen-first")
        for part in (self._runs, self._messages):
            part.add_class("imagegen-second")
        left = controls.box("sides", request, self.form.target, self._key_box, self.form.options, self._references.widget)
        right = controls.box("sides", self._runs, self._messages, self.gallery_view.widget)
        root = ipywidgets.Box([controls.html(STYLE), controls.box("columns", left, right)])
        root.add_class(PANEL_CLASS)
        return root

    def draw(self, state: PanelState, usual: Usual) -> None:
        """Show the state, and what a request would do."""
        validation, request = state.validation, state.request
        model, problems = validation.model, validation.problems
        reason, missing = state.not_ready_reason, state.missing_key
        self.form.draw(state)
        self._references.draw(request.references, model.max_references, mask=request.mask, masks=model.mask)
        controls.update(self._prompt, value=request.prompt, limit=model.max_prompt or 0, ready=not reason, why=reason)
        controls.update(self._summary, value="" if problems else _summary(state, usual))
        controls.set_visible(self._balance, state.reports_balance)
        controls.update(self._offers, value=summary.offers_html(state.offers, state.provider.name))
        controls.set_visible(self._offers, bool(state.offers))
        controls.set_visible(self._price, not problems)
        controls.update(self._problems, value=controls.alert(problem.text for problem in problems))
        controls.set_visible(self._problems, bool(problems))
        fixes = [problem.label for problem in problems if problem.option != "prompt"]
        controls.update(self._fix, description=", ".join(fixes[:1] + [label[:1].lower() + label[1:] for label in fixes[1:]]))
        controls.set_visible(self._fix, bool(fixes))
        self._unchecked = request.unchecked
        controls.update(self._anyway, description="Check against the page again" if request.unchecked else "Send anyway")
        sendable = problems and all(can_be_sent(model, request, problem.option) for problem in problems)
        controls.set_visible(self._anyway, request.unchecked or bool(sendable))
        controls.set_visible(self._key_box, bool(missing))
        controls.update(self._key, about=f"{missing} it is kept in memory only." if missing else "")

    def draw_runs(self, runs: Sequence[Run], now: float) -> None:
        """Show a row for each run, newest first; rows of other runs are closed."""
        self._rows = {run: self._rows.get(run) or RunRow(run, self._run_dismissed) for run in runs}
        for row in self._rows.values():
            row.draw(now)
        controls.set_children(self._runs, *(row.widget for row in self._rows.values()))
        controls.set_visible(self._runs, bool(runs))

    @contextmanager
    def asking_balance(self) -> Iterator[None]:
        """Show that the gateway is asked, for the time of a with block."""
        controls.update(self._balance, description="Asking…")
        try:
            yield
        finally:
            controls.update(self._balance, description=_BALANCE)

    def show_message(self, text: str, *, wrong: bool = False) -> None:
        """Show a message; an empty one hides it."""
        message = f'<div class="imagegen-message" role="status">{escape(text)}</div>' if text else ""
        controls.update(self._message, value=controls.alert([text]) if wrong else message)
        controls.update(self._file, outputs=())
        controls.set_visible(self._messages, bool(text))

    def show_file_link(self, image: GeneratedImage) -> None:
        """Show a link to an image's file, which the front end opens like the links of the notebook."""
        self.show_message("")
        data = dict(display.caption(image).data)
        controls.update(self._file, outputs=({"output_type": "display_data", "data": data, "metadata": {}},))
        controls.set_visible(self._messages, True)

    def close(self) -> None:
        """Close every widget."""
        renderers.close_tree(self.root)
        self._rows.clear()


def _summary(state: PanelState, usual: Usual) -> str:
    return summary.html(state.validation.likely, usual, sandbox=state.sandbox, balance=state.balance)
