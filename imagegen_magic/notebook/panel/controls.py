"""The ipywidgets of the panel. Each works while a cell runs, and leaves no model behind when it is closed."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from html import escape
from typing import Any

import ipywidgets  # type: ignore[import-untyped]  # it ships no types

from imagegen_magic.engine import loop
from imagegen_magic.notebook.progress import renderers
from imagegen_magic.notebook.widgets.fold import Fold

OnChange = Callable[[str, Any], None]


def box(name: str, *children: Any) -> Any:
    """Return a box whose layout is the style sheet's rule of that name."""
    made = ipywidgets.Box(children)
    made.add_class(f"imagegen-{name}")
    return made


def fold(title: str, *children: Any, on_unfold: Callable[[], None] | None = None) -> tuple[Fold, Any]:
    """Return the head of a group, and the box of the head and the group; `on_unfold` is called when the user unfolds it."""
    head = Fold(title=title)
    observed(head, title, lambda _, unfolded: on_unfold() if unfolded and on_unfold else None, "unfolded")
    group = box("stack", *children)
    group.add_class("imagegen-fold-body")
    return head, box("fold", head, group)


def html(value: str = "") -> Any:
    """Return an HTML widget; the caller escapes its value."""
    return ipywidgets.HTML(value)


def alert(lines: Iterable[str]) -> str:
    """Return problems as HTML, one below the other; empty without one."""
    problems = "".join(f'<div class="imagegen-problem">{escape(line)}</div>' for line in lines if line)
    return f'<div role="alert">{problems}</div>' if problems else ""


def button(text: str, on_click: Callable[[], None], *, tooltip: str = "", at_once: Callable[[], None] | None = None) -> Any:
    """Return a button; `at_once` is called on a thread that is never busy, if the kernel has one, and must be quick."""
    made = ipywidgets.Button(description=text, tooltip=tooltip or None)
    made.on_click(lambda _: on_click())
    renderers.answer_while_busy(made, at_once)
    return made


def field(kind: Any, label: str, grow: str, option: str, on_change: OnChange, **traits: Any) -> Any:
    """Return a field with its label above; `on_change` gets (option, value) for each input."""
    made = kind(description=label, **traits)
    for name in ("field", grow):
        made.add_class(f"imagegen-{name}")
    return observed(made, option, on_change)


def observed(widget: Any, option: str, on_change: OnChange, trait: str = "value") -> Any:
    """Call `on_change(option, value)` for each input of the user; changes made on the engine's loop are ignored."""

    def changed(change: Any) -> None:
        if not loop.here():
            on_change(option, change["new"])

    widget.observe(changed, trait)
    renderers.answer_while_busy(widget)
    return widget


def update(widget: Any, **traits: Any) -> None:
    """Set the traits that differ, and send them as one message."""
    changed = {name: value for name, value in traits.items() if getattr(widget, name) != value}
    if changed:
        with widget.hold_sync():
            for name, value in changed.items():
                setattr(widget, name, value)


def set_visible(widget: Any, visible: bool) -> None:
    """Show or hide a widget."""
    update(widget.layout, display=None if visible else "none")


def choose(dropdown: Any, options: tuple[tuple[str, str], ...], value: str) -> None:
    """Show these options of a dropdown, as (label, value), and this value."""
    if dropdown.options != options or dropdown.value != value:
        with dropdown.hold_sync():
            if dropdown.options != options:
                dropdown.options = options
            dropdown.value = value
