"""`%imagegen` and `%%imagegen`: what IPython sees of the house; everything heavier is imported when it is first used."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from IPython.core.inputtransformer2 import HelpEnd, TokenTransformBase
from IPython.core.magic import Magics, line_cell_magic, magics_class, no_var_expand

from imagegen_magic.notebook import options

if TYPE_CHECKING:
    from imagegen_magic.engine.keys import Key
    from imagegen_magic.engine.settings import Settings

_NAME = "imagegen"


@magics_class
class ImageGenMagics(Magics):
    """`%imagegen`, `%%imagegen` and their defaults; an unset default leaves the word to pyproject.toml, the environment, the gateway.

    `jobs` holds what this session started with --no-wait; `trace` the last error's, redacted; `greeted` says
    that waiting pictures were told of.
    """

    shell: Any  # never None once made
    vars().update(options.traits())  # a trait for every default, from the one table

    def __init__(self, shell: Any) -> None:
        super().__init__(shell=shell)
        self.folder = Path.cwd()  # beside the notebook: a kernel starts there, and a later %cd does not move the pictures
        self.jobs: list[Any] = []
        self.trace = ""
        self.greeted = False
        _attach(self)

    @no_var_expand
    @line_cell_magic
    def imagegen(self, line: str, cell: str | None = None) -> None:  # noqa: D102  # its docstring is the help, below
        from imagegen_magic.notebook import cells

        cells.run(self, line, cell)

    imagegen.__doc__ = options.help_text()

    def settings(self) -> Settings:
        """Return the settings in force for a cell without options."""
        from imagegen_magic.engine import settings

        said = {option.name: getattr(self, option.name) for option in options.settings()}
        return settings.load(self.folder).replace("%config", **said)

    def keys(self) -> list[Key]:
        """Return every key of this session, to be kept unseen."""
        from imagegen_magic.engine import keys
        from imagegen_magic.errors import ImageGenError
        from imagegen_magic.providers import registry

        try:
            look_alikes = self.settings().look_alikes
            providers = registry.all_providers(look_alikes)
        except ImageGenError:
            providers = registry.all_providers({})  # a misconfigured gateway must not keep the others' keys from being blotted out
        return [key for provider in providers if (key := keys.find(provider))]


class PromptEnd(TokenTransformBase):
    """Keeps `%imagegen is this a fox?` a prompt; IPython would read it as a question about the last word."""

    priority = HelpEnd.priority - 1

    @classmethod
    def find(cls, tokens_by_line: Any) -> Any:
        """Find the first such line; `%imagegen?` itself stays a question."""
        for tokens in tokens_by_line:
            first = next((token for token in tokens if token.string.strip()), None)
            if first is not None and _is_question(first.line[first.start[1] :]):
                return cls(first.start)
        return None

    def transform(self, lines: list[str]) -> list[str]:
        """Call the magic with the rest of the line as it stands."""
        line = lines[self.start_line]
        prompt = line[self.start_col :].removeprefix(f"%{_NAME}").strip()
        call = f"{line[: self.start_col]}get_ipython().run_line_magic({_NAME!r}, {prompt!r})\n"
        return [*lines[: self.start_line], call, *lines[self.start_line + 1 :]]


def _is_question(line: str) -> bool:
    prompt = line.strip().removeprefix(f"%{_NAME} ").strip()
    return line.startswith(f"%{_NAME} ") and prompt.endswith("?") and not prompt.startswith("?")


def _attach(magics: ImageGenMagics) -> None:
    """Give the shell our line reader and TAB."""
    _detach(magics.shell)
    magics.shell.input_transformer_manager.token_transformers.append(PromptEnd)
    if matcher := _matcher(magics):
        magics.shell.Completer.custom_matchers.append(matcher)


def _matcher(magics: ImageGenMagics) -> Any:
    try:
        from IPython.core.completer import context_matcher
    except ImportError:  # a provisional interface: without it there is no TAB, and everything else
        return None

    @context_matcher(identifier="imagegen_magic")
    def matcher(context: Any) -> Any:
        if _NAME not in context.full_text:
            return {"completions": []}
        from imagegen_magic.notebook import completion

        return completion.match(magics, context)

    return matcher


def _detach(shell: Any) -> None:
    matchers = getattr(shell.Completer, "custom_matchers", [])
    matchers[:] = [one for one in matchers if getattr(one, "matcher_identifier", "") != "imagegen_magic"]
    transformers = shell.input_transformer_manager.token_transformers
    transformers[:] = [one for one in transformers if one is not PromptEnd]


def unload(shell: Any) -> None:
    """Take the magics, TAB and the line reader away again."""
    _detach(shell)
    manager = shell.magics_manager
    manager.registry.pop(ImageGenMagics.__name__, None)
    for kind in ("line", "cell"):
        manager.magics[kind].pop(_NAME, None)
    shell.configurables[:] = [one for one in shell.configurables if not isinstance(one, ImageGenMagics)]
