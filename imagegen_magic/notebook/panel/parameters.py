"""The panel's controls for the parameters of the chosen model: the common ones, the others, and fields that it does not declare."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from typing import Any

import ipywidgets  # type: ignore[import-untyped]  # it ships no types

from imagegen_magic.notebook.panel import controls
from imagegen_magic.notebook.panel.controls import OnChange
from imagegen_magic.notebook.progress import renderers
from imagegen_magic.providers.base import Model, Parameter

_EXTRA = "Fields of the request that the model does not declare, as with --set: names and values, quoted if they hold spaces"
_FEW = 4  # parameters that are not folded if none is common


class ParameterFields:
    """One control for each parameter of a model; `draw` makes those of another model, and shows the values.

    `common` is the box of the common ones, `further` that of the others, and `extra` the field for what the model does not declare.
    """

    def __init__(self, on_change: OnChange) -> None:
        self._on_change = on_change
        self._declared: Mapping[str, Parameter] = {}
        self.fields: dict[str, Any] = {}
        self.common, self.further = controls.box("knobs"), controls.box("knobs")
        text = {"placeholder": "NAME=VALUE NAME=VALUE", "tooltip": _EXTRA, "continuous_update": False}
        self.extra = controls.field(ipywidgets.Text, "Other fields", "grow", "extra", on_change, **text)

    def draw(self, model: Model, values: Mapping[str, Any]) -> None:
        """Show the parameters of a model with these values; on the engine's loop, or before events are handled."""
        if model.parameters != self._declared:
            self._declared = model.parameters
            self._make()
        for name, field in self.fields.items():
            value = values.get(name)
            controls.update(field, value="" if value is None else str(value).lower() if isinstance(value, bool) else str(value))
        extra = {name: value for name, value in values.items() if name not in self._declared}
        controls.update(self.extra, value=" ".join(shlex.quote(f"{name}={_as_typed(value)}") for name, value in extra.items()))
        controls.set_visible(self.common, bool(self.common.children))
        controls.set_visible(self.further, bool(self.further.children))

    def _make(self) -> None:
        self.fields = {name: self._field(name, parameter) for name, parameter in self._declared.items()}
        few = len(self.fields) <= _FEW
        common = [name for name, parameter in self._declared.items() if parameter.common or few]
        renderers.set_children(self.common, *(self.fields[name] for name in common))
        renderers.set_children(self.further, *(field for name, field in self.fields.items() if name not in common))

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


def _as_typed(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
