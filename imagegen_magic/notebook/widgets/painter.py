"""A painter for masks: brush, eraser, rectangle and lasso over a canvas."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any

from traitlets import Bytes, Int, Unicode

from imagegen_magic.formats import JPEG
from imagegen_magic.notebook.widgets.base import BaseWidget, front_end


class Painter(BaseWidget):
    """An image and the marks over it; pressing its button sends the mask as a PNG, transparent where to paint.

    `picture` holds the bytes of a preview (`mime_type`, at most 2048 pixels long), `width` and `height` are the original's,
    and the mask's. `start` is a mask's PNG of those pixels to continue with. `name` is the image's, `label` the text of
    the button. The front end keeps the marks under `key` until the widget is closed.
    """

    _esm, _css = front_end("painter")

    picture = Bytes(b"").tag(sync=True)
    mime_type = Unicode(JPEG.mime_type).tag(sync=True)
    start = Bytes(b"").tag(sync=True)
    width = Int(1, min=1).tag(sync=True)
    height = Int(1, min=1).tag(sync=True)
    name = Unicode("").tag(sync=True)
    label = Unicode("Use this mask").tag(sync=True)
    key = Unicode("").tag(sync=True)

    def __init__(self, on_mask: Callable[[bytes], None], on_close: Callable[[], None], **values: Any) -> None:
        """`on_mask` gets the mask's PNG, `on_close` is called without one; in the kernel's threads."""
        self._on_mask = on_mask
        self._on_close = on_close
        super().__init__(key=uuid.uuid4().hex, **values)

    def refuse(self, reason: str) -> None:
        """Show why the mask cannot be used; the marks stay."""
        self.send({"refused": reason})

    def _on_message(self, message: dict[str, Any], buffers: list[Any]) -> None:
        event = message.get("event")
        if event == "mask" and len(buffers) == 1:
            self._on_mask(bytes(buffers[0]))
        elif event == "close":
            self._on_close()
