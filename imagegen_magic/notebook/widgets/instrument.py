"""What the panel's instruments have in common: a style sheet, and an open ear while the kernel works."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import anywidget

from imagegen_magic.notebook import live

FOLDER = Path(__file__).parent


def style(name: str) -> str:
    """Return the colours and buttons that all instruments share, with the style sheet of that name behind them."""
    return "".join((FOLDER / sheet).read_text(encoding="utf-8") for sheet in ("theme.css", name))


class Instrument(anywidget.AnyWidget):
    """A widget that hears its front end while a cell runs, and leaves no model behind when it is closed.

    What it hears arrives in the thread of a subshell where the kernel has them: hand over, and do nothing long.
    """

    def __init__(self, **values: Any) -> None:
        super().__init__(**values)
        live._answer_while_busy(self, _nothing)

    def close(self) -> None:
        """Close the widget and its layout, which a widget's own close leaves open."""
        layout = self.layout
        super().close()
        if layout is not None:
            layout.close()


def _nothing() -> None:
    """Stand for what a Cancel button does at once: an instrument's messages are all handled in their turn."""
