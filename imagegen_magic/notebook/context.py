"""NotebookContext: what the magics, the subcommands and the panel of one notebook share."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from imagegen_magic.notebook_folder import NotebookFolder, working
from imagegen_magic.options import SETTINGS

if TYPE_CHECKING:
    from imagegen_magic.engine.jobs.job import Job
    from imagegen_magic.engine.settings import Settings


class NotebookContext:
    """The `shell`, the folder, the settings and the keys of one notebook, and the state of its session.

    `jobs` are those started with --no-wait. `last_error` is the redacted traceback of the last error. `reminded` is whether
    this session has shown that images are waiting.
    """

    def __init__(self, shell: Any, defaults: Callable[[], Mapping[str, Any]]) -> None:
        """`defaults` returns the values of `%config`; None is an unset value."""
        self.shell = shell
        self.jobs: list[Job] = []
        self.last_error = ""
        self.reminded = False
        self._defaults = defaults
        self._folder = NotebookFolder(_starting_folder(shell))

    @property
    def folder(self) -> Path:
        """The folder of the notebook; its last known path if it cannot be determined."""
        return self._folder.path

    def settings(self, given: Mapping[str, Any] = MappingProxyType({})) -> Settings:
        """Return the settings of a cell with these options; its gateway and its request's own options are no part of them."""
        from imagegen_magic.engine import settings

        own = {name: value for name, value in given.items() if name in SETTINGS and SETTINGS[name].setting in ("engine", "notebook")}
        if given.get("fresh"):
            own["reuse"] = False
        return settings.load(self.folder).overlay("%config", self._defaults()).replace("this cell", **own)

    def keys(self) -> tuple[str, ...]:
        """Return all known keys, for redaction; an invalid configuration does not hide them."""
        from imagegen_magic.engine import credentials
        from imagegen_magic.errors import ImageGenError

        try:
            return credentials.known(self.settings())
        except ImageGenError:
            return credentials.known()


def current_shell() -> Any:
    """Return the running IPython shell; None in a script."""
    from IPython.core.getipython import get_ipython

    return get_ipython()


def current_context() -> NotebookContext | None:
    """Return the context of the loaded extension; None if it is not loaded."""
    shell = current_shell()
    magics = shell.magics_manager.registry.get("ImageGenMagics") if shell else None
    return None if magics is None else magics.context


def current_settings() -> Settings:
    """Return the settings in force: those of the loaded extension, else those of the working folder."""
    from imagegen_magic.engine import settings

    context = current_context()
    return context.settings() if context else settings.load()


def notebook_folder() -> Path:
    """Return the folder of the notebook if the extension is loaded, else the working folder."""
    context = current_context()
    return context.folder if context else working()


def has_kernel(shell: Any) -> bool:
    """Whether the shell belongs to a kernel; a terminal's does not."""
    return hasattr(shell, "kernel")


def accepts_input(shell: Any) -> bool:
    """Whether the front end of a kernel can answer a question; nbclient and papermill cannot."""
    return has_kernel(shell) and bool(getattr(shell.kernel, "_allow_stdin", True))


def is_voila() -> bool:
    """Whether Voilà runs this kernel: it forbids input, shows widgets, and has no cells."""
    return os.environ.get("SERVER_SOFTWARE", "").startswith("voila")


def is_deepnote() -> bool:
    """Whether Deepnote runs this kernel: it accepts input and shows the text of a widget."""
    return bool(os.environ.get("DEEPNOTE_PROJECT_ID"))


def can_open_widgets(shell: Any) -> bool:
    """Whether widgets can be created: there is a kernel, and ipywidgets is installed."""
    return has_kernel(shell) and importlib.util.find_spec("ipywidgets") is not None


def shows_widgets(shell: Any) -> bool:
    """Whether the front end shows widgets: no terminal does; nbclient and papermill would save every model that was ever opened."""
    return can_open_widgets(shell) and not is_deepnote() and (accepts_input(shell) or is_voila())


def _starting_folder(shell: Any) -> Path:
    """Return the folder of the notebook: a kernel starts there, and no %cd moves the images.

    JPY_SESSION_NAME holds the path of the notebook. If the kernel started in another folder, the variable was inherited from
    another notebook, and only the working folder is known, as in a terminal.
    """
    session = os.path.dirname(os.environ.get("JPY_SESSION_NAME", ""))
    started = getattr(shell, "starting_dir", "")
    if session and os.path.isdir(started) and os.path.realpath(session) == os.path.realpath(started):
        return Path(started)
    return working()
