"""Runs a subcommand of `%imagegen`: its row in `arguments.subcommands` names the module here and its function."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from IPython.core.error import UsageError

from imagegen_magic.notebook.arguments import parser
from imagegen_magic.notebook.subcommands import Command

if TYPE_CHECKING:
    from imagegen_magic.notebook.context import NotebookContext


def run(context: NotebookContext, command: Command, rest: str) -> None:
    """Run a subcommand with the text after its name; raises UsageError if that does not fit."""
    try:
        arguments, flags = parser.command_words(rest, command)
    except UsageError as error:
        raise UsageError(_misused(command, rest, str(error))) from None
    if "--help" in flags or "-h" in flags:
        print(f"{command.usage}\n    {command.help}")
        return
    if len(arguments) < command.least:
        raise UsageError(f"The subcommand is {command.usage}: {command.help}. Nothing was sent.")
    module, _, function = command.function.partition(".")
    getattr(import_module(f"imagegen_magic.notebook.commands.{module}"), function)(context, arguments, flags)


def _misused(command: Command, rest: str, why: str) -> str:
    if command.name == "login":  # the text may be the key: it is not repeated
        return f"{command.usage} takes nothing else: it asks for the key and does not show it."
    return f"{why} Nothing was sent. For a picture of these words: %imagegen -- {command.name} {rest}."
