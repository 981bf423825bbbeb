"""A gallery: one page of thumbnails at a time, and the actions on each image."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ipywidgets import CallbackDispatcher  # type: ignore[import-untyped]  # it ships no types
from traitlets import Bool, Dict, Int, List, TraitError, Unicode, Union, observe, validate

from imagegen_magic.notebook.widgets.base import FOLDER, BaseWidget, style

ACTIONS = frozenset(
    ("use-settings", "use-reference", "copy-cell", "open-file", "differences", "star", "remove", "enlarge", "ledger")
)  # of the user; `copied` and `copy-failed` report the result for a text

_MOST_SELECTED = 2

Action = Callable[[str, Any], None]


class Gallery(BaseWidget):
    """One page of images, newest first; callbacks of `on_action` get the actions of the user.

    `pictures` holds a mapping for each picture of the page that is shown: `id`, `thumbnail` (a data URL, at most 20 kB),
    `caption`, `alt`, `width` and `height` (pixels of the original), `starred`, `different` (from what was asked). `total`
    counts the pictures of all pages; `page` counts from 0 and is changed in the front end: observe it, and set `pictures`.
    `selected` holds at most two ids. After the action `enlarge`, put `id`, `url` (a data URL of the preview) and
    `caption` into `enlarged`; the front end empties it again. `ledger` is whether the whole ledger is shown, or only this session.
    """

    _esm = FOLDER / "gallery.js"
    _css = style("gallery.css")

    pictures = List(Dict()).tag(sync=True)
    total = Int(0, min=0).tag(sync=True)
    page = Int(0, min=0).tag(sync=True)
    page_size = Int(48, min=1).tag(sync=True)
    selected = List(Union([Int(), Unicode()])).tag(sync=True)
    enlarged = Dict().tag(sync=True)
    ledger = Bool(False).tag(sync=True)

    def __init__(self, **values: Any) -> None:
        self._callbacks = CallbackDispatcher()
        self._unreported: list[tuple[str, Any]] = []
        self._copies: dict[int, Any] = {}
        self._numbered = 0
        self._cell_request: tuple[str, Any] = ("", None)
        super().__init__(**values)
        self.on_msg(self._on_message)

    def on_action(self, callback: Action, remove: bool = False) -> None:
        """Call `callback(action, id)` for each action, also for those that came before the first callback; with `remove`, no longer.

        The actions are those of `ACTIONS`, and `copied` or `copy-failed` for a text given to `copy`. The id of `ledger`
        is "all" or "session", and the trait `ledger` has it too.
        """
        self._callbacks.register_callback(callback, remove=remove)
        unreported, self._unreported = ([], self._unreported) if remove else (self._unreported, [])
        for action, id in unreported:
            self._callbacks(action, id)

    def copy(self, text: str, id: Any = None) -> None:
        """Have the page that requested the last cell put the text on the clipboard; callbacks of `on_action` get the result.

        `id` is the image of the result; default: the one whose cell was last requested.
        """
        view, asked = self._cell_request
        self._numbered += 1
        self._copies[self._numbered] = asked if id is None else id
        self.send({"copy": text, "number": self._numbered, "view": view})

    def _on_message(self, _: Any, message: Any, buffers: Any) -> None:
        action = message.get("action") if isinstance(message, dict) else None
        if action in ("copied", "copy-failed"):
            self._on_copied(action, message.get("number"))
        elif action in ACTIONS:
            self._on_action(action, message.get("id"), str(message.get("view", "")))

    def _on_copied(self, action: str, number: Any) -> None:
        """Report the first answer only: several pages may show the gallery."""
        if number in self._copies:
            self._report(action, self._copies.pop(number))

    def _on_action(self, action: str, id: Any, view: str) -> None:
        if action == "ledger":
            self.ledger = id == "all"
        elif action == "copy-cell":
            self._cell_request = (view, id)
        self._report(action, id)

    def _report(self, action: str, id: Any) -> None:
        if self._callbacks.callbacks:
            self._callbacks(action, id)
        else:
            self._unreported.append((action, id))

    @validate("selected")
    def _at_most_two(self, proposal: Any) -> list[Any]:
        chosen = list(dict.fromkeys(proposal["value"]))
        if len(chosen) > _MOST_SELECTED:
            raise TraitError(f"at most {_MOST_SELECTED} pictures can be selected, not {len(chosen)}")
        return chosen

    @observe("total", "page_size")
    def _stay_on_a_page(self, _: Any) -> None:
        """Go back to the last page if there are fewer now."""
        last = max(0, -(-self.total // self.page_size) - 1)
        if self.page > last:
            self.page = last
