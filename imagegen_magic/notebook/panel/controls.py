"""The few ipywidgets that the panel is put together from, each deaf to nobody and leaving nothing behind."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import ipywidgets  # type: ignore[import-untyped]  # it ships no types

from imagegen_magic.engine import loop
from imagegen_magic.notebook.progress import renderers

Heard = Callable[[str, Any], None]


def box(name: str, *children: Any) -> Any:
    """Return a box whose layout is the style sheet's rule of that name."""
    made = ipywidgets.Box(children)
    made.add_class(f"imagegen-{name}")
    return made


def html(value: str = "") -> Any:
    """Return markup, which the caller has escaped."""
    return ipywidgets.HTML(value)


def heading(words: str) -> Any:
    """Return a quiet heading of a part."""
    return html(f'<h3 class="imagegen-heading">{words}</h3>')


def button(words: str, pressed: Callable[[], None], *, tooltip: str = "", now: Callable[[], None] | None = None) -> Any:
    """Return a button; `now` is called on the thread that is never busy, where the kernel has one, and must be quick."""
    made = ipywidgets.Button(description=words, tooltip=tooltip or None)
    made.on_click(lambda _: pressed())
    renderers.answer_while_busy(made, now or _nothing)
    return made


def field(kind: Any, label: str, grow: str, option: str, heard: Heard, **traits: Any) -> Any:
    """Return a field with its label above; what a person enters is told as (option, value)."""
    made = kind(description=label, **traits)
    for name in ("field", grow):
        made.add_class(f"imagegen-{name}")
    return listening(made, option, heard)


def listening(widget: Any, option: str, heard: Heard) -> Any:
    """Have what a person changes told as (option, value); what the engine itself draws is not."""

    def changed(change: Any) -> None:
        if not loop.here():
            heard(option, change["new"])

    widget.observe(changed, "value")
    renderers.answer_while_busy(widget, _nothing)
    return widget


def put(widget: Any, **traits: Any) -> None:
    """Set what differs, and send it as one message."""
    changed = {name: value for name, value in traits.items() if getattr(widget, name) != value}
    if changed:
        with widget.hold_sync():
            for name, value in changed.items():
                setattr(widget, name, value)


def shown(widget: Any, visible: bool) -> None:
    """Show or hide a widget."""
    put(widget.layout, display=None if visible else "none")


def fill(container: Any, children: Iterable[Any]) -> None:
    """Give a box new children, and close those that are no longer among them."""
    new = tuple(children)
    old = [child for child in container.children if child not in new]
    if container.children != new:
        container.children = new
    for child in old:
        close(child)


def close(widget: Any) -> None:
    """Close a widget with all its models: children, layouts, styles."""
    for part in {id(part): part for part in renderers.widget_tree(widget) if part is not None}.values():
        part.close()


def _nothing() -> None:
    """Stand for what a Cancel button does at once: everything else is handled in its turn."""
