"""Puts a process back to where a test starts: used by this process, and by kernels that serve one test after another."""

from __future__ import annotations

import json
import os
import re
import sys
from pathlib import Path
from typing import Any

OURS = re.compile(r"IMAGEGEN_|OPENAI_|AZURE_OPENAI_|FAL_KEY$|.*_(API_KEY|API_TOKEN|BASE_URL)$|.*_proxy$", re.IGNORECASE)
_START = {name: value for name, value in os.environ.items() if not OURS.match(name)}  # as this process was started
SETTINGS = Path(".settings.json").absolute()  # environment variables of a workspace of JupyterLab, in the kernel's first folder


def reset_engine() -> None:
    """Stop the engine and forget what its process remembers, if it is loaded."""
    if "imagegen_magic.engine" in sys.modules:
        from imagegen_magic.engine import process_state

        process_state.reset()


def reset_kernel(folder: str = "", variables: dict[str, str] | None = None) -> None:
    """Close all widgets, delete the notebook's variables, unload the extension and stop its engine.

    The kernel then works in `folder` with these environment variables; without them in its workspace, as when it started.
    """
    from IPython import get_ipython

    shell: Any = get_ipython()
    if "ipywidgets" in sys.modules:
        sys.modules["ipywidgets"].Widget.close_all()
    shell.run_line_magic("reset", "-f")
    if "imagegen_magic" in shell.extension_manager.loaded:
        shell.extension_manager.unload_extension("imagegen_magic")
    reset_engine()
    os.environ.clear()
    os.environ.update(_START)
    os.chdir(folder or SETTINGS.parent)
    shell.starting_dir = os.getcwd()
    apply_settings(variables)


def apply_settings(variables: dict[str, str] | None = None) -> None:
    """Set these environment variables, or else those of the workspace."""
    if variables is None:
        variables = json.loads(SETTINGS.read_text()) if SETTINGS.exists() else {}
    os.environ.update(variables)
