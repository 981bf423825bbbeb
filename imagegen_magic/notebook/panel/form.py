"""The panel's form: the options of the chosen model, each value either possible, or disabled with its reason."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape
from typing import Any

import ipywidgets  # type: ignore[import-untyped]  # it ships no types

from imagegen_magic.notebook.panel import controls
from imagegen_magic.notebook.panel.controls import OnChange
from imagegen_magic.notebook.panel.parameters import ParameterFields
from imagegen_magic.notebook.panel.state import PanelState
from imagegen_magic.notebook.widgets.choice import Choice
from imagegen_magic.notebook.widgets.ratio_picker import RatioPicker
from imagegen_magic.providers.alternatives import Validation, Value
from imagegen_magic.providers.model import VALUE_LISTS

_LABELS = {"output_format": "Format"}
_BY_SIZE = {"value": "", "label": "default", "reason": ""}  # the resolution that follows from the size
_MOST = 10_000  # pictures


class Form:
    """Gateway, model, and every option of the chosen model; `draw` shows the state."""

    def __init__(self, on_change: OnChange) -> None:
        self.gateway = controls.field(ipywidgets.Dropdown, "Service", "grow", "provider", on_change)
        self.model = controls.field(ipywidgets.Dropdown, "Model", "grow", "model", on_change)
        self.sandbox = controls.observed(
            ipywidgets.Checkbox(description="Sandbox: drawn here, no key, no cost", indent=False), "sandbox", on_change
        )
        self._note = controls.html()
        self.ratio = controls.observed(RatioPicker(), "size", on_change)
        self.bars = {
            name: controls.observed(Choice(label=_LABELS.get(name, name.capitalize())), name, on_change)
            for name in VALUE_LISTS
            if name != "size"
        }
        self.number = controls.field(ipywidgets.BoundedIntText, "Number", "narrow", "n", on_change, min=1, max=_MOST, value=1)
        self.compression = controls.field(
            ipywidgets.Text, "Compression", "narrow", "output_compression", on_change, placeholder="0–100", continuous_update=False
        )
        self.target = controls.box("stack", controls.box("knobs", self.gateway, self.model), self.sandbox, self._note)
        shape = controls.box("stack", controls.html('<h3 class="imagegen-heading">Aspect ratio</h3>'), self.ratio)
        self.parameters = ParameterFields(on_change)
        knobs = controls.box("knobs", *self.bars.values(), self.number, self.compression)
        self.options = controls.box("column", shape, knobs, self.parameters.widget)

    def draw(self, state: PanelState) -> None:
        """Show the state; on the engine's loop, or before events are handled."""
        validation, request = state.validation, state.request
        providers, models = state.providers.values(), state.provider.models
        _choose(self.gateway, tuple((_title(provider), provider.name) for provider in providers), state.provider.name)
        _choose(self.model, tuple((model.label, model.name) for model in models), validation.model.name)
        controls.update(self.sandbox, value=state.sandbox)
        note = validation.model.note
        controls.update(self._note, value=f'<div class="imagegen-quiet">{escape(note[:1].upper() + note[1:])}</div>')
        self._draw_ratio(state, validation)
        for name, bar in self.bars.items():
            values = validation.values[name]
            by_size = [_BY_SIZE] if name == "resolution" and values else []
            chosen = getattr(request, name) or ("" if by_size else validation.chosen(name))
            controls.update(bar, options=[*by_size, *_options(values)], value=chosen)
            controls.set_visible(bar, len(values) > 1)
        controls.update(self.number, value=request.n if isinstance(request.n, int) and 1 <= request.n <= _MOST else 1)
        self._draw_compression(request.output_compression, validation)
        self.parameters.draw(validation.model, {**request.extra, **request.parameters})

    def _draw_ratio(self, state: PanelState, validation: Validation) -> None:
        model = validation.model
        controls.update(
            self.ratio,
            options=_options(validation.values["size"]),
            allow_pixels=bool(model.pixel_rule or model.extra_sizes),
            pixel_hint=str(model.pixel_rule or ""),
            value=state.request.size or validation.chosen("size"),
            error=" ".join(problem.text for problem in validation.problems if problem.option == "size"),
        )

    def _draw_compression(self, compression: Any, validation: Validation) -> None:
        controls.set_visible(self.compression, bool(validation.model.compressible))
        controls.update(
            self.compression,
            value="" if compression is None else str(compression),
            disabled=bool(validation.compression) and compression is None,
            tooltip=validation.compression or "0 to 100; empty: the service's own",
        )


def _choose(dropdown: Any, options: tuple[tuple[str, str], ...], value: str) -> None:
    if dropdown.options != options or dropdown.value != value:
        with dropdown.hold_sync():
            if dropdown.options != options:
                dropdown.options = options
            dropdown.value = value


def _title(provider: Any) -> str:
    return provider.title if provider.title.lower() == provider.name else f"{provider.title} ({provider.name})"


def _options(values: Iterable[Value]) -> list[dict[str, str]]:
    """Return the options of a Choice or a RatioPicker."""
    return [{"value": each.value, "reason": each.reason} for each in values]
