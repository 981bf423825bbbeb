"""The base class of the widgets: a shared style sheet, and messages that are handled while the kernel is busy."""

from __future__ import annotations

import threading
import uuid
from pathlib import Path
from typing import Any

import anywidget
import comm
from ipywidgets.widgets.widget import __protocol_version__, _remove_buffers  # type: ignore[import-untyped]  # it ships no types

from imagegen_magic.notebook.progress import renderers

FOLDER = Path(__file__).parent


def style(name: str) -> str:
    """Return the shared style sheet, followed by the one of that name."""
    return "".join((FOLDER / sheet).read_text(encoding="utf-8") for sheet in ("theme.css", name))


class BaseWidget(anywidget.AnyWidget):
    """A widget that handles messages while a cell runs, and leaves no model behind when it is closed.

    Messages arrive in the thread of a subshell if the kernel has one: submit the work, and return. No message is lost
    because it is early: the widget listens before its front end exists, and keeps messages until `on_msg` has a callback.
    """

    def __init__(self, **values: Any) -> None:
        self._receiving = threading.RLock()
        self._early: list[tuple[Any, Any]] = []
        super().__init__(**values)

    def open(self) -> None:
        """Open the comm as ipywidgets does, but listen first: ipywidgets loses a message that arrives at once."""
        if getattr(self, "comm", None) is not None:
            return
        state, buffer_paths, buffers = _remove_buffers(self.get_state())
        made = comm.create_comm(target_name="jupyter.widget", comm_id=self._model_id or uuid.uuid4().hex, primary=False)
        self.comm = made  # from here on it listens
        renderers.answer_while_busy(self, _nothing)
        made.open(data={"state": state, "buffer_paths": buffer_paths}, metadata={"version": __protocol_version__}, buffers=buffers)

    def on_msg(self, callback: Any, remove: bool = False) -> None:
        """Call `callback(widget, content, buffers)` for each message; the first one also gets those that came before it."""
        with self._receiving:
            super().on_msg(callback, remove=remove)
            early, self._early = ([], self._early) if remove else (self._early, [])
            for content, buffers in early:
                super()._handle_custom_msg(content, buffers)

    def _handle_custom_msg(self, content: Any, buffers: Any) -> None:
        with self._receiving:
            if self._msg_callbacks.callbacks:
                super()._handle_custom_msg(content, buffers)
            else:
                self._early.append((content, buffers))

    def close(self) -> None:
        """Close the widget and its layout, which a widget's own close leaves open."""
        layout = self.layout
        super().close()
        if layout is not None:
            layout.close()


def _nothing() -> None:
    """Do nothing at once: only a Cancel button does."""
