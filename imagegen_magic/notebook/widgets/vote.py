"""A blind choice between two images, by keyboard or by pointer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from traitlets import Bool, Int, Unicode

from imagegen_magic.notebook.widgets.base import BaseWidget, front_end

_EVENTS = ("left", "right", "tie", "undo", "done")


class VoteWidget(BaseWidget):
    """Two images, `left` and `right` (data URLs), of the pair with number `pair`; a new number is a new pair, 0 none.

    `given` of `goal` votes are recorded; with `enough` there is no further pair. `undoable` is whether a vote of this session
    can be deleted. `error` is an error message, or empty.
    """

    _esm, _css = front_end("vote")

    left = Unicode("").tag(sync=True)
    right = Unicode("").tag(sync=True)
    pair = Int(0, min=0).tag(sync=True)
    given = Int(0, min=0).tag(sync=True)
    goal = Int(1, min=1).tag(sync=True)
    enough = Bool(False).tag(sync=True)
    undoable = Bool(False).tag(sync=True)
    error = Unicode("").tag(sync=True)

    def __init__(self, on_event: Callable[[str, int], None], **values: Any) -> None:
        """`on_event` gets each event with the number of its pair: `left`, `right`, `tie`, `undo`, `done`; in the kernel's threads."""
        self._on_event = on_event
        super().__init__(**values)

    def _on_message(self, message: dict[str, Any], buffers: list[Any]) -> None:
        event, pair = message.get("event"), message.get("pair")
        if event in _EVENTS and isinstance(pair, int):
            self._on_event(event, pair)
