"""Colab's modules as far as a notebook's own code sees them: `google.colab.userdata`, and `output` with its widget manager.

Written after the public source of google.colab: a secret without access raises, and the widget manager is put into the metadata of
each output with a widget by a hook, which ipykernel calls only for outputs of the thread that registered it.
"""

from __future__ import annotations

import sys
import threading
import types
from typing import Any

VIEW = "application/vnd.jupyter.widget-view+json"
asked: list[tuple[str, bool]] = []  # the names of secrets, and whether the main thread asked
_secrets: dict[str, str] = {}


class SecretNotFoundError(Exception):
    """There is no such secret."""


def install(**secrets: str) -> None:
    """Make this process one of Colab's, with these secrets."""
    names = ("google.colab", "google.colab.userdata", "google.colab.output")
    sys.modules.update({name: types.ModuleType(name) for name in names})
    vars(sys.modules["google.colab.userdata"])["get"] = _get
    vars(sys.modules["google.colab.output"])["enable_custom_widget_manager"] = _enable_custom_widget_manager
    _secrets.update(secrets)


def remove() -> None:
    """Make it an ordinary process again."""
    for name in [name for name in sys.modules if name.startswith("google.colab")]:
        del sys.modules[name]
    _publisher().unregister_hook(_add_manager)
    _secrets.clear()
    asked.clear()


def _get(name: str) -> str:
    asked.append((name, threading.current_thread() is threading.main_thread()))
    if name not in _secrets:
        raise SecretNotFoundError(name)
    return _secrets[name]


def _publisher() -> Any:
    from IPython.core.getipython import get_ipython

    return get_ipython().display_pub


def _enable_custom_widget_manager() -> None:
    _publisher().register_hook(_add_manager)


def _add_manager(message: dict[str, Any]) -> dict[str, Any]:
    content = message["content"]
    if VIEW in content.get("data", {}):
        content["metadata"][VIEW] = {"colab": {"custom_widget_manager": {"url": "https://example.org/manager.js"}}}
    return message
