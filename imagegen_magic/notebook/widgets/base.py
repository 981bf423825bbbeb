"""The base class of the widgets: a shared script and style sheet, and messages that are handled while the kernel is busy."""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import Any

import anywidget
import comm
from ipywidgets.widgets.widget import __protocol_version__, _remove_buffers  # type: ignore[import-untyped]  # it ships no types

from imagegen_magic.notebook.progress import renderers

_FOLDER = Path(__file__).parent


def front_end(name: str) -> tuple[str, str]:
    """Return the script and the style sheet of a widget, each after the one that all widgets share."""
    script, style = (
        "".join((_FOLDER / f"{part}.{suffix}").read_text(encoding="utf-8") for part in ("shared", name)) for suffix in ("js", "css")
    )
    return script, style


class BaseWidget(anywidget.AnyWidget):
    """A widget that handles messages while a cell runs, and leaves no model behind when it is closed.

    A subclass handles messages in `_on_message`. They arrive in the thread of a subshell if the kernel has one: submit the work, and
    return. No message is lost because it is early: the widget listens before its front end exists, so a subclass sets what
    `_on_message` needs before it calls `super().__init__`.
    """

    def open(self) -> None:
        """Open the comm as ipywidgets does, but listen first: ipywidgets loses a message that arrives at once."""
        if getattr(self, "comm", None) is not None:
            return
        state, buffer_paths, buffers = _remove_buffers(self.get_state())
        made = comm.create_comm(target_name="jupyter.widget", comm_id=self._model_id or uuid.uuid4().hex, primary=False)
        self.comm = made  # from here on it listens
        renderers.answer_while_busy(self)
        made.open(data={"state": state, "buffer_paths": buffer_paths}, metadata={"version": __protocol_version__}, buffers=buffers)

    def _on_message(self, message: dict[str, Any], buffers: list[Any]) -> None:
        """Handle a message of the front end."""

    def _handle_custom_msg(self, content: Any, buffers: Any) -> None:
        if isinstance(content, dict):
            self._on_message(content, list(buffers or ()))

    def close(self) -> None:
        """Close the widget and its layout, which a widget's own close leaves open."""
        layout = self.layout
        super().close()
        if layout is not None:
            layout.close()
