"""`%imagegen login`, `config`, `error` and `panel`: the keys and settings of this session, its last error, and its panel."""

from __future__ import annotations

import getpass
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from IPython.core.error import StdinNotImplementedError, UsageError
from IPython.display import display

from imagegen_magic._version import __version__
from imagegen_magic.engine import credentials, hosted_secrets
from imagegen_magic.engine.credentials import Key
from imagegen_magic.engine.settings import own_file, save_own, unknown_variables
from imagegen_magic.errors import ImageGenError
from imagegen_magic.notebook.output.tables import Note, Page, Table
from imagegen_magic.options import SETTINGS
from imagegen_magic.providers import registry
from imagegen_magic.secret_patterns import redact

if TYPE_CHECKING:
    from imagegen_magic.engine.settings import Settings
    from imagegen_magic.notebook.context import NotebookContext
    from imagegen_magic.providers.base import Provider

_ADDRESS = re.compile(r"https?://[^\s?#@]+")
_SHOWN = {  # the fields of a configured gateway that are shown, and their form
    "like": re.compile(r"[A-Za-z][\w-]{0,39}"),
    "base_url": _ADDRESS,
    "upload_url": _ADDRESS,
    "docs_url": _ADDRESS,
    "key_variable": re.compile(r"[A-Z][A-Z0-9_]*"),
    "title": re.compile(r".{1,80}"),
}


def login(context: NotebookContext, arguments: list[str], flags: dict[str, str]) -> None:
    """Ask for the key of a gateway, and keep it in memory; with --save also in the system keyring."""
    settings = context.settings()
    if not arguments:
        raise UsageError(
            f"The subcommand is %imagegen login NAME, with one of {', '.join(registry.provider_names(settings.provider_tables))}."
        )
    provider = registry.get_provider(arguments[0], settings.provider_tables)
    key = _from_secrets(provider, settings) or _ask(provider)
    credentials.remember(provider.name, key)
    user = "the next cell" if provider.chosen_by_key else f"a cell with -p {provider.name}"
    print(f"The key of {provider.title} is kept until this kernel ends. Nothing was sent; {user} uses it.")
    if "--save" in flags:
        credentials.save(provider.name, key, settings.home)
        print("It is also in the system keyring.")


def _from_secrets(provider: Provider, settings: Settings) -> Key | None:
    """Return the key from a hosted notebook's secrets, unless one is set: then the user wants to type another."""
    if credentials.where(provider, settings.home) != "not set":
        return None
    key = credentials.from_secrets(provider)
    if key is not None:
        print(f"Read from the secrets of {hosted_secrets.host()}.")
    return key


def _ask(provider: Provider) -> Key:
    try:
        key = Key(getpass.getpass(f"Key of {provider.title}: "))
    except (StdinNotImplementedError, EOFError):
        step = f"set {provider.key_variable} in the environment before the kernel starts"
        raise ImageGenError("This front end cannot ask for a key", blame="you", charge="no", hint=step) from None
    if not key.reveal():
        raise ImageGenError("No key was typed", blame="you", charge="no", hint=f"run %imagegen login {provider.name} again")
    return key


def config(context: NotebookContext, arguments: list[str], flags: dict[str, str]) -> None:
    """Show every setting with its value and its source, or keep one in the user's own settings; an empty value removes it."""
    settings, keys = context.settings(), context.keys()
    if arguments:
        name, equals, value = arguments[0].partition("=")
        if not equals:
            raise UsageError("The subcommand is %imagegen config [NAME=VALUE]. Nothing was sent, and nothing was changed.")
        save_own(settings, name.strip().replace("-", "_"), value.strip() or None)
        where = own_file(settings)
        print(f"{name} is {value.strip()} in all your notebooks." if value.strip() else f"{name} is no longer set in {where}.")
        return
    rows = [_setting_row(name, settings) for name in SETTINGS]
    rows += [[name, "not used", str(error)] for name, error in settings.errors.items() if name not in SETTINGS]
    for name, near in unknown_variables().items():
        rows.append([name, "not used", f"environment; no setting has this name{f': did you mean {near}?' if near else ''}"])
    rows += [[f"providers.{name}", _configured(table), "pyproject.toml"] for name, table in settings.provider_tables.items()]
    rows = [[name, redact(value, keys), origin] for name, value, origin in rows]
    steps = '%config ImageGenMagics.NAME = "value" changes one for this session, %imagegen config NAME=VALUE for all your notebooks.'
    display(Page(Table(("setting", "value", "source"), rows), Note(steps)))


def _setting_row(name: str, settings: Settings) -> list[str]:
    error = settings.errors.get(name)
    if error is not None:
        return [name, "not used", str(error)]
    value = settings.get(name)
    return [name, "–" if value is None else str(value), settings.origin(name)]


def _configured(table: Any) -> str:
    """Return the fields of a configured gateway; a value of another form is hidden, as it may be a misplaced key."""
    if not isinstance(table, Mapping):
        return "not a table, so not shown"
    shown = []
    for name, value in table.items():
        usual = str(name) in _SHOWN and _SHOWN[str(name)].fullmatch(str(value))
        shown.append(f"{name} = {value if usual else '(not shown)'}")
    return ", ".join(shown) or "empty"


def panel(context: NotebookContext, arguments: list[str], flags: dict[str, str]) -> None:
    """Show the panel."""
    from imagegen_magic.notebook.panel.panel import Panel

    display(Panel(settings=context.settings()))


def error(context: NotebookContext, arguments: list[str], flags: dict[str, str]) -> None:
    """Print the traceback of the last error."""
    print(context.last_error or "No error yet.")


def version(context: NotebookContext, arguments: list[str], flags: dict[str, str]) -> None:
    """Print the version of this package."""
    print(f"imagegen_magic {__version__}")
