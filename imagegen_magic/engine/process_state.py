"""What is shared by a whole process rather than by an EngineContext, and one function that resets it between tests.

Everything else that requests share belongs in `EngineContext`. Process-wide are:

- `loop`: the event loop in its thread, and through it the ledgers and contexts of `context`, which end with it;
- `clock`: the speed of the engine's time;
- `credentials`: keys of this session, and what the system keyring answered;
- `net.peers`: the network zones that gateways' names resolved to;
- `notebook_folder`: the folders of notebooks, found again after a rename;
- `workers.fetching`: in a worker, the connections of its downloads, which end with the loop;
- `threads` (pools without state) and the cache of `settings` (by the content of the file), which need no reset.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

_RESET: dict[str, Callable[[Any], object]] = {
    "engine.loop": lambda module: module.stop(),
    "engine.clock": lambda module: module.set_testing(None),
    "engine.credentials": lambda module: (module._remembered.clear(), module._answers.clear()),
    "engine.net.peers": lambda module: module._zones.clear(),
    "notebook_folder": lambda module: module._asked.clear(),
}


def reset() -> None:
    """End the engine and forget what this process remembers; modules that are not loaded stay so. For tests."""
    for name, clear in _RESET.items():
        if module := sys.modules.get(f"imagegen_magic.{name}"):
            clear(module)
