"""The field of the prompt: it grows with the text, counts code points, and generates on Ctrl/Cmd+Enter or its button."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from traitlets import Bool, Int, Unicode

from imagegen_magic.notebook.widgets.base import BaseWidget, front_end


class Prompt(BaseWidget):
    """A text and the button below it, which calls `on_generate` with the text, in the kernel's threads.

    The call has the last letters even if the trait is not synchronised yet. `limit` is the maximum of code points (0: none);
    `ready` is whether the button works, `why` the reason if not. The page gets a confirmation of each click. Without subshells the
    kernel reads a click only after the running cell: the page then shows that it waits.
    """

    _esm, _css = front_end("prompt")

    value = Unicode("").tag(sync=True)
    limit = Int(0).tag(sync=True)
    ready = Bool(False).tag(sync=True)
    why = Unicode("").tag(sync=True)

    def __init__(self, on_generate: Callable[[str], None], **values: Any) -> None:
        self._on_generate = on_generate
        super().__init__(**values)

    def _on_message(self, message: dict[str, Any], buffers: list[Any]) -> None:
        if message.get("event") == "generate":
            self._on_generate(str(message.get("prompt", "")))
            self.send({"received": message.get("click")})
