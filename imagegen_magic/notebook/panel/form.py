"""The panel's form: the options of the chosen model, each value either possible, or disabled with its reason."""

from __future__ import annotations

from html import escape
from typing import Any

import ipywidgets  # type: ignore[import-untyped]  # it ships no types

from imagegen_magic.notebook.panel import controls
from imagegen_magic.notebook.panel.controls import OnChange
from imagegen_magic.notebook.panel.state import PanelState
from imagegen_magic.notebook.widgets import RatioPicker
from imagegen_magic.notebook.widgets.choice import Choice
from imagegen_magic.providers.alternatives import Validation, Value
from imagegen_magic.providers.model import VALUE_LISTS
from imagegen_magic.request import Size

_BARS = tuple(name for name in VALUE_LISTS if name != "size")
_LABELS = {"output_format": "Format"}
_BY_SIZE = "default"


class Form:
    """Gateway, model, and every option of the chosen model; `draw` shows the state."""

    def __init__(self, on_change: OnChange) -> None:
        self.gateway = controls.field(ipywidgets.Dropdown, "Gateway", "grow", "provider", on_change)
        self.model = controls.field(ipywidgets.Dropdown, "Model", "grow", "model", on_change)
        self.sandbox = controls.observed(
            ipywidgets.Checkbox(description="Sandbox: drawn here, no key, no cost", indent=False), "sandbox", on_change
        )
        self.note = controls.html()
        self.ratio = controls.observed(RatioPicker(), "size", on_change)
        self.bars = {name: controls.observed(Choice(label=_LABELS.get(name, name.capitalize())), name, on_change) for name in _BARS}
        self.number = controls.field(ipywidgets.BoundedIntText, "Number", "narrow", "n", on_change, min=1, max=10_000, value=1)
        self.compression = controls.field(
            ipywidgets.Text, "Compression", "narrow", "output_compression", on_change, placeholder="0–100", continuous_update=False
        )
        where = controls.box("stack", controls.box("knobs", self.gateway, self.model), self.sandbox, self.note)
        shape = controls.box("stack", controls.heading("Aspect ratio"), self.ratio)
        self.where = where
        self.options = controls.box("column", shape, controls.box("knobs", *self.bars.values(), self.number, self.compression))

    def draw(self, state: PanelState) -> None:
        """Show the state; on the engine's loop, or before events are handled."""
        validation = state.validation
        self._draw_gateway(state)
        controls.update(self.note, value=f'<div class="imagegen-quiet">{escape(_note(validation))}</div>')
        self._draw_ratio(state, validation)
        for name, bar in self.bars.items():
            self._draw_bar(name, bar, state, validation)
        controls.update(self.number, value=_number(state.request.n) or 1)
        self._draw_compression(state, validation)

    def _draw_gateway(self, state: PanelState) -> None:
        names = tuple((_title(one, one.name), one.name) for one in state.providers.values())
        _choose(self.gateway, names, state.provider.name)
        models = tuple((_model_name(one), one.name) for one in state.provider.models)
        _choose(self.model, models, state.validation.model.name)
        controls.update(self.sandbox, value=state.sandbox)

    def _draw_ratio(self, state: PanelState, validation: Validation) -> None:
        model = validation.model
        wrong = [problem.text for problem in validation.problems if problem.option == "size"]
        controls.update(
            self.ratio,
            options=[_outline(value) for value in validation.values["size"]],
            allow_pixels=bool(model.pixel_rule or model.extra_sizes),
            allow_auto=model.auto_size,
            pixel_hint=str(model.pixel_rule or ""),
            value=state.request.size or validation.chosen("size"),
            error=" ".join(wrong),
        )

    def _draw_bar(self, name: str, bar: Any, state: PanelState, validation: Validation) -> None:
        values = validation.values[name]
        asked = getattr(state.request, name)
        options = [{"value": one.value, "label": one.value, "disabled": bool(one.reason), "reason": one.reason} for one in values]
        if name == "resolution" and values:
            options.insert(0, {"value": "", "label": _BY_SIZE, "disabled": False, "reason": ""})
            controls.update(bar, options=options, value=asked or "")
        else:
            controls.update(bar, options=options, value=asked or validation.chosen(name))
        controls.set_visible(bar, len(values) > 1)

    def _draw_compression(self, state: PanelState, validation: Validation) -> None:
        asked = state.request.output_compression
        controls.set_visible(self.compression, bool(validation.model.compressible))
        controls.update(
            self.compression,
            value="" if asked is None else str(asked),
            disabled=bool(validation.compression) and asked is None,
            tooltip=validation.compression or "0 to 100; empty: the gateway's own",
        )


def _choose(dropdown: Any, options: tuple[tuple[str, str], ...], value: str) -> None:
    if dropdown.options != options or dropdown.value != value:
        with dropdown.hold_sync():
            if dropdown.options != options:
                dropdown.options = options
            dropdown.value = value


def _title(provider: Any, name: str) -> str:
    return provider.title if provider.title.lower() == name else f"{provider.title} ({name})"


def _model_name(model: Any) -> str:
    return model.name + (f" (retired {model.retired})" if model.retired else "")


def _note(validation: Validation) -> str:
    model = validation.model
    return f"{model.note[:1].upper()}{model.note[1:]}" if model.note else ""


def _outline(value: Value) -> dict[str, Any]:
    size = Size.parse(value.value)
    shape = (size.width, size.height) if size.width else (1, 1)
    return {
        "value": value.value,
        "label": value.value.replace("x", "×"),
        "width": shape[0],
        "height": shape[1],
        "disabled": bool(value.reason),
        "reason": value.reason,
    }


def _number(value: Any) -> int | None:
    return value if isinstance(value, int) and 1 <= value <= 10_000 else None
