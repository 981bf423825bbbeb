"""`%imagegen` and `%%imagegen`: what IPython sees of the house; everything heavier is imported when it is first used."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from IPython.core.magic import Magics, line_cell_magic, magics_class, no_var_expand

from imagegen_magic.engine.storage.notebook_folder import NotebookFolder, working
from imagegen_magic.notebook.arguments import options
from imagegen_magic.notebook.magic import input_transformer
from imagegen_magic.notebook.output import terminal

if TYPE_CHECKING:
    from imagegen_magic.engine.settings import Settings

_MATCHER = "imagegen_magic"


@magics_class
class ImageGenMagics(Magics):
    """`%imagegen`, `%%imagegen` and their defaults; an unset default leaves the word to pyproject.toml, the environment, the gateway.

    `jobs` holds what this session started with --no-wait; `trace` is the last error's,
    redacted; `loaded` says that a wrong setting is refused at once; `greeted` says that waiting pictures were told of.
    """

    shell: Any  # never None once made
    vars().update(options.traits())  # a trait for every default, from the one table

    def __init__(self, shell: Any) -> None:
        super().__init__(shell=shell)
        self._place = NotebookFolder(_beside(shell))
        self.jobs: list[Any] = []
        self.trace = ""
        self.greeted = False
        _attach(self)
        terminal.tolerate()
        self.loaded = True

    @no_var_expand
    @line_cell_magic
    def imagegen(self, line: str, cell: str | None = None) -> None:  # noqa: D102  # its docstring is the help, below
        from imagegen_magic.notebook.magic import cell as cell_runner

        cell_runner.run(self, line, cell)

    imagegen.__doc__ = options.help_text()

    @property
    def folder(self) -> Path:
        """Where the notebook is now; its last known path where that cannot be known."""
        return self._place.path

    def settings(self) -> Settings:
        """Return the settings in force for a cell without options."""
        from imagegen_magic.engine import settings

        said = {option.name: getattr(self, option.name) for option in options.settings()}
        return settings.load(self.folder).overlaid("%config", said)

    def keys(self) -> tuple[str, ...]:
        """Return all known keys, to be kept unseen; a wrong configuration does not keep them from being known."""
        from imagegen_magic.engine import credentials as keys
        from imagegen_magic.errors import ImageGenError

        try:
            return keys.known(self.settings())
        except ImageGenError:
            return keys.known()


def _beside(shell: Any) -> Path:
    """Return where the notebook is: a kernel starts there, and no %cd moves the pictures.

    Jupyter tells a kernel the path of its notebook; where the kernel started elsewhere, that is another one's, inherited, and the
    working folder is all that is known, as it is in a terminal.
    """
    told, started = os.path.dirname(os.environ.get("JPY_SESSION_NAME", "")), getattr(shell, "starting_dir", "")
    if told and os.path.isdir(started) and os.path.realpath(told) == os.path.realpath(started):
        return Path(started)
    return working()


def _attach(magics: ImageGenMagics) -> None:
    """Give the shell TAB, and prompts as they are typed."""
    _detach(magics.shell)
    input_transformer.attach(magics.shell)
    if matcher := _matcher(magics):
        magics.shell.Completer.custom_matchers.append(matcher)


def _matcher(magics: ImageGenMagics) -> Any:
    try:
        from IPython.core.completer import context_matcher
    except ImportError:  # a provisional interface: without it there is no TAB, and everything else
        return None

    @context_matcher(identifier=_MATCHER)
    def matcher(context: Any) -> Any:
        if input_transformer.NAME not in context.full_text:
            return {"completions": []}
        from imagegen_magic.notebook.magic import completion

        return completion.match(magics, context)

    return matcher


def _detach(shell: Any) -> None:
    input_transformer.detach(shell)
    matchers = getattr(shell.Completer, "custom_matchers", [])
    matchers[:] = [one for one in matchers if getattr(one, "matcher_identifier", "") != _MATCHER]


def unload(shell: Any) -> None:
    """Take the magics and all that came with them away again."""
    _detach(shell)
    manager = shell.magics_manager
    manager.registry.pop(ImageGenMagics.__name__, None)
    for kind in ("line", "cell"):
        manager.magics[kind].pop(input_transformer.NAME, None)
    shell.configurables[:] = [one for one in shell.configurables if not isinstance(one, ImageGenMagics)]
