"""Choosing between two pictures that say nothing of themselves, by keyboard or by pointer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from traitlets import Bool, Int, Unicode

from imagegen_magic.notebook.widgets.instrument import FOLDER, BaseWidget, style

CHOICES = ("left", "right", "tie")

Heard = Callable[[str, int], None]


class VoteWidget(BaseWidget):
    """Two pictures, `left` and `right` (data addresses), of the pair of that number; a new number is a new pair, 0 none.

    `given` of `goal` votes are given; with `enough` there is no further pair. `undoable` is whether there is a vote of this sitting to
    be taken back. `said` is what went wrong, or nothing.
    """

    _esm = FOLDER / "vote.js"
    _css = style("vote.css")

    left = Unicode("").tag(sync=True)
    right = Unicode("").tag(sync=True)
    pair = Int(0, min=0).tag(sync=True)
    given = Int(0, min=0).tag(sync=True)
    goal = Int(1, min=1).tag(sync=True)
    enough = Bool(False).tag(sync=True)
    undoable = Bool(False).tag(sync=True)
    said = Unicode("").tag(sync=True)

    def __init__(self, heard: Heard, **values: Any) -> None:
        """Have `heard` told each event with its pair's number: `left`, `right`, `tie`, `undo`, `done`; in the kernel's threads."""
        self._heard = heard
        super().__init__(**values)
        self.on_msg(self._take)

    def _take(self, _: Any, message: Any, buffers: Any) -> None:
        event = message.get("event") if isinstance(message, dict) else None
        if event in (*CHOICES, "undo", "done") and isinstance(message.get("pair"), int):
            self._heard(event, message["pair"])
