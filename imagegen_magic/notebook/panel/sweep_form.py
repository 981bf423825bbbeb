"""The panel's controls of a sweep: two axes with their values, the pictures of each combination, the plan, and the start."""

from __future__ import annotations

from collections.abc import Callable
from html import escape
from typing import Any

import ipywidgets  # type: ignore[import-untyped]  # it ships no types

from imagegen_magic.notebook.panel import controls
from imagegen_magic.notebook.panel.sweep import AXES, PanelSweep

_MOST = 100  # pictures of a combination
_HINT = "Values are separated by | or commas. Write {{style}} in the prompt to vary words of it."
_SKIP = "Leave out combinations that are not possible"


class SweepForm:
    """The group of a sweep; `on_change` gets the name of a control and its value, `on_start` is called by the button."""

    def __init__(self, on_change: Callable[[str, Any], None], on_start: Callable[[], None]) -> None:
        ordinals = ("First axis", "Second axis")
        self._names = [
            controls.field(ipywidgets.Dropdown, ordinals[number], "grow", f"name {number}", on_change, options=[("none", "")], value="")
            for number in range(AXES)
        ]
        text = {"continuous_update": False}
        self._values = [
            controls.field(ipywidgets.Text, f"Values of the {ordinals[number].lower()}", "wide", f"values {number}", on_change, **text)
            for number in range(AXES)
        ]
        self._axes = [controls.box("knobs", *pair) for pair in zip(self._names, self._values, strict=True)]
        self._repeat = controls.field(
            ipywidgets.BoundedIntText, "Pictures of each", "narrow", "repeat", on_change, min=1, max=_MOST, value=1
        )
        self._skip = controls.observed(ipywidgets.Checkbox(description=_SKIP, indent=False), "skip_impossible", on_change)
        self._plan = controls.html()
        self._start = controls.button("Start sweep", on_start, tooltip="Make a picture of each combination of the values")
        hint = controls.html(f'<div class="imagegen-quiet">{escape(_HINT)}</div>')
        knobs = controls.box("knobs", self._repeat)
        self._foot = controls.box("line", self._start, self._plan)
        self._head, self.widget = controls.fold("Sweep", hint, *self._axes, knobs, self._skip, self._foot)

    def draw(self, sweep: PanelSweep) -> None:
        """Show the choice and its plan; on the engine's loop."""
        choice, names = sweep.choice, tuple(sweep.axis_names())
        for number in range(AXES):
            self._draw_axis(number, sweep, names)
        started = bool(choice.names[0])
        controls.set_visible(self._axes[1], started)
        controls.set_visible(self._repeat, started)
        controls.update(self._repeat, value=choice.repeat)
        controls.set_visible(self._skip, sweep.has_impossible)
        controls.update(self._skip, value=choice.skip_impossible)
        controls.set_visible(self._foot, started)
        controls.update(self._plan, value=_plan_html(sweep))
        controls.update(self._start, disabled=not sweep.is_ready)
        controls.update(self._head, summary=sweep.summary())

    def _draw_axis(self, number: int, sweep: PanelSweep, names: tuple[tuple[str, str], ...]) -> None:
        chosen = sweep.choice.names[number]
        kept = () if chosen in dict(names).values() else ((chosen, chosen),)  # the prompt or the model has it no longer
        controls.choose(self._names[number], (*names, *kept), chosen)
        typed = sweep.choice.values[number]
        controls.update(self._values[number], value=typed, placeholder=sweep.suggestion(chosen) if chosen else "", disabled=not chosen)


def _plan_html(sweep: PanelSweep) -> str:
    if sweep.problem:
        return controls.alert([sweep.problem])
    text = sweep.headline or ("" if not any(sweep.choice.axes) else "planning…")
    return f'<div class="imagegen-summary" role="status" aria-label="What the sweep will do">{escape(text)}</div>'
