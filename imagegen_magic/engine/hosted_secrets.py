"""The secrets that a hosted notebook keeps for its user: those of Colab and of Kaggle.

Read from the pages of `google.colab.userdata` and `kaggle_secrets.UserSecretsClient`; neither was run against the real service. Each
call may open a dialogue that waits for the user, so a secret is read by its name, and only when it is needed.
"""

from __future__ import annotations

import importlib
import os
import sys
import threading


def host() -> str:
    """Return the name of the hosted notebook that runs this process and keeps secrets; empty elsewhere."""
    if os.environ.get("KAGGLE_KERNEL_RUN_TYPE"):
        return "Kaggle"
    return "Colab" if "google.colab" in sys.modules else ""


def readable() -> bool:
    """Return whether secrets can be read here: a dialogue of Colab needs the main thread, and ends with its cell."""
    return bool(host()) and threading.current_thread() is threading.main_thread()


def read(name: str) -> str:
    """Return the secret of that name; empty if there is none, if the user refuses it, or if the service fails."""
    try:
        if host() == "Kaggle":
            return str(importlib.import_module("kaggle_secrets").UserSecretsClient().get_secret(name) or "")
        return str(importlib.import_module("google.colab.userdata").get(name) or "")
    except Exception:  # the service's own errors, which have no common base: the secret is not there
        return ""
