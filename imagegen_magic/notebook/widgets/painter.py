"""Marking by hand what of a picture is to be repainted: brush, eraser, rectangle and lasso over a canvas."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any

from traitlets import Bytes, Int, Unicode

from imagegen_magic.formats import JPEG
from imagegen_magic.notebook.widgets.instrument import FOLDER, BaseWidget, style

Used = Callable[[bytes], None]


class Painter(BaseWidget):
    """A picture, and over it what a person marked; pressing its button sends the mask as a PNG, transparent where to paint.

    `picture` holds the bytes of a preview (`mime_type`, at most 2048 pixels long), `width` and `height` are the real picture's,
    and the mask's. `start` is a mask's PNG of those pixels to go on from. `name` is what the picture is called, `label` says
    what the button does. The front end holds all that was marked in `key`'s name until the widget is closed.
    """

    _esm = FOLDER / "painter.js"
    _css = style("painter.css")

    picture = Bytes(b"").tag(sync=True)
    mime_type = Unicode(JPEG.mime_type).tag(sync=True)
    start = Bytes(b"").tag(sync=True)
    width = Int(1, min=1).tag(sync=True)
    height = Int(1, min=1).tag(sync=True)
    name = Unicode("").tag(sync=True)
    label = Unicode("Use this mask").tag(sync=True)
    key = Unicode("").tag(sync=True)

    def __init__(self, used: Used, given_up: Callable[[], None], **values: Any) -> None:
        """Have `used` told the mask's PNG, and `given_up` that nothing is wanted; in the kernel's threads."""
        self._used = used
        self._given_up = given_up
        super().__init__(key=uuid.uuid4().hex, **values)
        self.on_msg(self._take)

    def refuse(self, words: str) -> None:
        """Say in the page why the mask that was sent cannot be used; all that was marked is still there."""
        self.send({"refused": words})

    def _take(self, _: Any, message: Any, buffers: Any) -> None:
        event = message.get("event") if isinstance(message, dict) else None
        if event == "mask" and len(buffers or ()) == 1:
            self._used(bytes(buffers[0]))
        elif event == "close":
            self._given_up()
