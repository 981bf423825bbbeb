"""Ask for pictures as naturally as writing a notebook cell: `%%imagegen`, over several image gateways."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from imagegen_magic.engine.generation import generate, stream
    from imagegen_magic.engine.loop import run
    from imagegen_magic.notebook.panel import Panel
    from imagegen_magic.pictures.masks import invert, mask_box, mask_from
    from imagegen_magic.request import ImageRequest
    from imagegen_magic.result import GeneratedImage, Generation
    from imagegen_magic.studies.export import export
    from imagegen_magic.studies.results import SweepResult
    from imagegen_magic.studies.sweep import sweep

__version__ = "0.2.0"
__all__ = [
    "GeneratedImage",
    "Generation",
    "ImageRequest",
    "Panel",
    "SweepResult",
    "export",
    "generate",
    "invert",
    "mask_box",
    "mask_from",
    "run",
    "stream",
    "sweep",
]

_HOMES = {
    "generate": "engine.generation",
    "stream": "engine.generation",
    "run": "engine.loop",
    "sweep": "studies.sweep",
    "SweepResult": "studies.results",
    "export": "studies.export",
    "Panel": "notebook.panel",
    "mask_from": "pictures.masks",
    "mask_box": "pictures.masks",
    "invert": "pictures.masks",
    "ImageRequest": "request",
    "GeneratedImage": "result",
    "Generation": "result",
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used, so that loading the extension stays cheap."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)


def load_ipython_extension(shell: Any) -> None:
    """Register `%imagegen` and `%%imagegen` with an IPython shell."""
    from imagegen_magic.notebook.magic import ImageGenMagics

    shell.register_magics(ImageGenMagics(shell))


def unload_ipython_extension(shell: Any) -> None:
    """Take the magics away again."""
    from imagegen_magic.notebook.magic import unload

    unload(shell)
