"""Ask for pictures as naturally as writing a notebook cell: `%%imagegen`, over several image gateways."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from imagegen_magic import old_modules

if TYPE_CHECKING:
    from imagegen_magic._version import __version__ as __version__
    from imagegen_magic.engine.api import generate, generate_all, stream
    from imagegen_magic.engine.loop import run
    from imagegen_magic.imaging.masks import invert, mask_box, mask_from
    from imagegen_magic.notebook.panel.panel import Panel
    from imagegen_magic.request import ImageRequest
    from imagegen_magic.result import GeneratedImage, Generation
    from imagegen_magic.studies.conformance import conformance
    from imagegen_magic.studies.export.archive import export
    from imagegen_magic.studies.scores.builtin import colour_share
    from imagegen_magic.studies.scores.scorer import Score, scorer
    from imagegen_magic.studies.scores.scoring import score
    from imagegen_magic.studies.scores.text import text_is
    from imagegen_magic.studies.sweeps.plan import sweep
    from imagegen_magic.studies.sweeps.result import SweepResult

__all__ = [
    "GeneratedImage",
    "Generation",
    "ImageRequest",
    "Panel",
    "Score",
    "SweepResult",
    "colour_share",
    "conformance",
    "export",
    "generate",
    "generate_all",
    "invert",
    "mask_box",
    "mask_from",
    "run",
    "score",
    "scorer",
    "stream",
    "sweep",
    "text_is",
]

_HOMES = {
    "__version__": "_version",
    "generate": "engine.api",
    "generate_all": "engine.api",
    "stream": "engine.api",
    "run": "engine.loop",
    "sweep": "studies.sweeps.plan",
    "SweepResult": "studies.sweeps.result",
    "conformance": "studies.conformance",
    "export": "studies.export.archive",
    "Score": "studies.scores.scorer",
    "scorer": "studies.scores.scorer",
    "score": "studies.scores.scoring",
    "colour_share": "studies.scores.builtin",
    "text_is": "studies.scores.text",
    "Panel": "notebook.panel.panel",
    "mask_from": "imaging.masks",
    "mask_box": "imaging.masks",
    "invert": "imaging.masks",
    "ImageRequest": "request",
    "GeneratedImage": "result",
    "Generation": "result",
}

old_modules.install()


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used, so that loading the extension stays cheap."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)


def load_ipython_extension(shell: Any) -> None:
    """Register `%imagegen` and `%%imagegen` with an IPython shell."""
    from imagegen_magic.notebook.magic.magics import ImageGenMagics

    shell.register_magics(ImageGenMagics(shell))


def unload_ipython_extension(shell: Any) -> None:
    """Take the magics away again."""
    from imagegen_magic.notebook.magic.magics import unload

    unload(shell)
