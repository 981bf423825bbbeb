"""Module names of earlier versions, which plug-ins and pickles may hold: they still import, with a DeprecationWarning.

Python asks the finder only for modules that nothing else found, so a current name never comes here.
"""

from __future__ import annotations

import importlib
import importlib.abc
import importlib.machinery
import sys
import warnings
from types import ModuleType
from typing import Any

PACKAGE = "imagegen_magic"
MOVED = {
    "engine.generation": "engine.api",
    "engine.gateways": "engine.endpoints",
    "engine.job": "engine.jobs.job",
    "engine.keys": "engine.credentials",
    "engine.rows": "engine.ledger.records",
    "pictures": "imaging",
    "pictures.decoding": "imaging.decode",
    "pictures.drift": "imaging.mask_drift",
    "pictures.grid": "imaging.sheet.grid",
    "pictures.masks": "imaging.masks",
    "pictures.metadata": "imaging.metadata.embed",
    "pictures.preview": "imaging.preview",
    "pictures.references": "imaging.reference",
    "pictures.verify": "imaging.verify",
    "providers.addresses": "providers.urls",
    "providers.answers": "providers.responses",
    "providers.apimart": "providers.gateways.apimart",
    "providers.evolink": "providers.gateways.evolink",
    "providers.gccai": "providers.gateways.gccai",
    "providers.options": "providers.validation",
    "providers.uploading": "providers.uploads",
    "providers.xingchao": "providers.gateways.xingchao",
    "studies.axes": "studies.sweeps.axes",
    "studies.lineage": "studies.history.lineage",
    "studies.history.annotations": "engine.ledger.annotations",
    "studies.marks": "engine.ledger.annotations",
    "studies.money": "studies.history.spending",
    "studies.past_sweeps": "studies.sweeps.load",
    "studies.recollection": "studies.history.provenance",
    "studies.results": "studies.sweeps.result",
    "studies.sweep": "studies.sweeps.plan",
    "studies.voting": "studies.ranking",
}

RENAMED = {  # names of those modules that changed as well
    "providers.answers": {
        "Complaint": "ErrorDetails",
        "WRONG": "ERRORS",
        "complains": "is_error",
        "complaint": "error_details",
        "moment": "epoch_seconds",
        "pictures": "image_urls",
        "record": "task_object",
        "records": "task_objects",
        "text": "one_line",
        "word_of": "status_of",
        "words_of": "message_of",
    },
    "providers.options": {"Check": "RequestValidator"},
    "pictures.verify": {"Facts": "ImageInfo"},
    "studies.marks": {"Mark": "Annotation", "star": "set_stars", "tag": "add_tags", "untag": "remove_tags", "note": "set_note"},
    "studies.results": {"Impossible": "SkippedCombination"},
    "studies.sweep": {"Outlook": "SweepEstimate"},
    "studies.voting": {"Standing": "RankedItem"},
}


class OldModules(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds a module under the name that it had before, as a module that forwards every name."""

    def find_spec(self, name: str, path: Any = None, target: ModuleType | None = None) -> importlib.machinery.ModuleSpec | None:
        """Return the spec of a forwarding module, None for any other name."""
        package, _, rest = name.partition(".")
        if package != PACKAGE or rest not in MOVED:
            return None
        return importlib.machinery.ModuleSpec(name, self, is_package=rest == "pictures")

    def exec_module(self, module: ModuleType) -> None:
        """Let the module forward to its successor. Emits a DeprecationWarning."""
        old = module.__name__.partition(".")[2]
        new, renamed = f"{PACKAGE}.{MOVED[old]}", RENAMED.get(old, {})
        warnings.warn(f"{module.__name__} is now {new}", DeprecationWarning, stacklevel=2)
        successor = importlib.import_module(new)

        def forward(name: str) -> Any:
            try:
                return getattr(successor, renamed.get(name, name))
            except AttributeError:
                raise AttributeError(f"module {module.__name__!r} has no attribute {name!r}") from None

        module.__getattr__ = forward  # type: ignore[method-assign]


def install() -> None:
    """Register the finder, once."""
    if not any(isinstance(finder, OldModules) for finder in sys.meta_path):
        sys.meta_path.append(OldModules())
