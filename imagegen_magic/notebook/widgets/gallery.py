"""A gallery: one page of thumbnails at a time, and the actions on each image."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from traitlets import Bool, Dict, Int, List, Unicode, Union, observe

from imagegen_magic.notebook.widgets.base import BaseWidget, front_end


class Gallery(BaseWidget):
    """One page of images, newest first; `on_action` gets each action of the user with the image's id, in the kernel's threads.

    `pictures` holds a mapping for each picture of the page that is shown: `id`, `thumbnail` (a data URL, at most 20 kB),
    `caption`, `alt`, `width` and `height` (pixels of the original), `starred`, `different` (from what was asked). `total`
    counts the pictures of all pages; `page` counts from 0 and is changed in the front end: observe it, and set `pictures`.
    `selected` holds the ids of the selected ones, of which the front end allows two. After the action `enlarge`, put `id`, `url` (a
    data URL of the preview) and `caption` into `enlarged`; the front end empties it again. `ledger` is whether the whole ledger is
    shown, or only this session; the id of the action `ledger` is "all" or "session".
    """

    _esm, _css = front_end("gallery")

    pictures = List(Dict()).tag(sync=True)
    total = Int(0, min=0).tag(sync=True)
    page = Int(0, min=0).tag(sync=True)
    page_size = Int(48, min=1).tag(sync=True)
    selected = List(Union([Int(), Unicode()])).tag(sync=True)
    enlarged = Dict().tag(sync=True)
    ledger = Bool(False).tag(sync=True)

    def __init__(self, on_action: Callable[[str, Any], None], **values: Any) -> None:
        self._on_action = on_action
        self._views: dict[Any, str] = {}  # the view that requested an image's cell
        super().__init__(**values)

    def copy(self, text: str, id: Any) -> None:
        """Have the page that requested the cell of an image put it on the clipboard; the action is then `copied` or `copy-failed`."""
        self.send({"copy": text, "id": id, "view": self._views.pop(id, "")})

    def _on_message(self, message: dict[str, Any], buffers: list[Any]) -> None:
        action, id = message.get("action"), message.get("id")
        if not isinstance(action, str) or not isinstance(id, (int, str)):
            return
        if action == "copy-cell":
            self._views[id] = str(message.get("view", ""))
        self._on_action(action, id)

    @observe("total", "page_size")
    def _stay_on_a_page(self, _: Any) -> None:
        """Go back to the last page if there are fewer now."""
        self.page = min(self.page, max(0, -(-self.total // self.page_size) - 1))
