"""`%imagegen` and `%%imagegen` as IPython's magics; everything heavier is imported on first use."""

from __future__ import annotations

import sys
from typing import Any

from IPython.core.magic import Magics, line_cell_magic, magics_class, no_var_expand

from imagegen_magic.notebook.arguments import options
from imagegen_magic.notebook.context import NotebookContext
from imagegen_magic.notebook.magic import input_transformer

_MATCHER = "imagegen_magic"


@magics_class
class ImageGenMagics(Magics):
    """`%imagegen`, `%%imagegen` and their defaults; an unset default falls back to pyproject.toml, the environment, the gateway.

    `context` is what the other parts of the notebook use. Once `loaded`, an invalid value of a setting is refused when it is set.
    """

    shell: Any  # never None after __init__
    vars().update(options.traits())  # a trait for every default, from the one table

    def __init__(self, shell: Any) -> None:
        super().__init__(shell=shell)
        self.context = NotebookContext(shell, self._defaults)
        _attach(self.context)
        if not _is_utf8(sys.stdout):
            from imagegen_magic.notebook.output import terminal

            terminal.tolerate()
        self.loaded = True

    @no_var_expand
    @line_cell_magic
    def imagegen(self, line: str, cell: str | None = None) -> None:  # noqa: D102  # its docstring is the help, below
        from imagegen_magic.notebook.magic import cell as cell_runner

        cell_runner.run(self.context, line, cell)

    imagegen.__doc__ = options.help_text()

    def _defaults(self) -> dict[str, Any]:
        return {option.name: getattr(self, option.name) for option in options.settings()}


def _is_utf8(stream: Any) -> bool:
    return str(getattr(stream, "encoding", None) or "utf-8").lower().replace("-", "") == "utf8"


def _attach(notebook: NotebookContext) -> None:
    """Register completion and the input transformations with the shell."""
    _detach(notebook.shell)
    input_transformer.attach(notebook.shell)
    if matcher := _matcher(notebook):
        notebook.shell.Completer.custom_matchers.append(matcher)


def _matcher(notebook: NotebookContext) -> Any:
    try:
        from IPython.core.completer import context_matcher
    except ImportError:  # a provisional interface: without it only completion is missing
        return None

    @context_matcher(identifier=_MATCHER)
    def matcher(completer: Any) -> Any:
        if input_transformer.NAME not in completer.full_text:
            return {"completions": []}
        from imagegen_magic.notebook.magic import completion

        return completion.match(notebook, completer)

    return matcher


def _detach(shell: Any) -> None:
    input_transformer.detach(shell)
    matchers = getattr(shell.Completer, "custom_matchers", [])
    matchers[:] = [one for one in matchers if getattr(one, "matcher_identifier", "") != _MATCHER]


def unload(shell: Any) -> None:
    """Remove the magics and all that came with them."""
    _detach(shell)
    manager = shell.magics_manager
    manager.registry.pop(ImageGenMagics.__name__, None)
    for kind in ("line", "cell"):
        manager.magics[kind].pop(input_transformer.NAME, None)
    shell.configurables[:] = [one for one in shell.configurables if not isinstance(one, ImageGenMagics)]
