"""Widgets that ipywidgets does not have: ratio picker, gallery, comparison, painter, vote, prompt, key field."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from imagegen_magic.notebook.widgets.compare import Compare
    from imagegen_magic.notebook.widgets.gallery import Gallery
    from imagegen_magic.notebook.widgets.ratio_picker import RatioPicker

__all__ = ["Compare", "Gallery", "RatioPicker"]

_MODULES = {"Compare": "compare", "Gallery": "gallery", "RatioPicker": "ratio_picker"}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
