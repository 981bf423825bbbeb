"""The panel's references: a line each, and a field for another address."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from html import escape
from typing import Any

import ipywidgets  # type: ignore[import-untyped]  # it ships no types

from imagegen_magic.notebook import panel_parts as parts


class References:
    """The pictures to start from; `changed` is told the new tuple of addresses, `thumbnails` maps an address to its picture."""

    def __init__(self, changed: Callable[[tuple[str, ...]], None], thumbnails: Mapping[str, str]) -> None:
        self._changed = changed
        self._thumbnails = thumbnails
        self._addresses: tuple[str, ...] = ()
        self._rows = parts.box("stack")
        self.field = parts.field(
            ipywidgets.Text, "References", "grow", "references", self._add, placeholder="https://…, then Enter", continuous_update=False
        )
        self.widget = parts.box("stack", self.field, self._rows)

    def draw(self, addresses: tuple[str, ...], most: int) -> None:
        """Show these addresses; nothing where the model takes none and none is there."""
        parts.shown(self.widget, bool(most or addresses))
        words = f"References: {len(addresses)} of at most {most}" if addresses else f"References: at most {most}"
        parts.put(self.field, description=words, disabled=len(addresses) >= most)
        if addresses != self._addresses:
            self._addresses = addresses
            parts.fill(self._rows, [self._row(number, address) for number, address in enumerate(addresses)])
            parts.put(self.field, value="")

    def _add(self, _: str, address: str) -> None:
        if address.strip():
            self._changed((*self._addresses, address.strip()))

    def _row(self, number: int, address: str) -> Any:
        picture = self._thumbnails.get(address, "")
        image = f'<img src="{escape(picture)}" alt="">' if picture else ""
        words = f'<div class="imagegen-reference" title="{escape(address)}">{image}<span>{escape(address)}</span></div>'
        rest = tuple(one for position, one in enumerate(self._addresses) if position != number)
        return parts.box(
            "line", parts.html(words), parts.button("Remove", lambda: self._changed(rest), tooltip=f"Remove reference {number + 1}")
        )
