"""The services' side of the wire, one module a service: what it accepts, what it refuses, and the JSON of its responses.

A module here (other than `base` and `direct`) is a dialect; its `DIALECT` is served under `/NAME`.
"""

from __future__ import annotations

import pkgutil
from importlib import import_module

from imagegen_magic.sandbox.dialects.base import Dialect

_SHARED = {"base", "direct"}
_MODULES = [import_module(f"{__name__}.{module.name}") for module in pkgutil.iter_modules(__path__) if module.name not in _SHARED]
DIALECTS: dict[str, Dialect] = {module.DIALECT.name: module.DIALECT for module in _MODULES}
