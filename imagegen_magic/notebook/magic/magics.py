"""`%imagegen` and `%%imagegen` as IPython's magics; everything heavier is imported on first use."""

from __future__ import annotations

import sys
from typing import Any

from IPython.core.magic import Magics, line_cell_magic, magics_class, no_var_expand
from traitlets import Bool, Float, Int, TraitError, Unicode

from imagegen_magic import readers
from imagegen_magic.notebook import subcommands
from imagegen_magic.notebook.context import NotebookContext
from imagegen_magic.notebook.magic import input_transformer
from imagegen_magic.options import SETTINGS, Option

_MATCHER = "imagegen_magic"
_TRAITS: dict[Any, Any] = {
    readers.flag: Bool,
    **dict.fromkeys((readers.count, readers.compression, readers.preview), Int),
    **dict.fromkeys((readers.seconds, readers.amount, readers.share), Float),
}


def _trait(option: Option) -> Any:
    """Return a trait that refuses what the option's reader refuses, and keeps the value as it was given; None is an unset value.

    An invalid value of a configuration file is kept until a cell needs it: the extension must load, or nothing could be collected.
    """
    kind = _TRAITS.get(option.read, Unicode)

    def validate(trait: Any, magics: Any, value: Any) -> Any:
        try:
            option.read(value)
        except ValueError as error:
            if getattr(magics, "loaded", False):
                raise TraitError(f"{option.name} takes {error}, not {readers.without_credentials(value)!r}") from None
        return value

    made = type(kind.__name__, (kind,), {"validate": validate})
    return made(None, allow_none=True, help=option.help).tag(config=True)


@magics_class
class ImageGenMagics(Magics):
    """`%imagegen`, `%%imagegen` and their defaults; an unset default falls back to pyproject.toml, the environment, the gateway.

    `context` is what the other parts of the notebook use. Once `loaded`, an invalid value of a setting is refused when it is set.
    """

    shell: Any  # never None after __init__
    vars().update({name: _trait(option) for name, option in SETTINGS.items()})

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

    imagegen.__doc__ = subcommands.help_text()

    def _defaults(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in SETTINGS}


def _is_utf8(stream: Any) -> bool:
    return str(getattr(stream, "encoding", None) or "utf-8").lower().replace("-", "") == "utf8"


def _attach(notebook: NotebookContext) -> None:
    """Register completion and the input transformations with the shell."""
    _detach(notebook.shell)
    input_transformer.attach(notebook.shell)
    notebook.shell.Completer.custom_matchers.append(_matcher(notebook))


def _matcher(notebook: NotebookContext) -> Any:
    from IPython.core.completer import context_matcher

    @context_matcher(identifier=_MATCHER)
    def matcher(completer: Any) -> Any:
        if input_transformer.NAME not in completer.full_text:
            return {"completions": []}
        from imagegen_magic.notebook.magic import completion

        return completion.match(notebook, completer)

    return matcher


def _detach(shell: Any) -> None:
    input_transformer.detach(shell)
    matchers = shell.Completer.custom_matchers
    matchers[:] = [one for one in matchers if getattr(one, "matcher_identifier", "") != _MATCHER]


def unload(shell: Any) -> None:
    """Remove the magics and all that came with them."""
    _detach(shell)
    manager = shell.magics_manager
    manager.registry.pop(ImageGenMagics.__name__, None)
    for kind in ("line", "cell"):
        manager.magics[kind].pop(input_transformer.NAME, None)
    shell.configurables[:] = [one for one in shell.configurables if not isinstance(one, ImageGenMagics)]
