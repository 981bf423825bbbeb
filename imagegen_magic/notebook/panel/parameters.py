"""The panel's controls for the parameters of the chosen model: the common ones, and a button that unfolds the rest."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import ipywidgets  # type: ignore[import-untyped]  # it ships no types

from imagegen_magic.humanize import pluralize
from imagegen_magic.notebook.panel import controls
from imagegen_magic.notebook.panel.controls import OnChange
from imagegen_magic.notebook.progress import renderers
from imagegen_magic.providers.base import Model, Parameter

_FEW = 4  # parameters that are not folded if none is common


class ParameterFields:
    """One control for each parameter of a model; `draw` makes those of another model, and shows the values."""

    def __init__(self, on_change: OnChange) -> None:
        self._on_change = on_change
        self._declared: Mapping[str, Parameter] = {}
        self._unfolded = False
        self.fields: dict[str, Any] = {}
        self._common, self._further = controls.box("knobs"), controls.box("knobs")
        self._unfold = controls.button("", self._toggle)
        self.widget = controls.box("stack", self._common, self._unfold, self._further)

    def draw(self, model: Model, values: Mapping[str, Any]) -> None:
        """Show the parameters of a model with these values; on the engine's loop, or before events are handled."""
        if model.parameters != self._declared:
            self._declared = model.parameters
            self._make()
        for name, field in self.fields.items():
            value = values.get(name)
            controls.update(field, value="" if value is None else str(value).lower() if isinstance(value, bool) else str(value))
        self._draw_fold()

    def _make(self) -> None:
        self.fields = {name: self._field(name, parameter) for name, parameter in self._declared.items()}
        few = len(self.fields) <= _FEW
        common = [name for name, parameter in self._declared.items() if parameter.common or few]
        renderers.set_children(self._common, *(self.fields[name] for name in common))
        renderers.set_children(self._further, *(field for name, field in self.fields.items() if name not in common))
        self._unfolded = False

    def _field(self, name: str, parameter: Parameter) -> Any:
        label = name.replace("_", " ").capitalize()
        usual = "" if parameter.default is None else f"default {parameter.default}"
        allowed = ", ".join(parameter.allowed)
        tooltip = ". ".join(filter(None, (parameter.help, allowed, usual)))
        if parameter.kind in ("choice", "flag"):
            options = (("default", ""), *((value, value) for value in parameter.allowed))
            return controls.field(ipywidgets.Dropdown, label, "grow", name, self._on_change, options=options, value="", tooltip=tooltip)
        hint = allowed or usual
        return controls.field(
            ipywidgets.Text, label, "grow", name, self._on_change, placeholder=hint, tooltip=tooltip, continuous_update=False
        )

    def _toggle(self) -> None:
        self._unfolded = not self._unfolded
        self._draw_fold()

    def _draw_fold(self) -> None:
        number = len(self._further.children)
        controls.set_visible(self._unfold, number > 0)
        controls.set_visible(self._further, self._unfolded and number > 0)
        controls.update(self._unfold, description="Hide them" if self._unfolded else f"Show {pluralize(number, 'further parameter')}")
