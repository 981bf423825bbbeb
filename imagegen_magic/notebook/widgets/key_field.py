"""A field for a gateway's key: the input leaves the page as a message, and is never in a widget's state."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from traitlets import Unicode

from imagegen_magic.notebook.widgets.base import BaseWidget, front_end


class KeyField(BaseWidget):
    """A password field with its button, which empties the field and calls `on_key`, in the kernel's threads.

    No trait ever holds the key, so no widget state, echo or saved notebook can. `about` names the gateway.
    """

    _esm, _css = front_end("key_field")

    about = Unicode("").tag(sync=True)

    def __init__(self, on_key: Callable[[str], None], **values: Any) -> None:
        self._on_key = on_key
        super().__init__(**values)

    def _on_message(self, message: dict[str, Any], buffers: list[Any]) -> None:
        if message.get("event") == "key":
            self._on_key(str(message.get("key", "")))
