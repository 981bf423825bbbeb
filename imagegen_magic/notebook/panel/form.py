"""The panel's controls: what the chosen model has and nothing else, each value either possible or disabled with its reason."""

from __future__ import annotations

from html import escape
from typing import Any

import ipywidgets  # type: ignore[import-untyped]  # it ships no types

from imagegen_magic.notebook.panel import controls as parts
from imagegen_magic.notebook.panel.controls import Heard
from imagegen_magic.notebook.panel.state import PanelState
from imagegen_magic.notebook.widgets import RatioPicker
from imagegen_magic.notebook.widgets.choice import Choice
from imagegen_magic.providers.alternatives import Validation, Value
from imagegen_magic.request import Size

_BARS = ("resolution", "quality", "background", "moderation", "output_format")
_LABELS = {"output_format": "Format"}
_BY_SIZE = "default"


class Form:
    """Gateway, model, and every option of the chosen model; `draw` shows how the desk stands."""

    def __init__(self, heard: Heard) -> None:
        self.gateway = parts.field(ipywidgets.Dropdown, "Gateway", "grow", "provider", heard)
        self.model = parts.field(ipywidgets.Dropdown, "Model", "grow", "model", heard)
        self.sandbox = parts.listening(
            ipywidgets.Checkbox(description="Sandbox: drawn here, no key, no cost", indent=False), "sandbox", heard
        )
        self.note = parts.html()
        self.ratio = parts.listening(RatioPicker(), "size", heard)
        self.bars = {name: parts.listening(Choice(label=_LABELS.get(name, name.capitalize())), name, heard) for name in _BARS}
        self.number = parts.field(ipywidgets.BoundedIntText, "Number", "narrow", "n", heard, min=1, max=10_000, value=1)
        self.compression = parts.field(
            ipywidgets.Text, "Compression", "narrow", "output_compression", heard, placeholder="0–100", continuous_update=False
        )
        where = parts.box("stack", parts.box("knobs", self.gateway, self.model), self.sandbox, self.note)
        shape = parts.box("stack", parts.heading("Aspect ratio"), self.ratio)
        self.where = where
        self.options = parts.box("column", shape, parts.box("knobs", *self.bars.values(), self.number, self.compression))

    def draw(self, desk: PanelState) -> None:
        """Show what the desk holds; on the engine's loop, or before anybody listens."""
        judgement = desk.judgement
        self._draw_gateway(desk)
        parts.put(self.note, value=f'<div class="imagegen-quiet">{escape(_note(judgement))}</div>')
        self._draw_ratio(desk, judgement)
        for name, bar in self.bars.items():
            self._draw_bar(name, bar, desk, judgement)
        parts.put(self.number, value=_number(desk.request.n) or 1)
        self._draw_compression(desk, judgement)

    def _draw_gateway(self, desk: PanelState) -> None:
        names = tuple((_title(one, one.name), one.name) for one in desk.providers.values())
        _choose(self.gateway, names, desk.provider.name)
        models = tuple((_model_name(one), one.name) for one in desk.provider.models)
        _choose(self.model, models, desk.judgement.model.name)
        parts.put(self.sandbox, value=desk.sandbox)

    def _draw_ratio(self, desk: PanelState, judgement: Validation) -> None:
        model = judgement.model
        wrong = [problem.text for problem in judgement.problems if problem.option == "size"]
        parts.put(
            self.ratio,
            options=[_outline(value) for value in judgement.values["size"]],
            allow_pixels=bool(model.pixel_rule or model.extra_sizes),
            allow_auto=model.auto_size,
            pixel_hint=str(model.pixel_rule or ""),
            value=desk.request.size or judgement.chosen("size"),
            error=" ".join(wrong),
        )

    def _draw_bar(self, name: str, bar: Any, desk: PanelState, judgement: Validation) -> None:
        values = judgement.values[name]
        asked = getattr(desk.request, name)
        options = [{"value": one.value, "label": one.value, "disabled": bool(one.reason), "reason": one.reason} for one in values]
        if name == "resolution" and values:
            options.insert(0, {"value": "", "label": _BY_SIZE, "disabled": False, "reason": ""})
            parts.put(bar, options=options, value=asked or "")
        else:
            parts.put(bar, options=options, value=asked or judgement.chosen(name))
        parts.shown(bar, len(values) > 1)

    def _draw_compression(self, desk: PanelState, judgement: Validation) -> None:
        asked = desk.request.output_compression
        parts.shown(self.compression, bool(judgement.model.compressible))
        parts.put(
            self.compression,
            value="" if asked is None else str(asked),
            disabled=bool(judgement.compression) and asked is None,
            tooltip=judgement.compression or "0 to 100; empty: the gateway's own",
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


def _note(judgement: Validation) -> str:
    model = judgement.model
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
