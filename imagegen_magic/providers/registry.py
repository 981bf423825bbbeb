"""The gateways: the files in `gateways/`, those of pyproject.toml, and the entry points of other packages."""

from __future__ import annotations

import difflib
import functools
import importlib
import pkgutil
import re
import sys
import warnings
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from urllib.parse import SplitResult, urlsplit

from imagegen_magic.errors import UnknownProvider, UnsupportedOption
from imagegen_magic.providers import gateways, urls
from imagegen_magic.providers.base import Provider
from imagegen_magic.providers.corrections import WrongCorrection, corrected

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

GROUP = "imagegen_magic.providers"
Tables = Mapping[str, Mapping[str, Any]]
"""The tables of `[tool.imagegen.providers]`, by the name of their gateway."""

_KEYS = {"like", "base_url", "key_variable", "title", "docs_url", "upload_url"}


def __getattr__(name: str) -> tuple[str, ...]:
    """Return `BUILT_IN`: the gateways with a file in `gateways/`; the file has the gateway's name, with _ for -."""
    if name != "BUILT_IN":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return tuple(_built_in())


def _built_in() -> dict[str, Provider]:
    """Return the gateways with a file in `gateways/` and an address, by name."""
    return {name: provider for name, provider in _in_files().items() if not provider.template}


@functools.cache
def _in_files() -> dict[str, Provider]:
    """Return the gateways and templates with a file in `gateways/`, by name; a file without a gateway of its name is ignored."""
    found = (_gateway_in(name) for name in _file_names())
    return {provider.name: provider for provider in sorted(filter(None, found), key=lambda provider: provider.name)}


@functools.cache
def _file_names() -> frozenset[str]:
    return frozenset(module.name for module in pkgutil.iter_modules(gateways.__path__))


def _in_file_of(name: str) -> Provider | None:
    """Return the gateway or template of that name without importing the files of the others; None if it has no file."""
    file = name.replace("-", "_")
    found = _gateway_in(file) if file in _file_names() else None
    return found if found is not None and found.name == name else None


@functools.cache
def _gateway_in(name: str) -> Provider | None:
    """Return the gateway of a file, None if it has none. Warns if the file cannot be imported."""
    try:
        module = importlib.import_module(f"{gateways.__name__}.{name}")
    except Exception as error:  # a file that a user added may raise anything; the other gateways work without it
        warnings.warn(f"{name}.py beside the services cannot be imported ({type(error).__name__}: {error})", RuntimeWarning, stacklevel=3)
        return None
    found = (each for each in vars(module).values() if isinstance(each, type) and issubclass(each, Provider))
    return next((each() for each in found if str(vars(each).get("name", "")).replace("-", "_") == name), None)


def built_in() -> tuple[Provider, ...]:
    """Return the providers with a file in `gateways/`, by name."""
    return tuple(_built_in().values())


def templates() -> tuple[Provider, ...]:
    """Return those that only `like` in [tool.imagegen.providers.NAME] makes a provider, by name."""
    return tuple(provider for provider in _in_files().values() if provider.template)


def has_file(name: str) -> bool:
    """Return whether a provider or a template of that name has a file in `gateways/`."""
    return _in_file_of(name) is not None


def in_file(name: str) -> Provider:
    """Return the gateway or template with a file in `gateways/`. Raises KeyError."""
    return _in_files()[name]


def moved(provider: Provider, base_url: str) -> Provider:
    """Return what speaks at an address that is given for a provider: itself, or a server like it with its name and its key."""
    template = provider.template_at(base_url)
    if not template:
        return provider
    parent = in_file(template)
    attributes = {
        "name": provider.name,
        "title": (urls.split(base_url) or urlsplit("//server")).hostname,
        "base_url": base_url,
        "base_variable": provider.base_variable,
        "key_variable": provider.key_variable,
        "template": False,
        "dialect": template,
        "__reduce__": lambda self: (moved, (provider, base_url)),  # its class is in no module
        "__doc__": f"{provider.name} at another address, which speaks {parent.title}'s dialect.",
    }
    made: type[Provider] = type(type(parent).__name__, (type(parent),), attributes)
    return made()


def provider_names(tables: Tables = {}) -> tuple[str, ...]:  # noqa: B006  # never written to
    """Return the names of all gateways: built in, configured, registered by other packages."""
    return tuple(dict.fromkeys((*_built_in(), *tables, *_entry_points())))


def entry_points_loaded() -> bool:
    """Return whether the installed packages were already searched."""
    return _scan.cache_info().currsize > 0


def get_provider(name: str, tables: Tables = {}) -> Provider:  # noqa: B006  # never written to
    """Return the gateway of that name in any case; raises UnknownProvider, also if its configuration or package is broken."""
    wanted = str(name).strip().lower()
    for configured, table in tables.items():
        if configured.lower() == wanted:
            return _configured(configured, table)
    if (built_in := _in_file_of(wanted) or _built_in().get(wanted)) is not None and not built_in.template:
        return built_in
    for registered, entry in _entry_points().items():
        if registered.lower() == wanted:
            return _load(entry)
    if wanted in _in_files():
        hint = f'write [tool.imagegen.providers.NAME] with like = "{wanted}" and base_url in pyproject.toml, then use -p NAME'
        raise UnknownProvider(f"{wanted} needs an address of its own", hint=hint)
    names = provider_names(tables)
    close = difflib.get_close_matches(wanted, names, 2, 0.5)
    hint = f"did you mean {' or '.join(close)}; " if close else ""
    raise UnknownProvider(f"No service is called {wanted[:80]!r}", hint=f"{hint}there are {', '.join(names)}")


def all_providers(tables: Tables = {}) -> tuple[Provider, ...]:  # noqa: B006  # never written to
    """Return every gateway that can be used. One that is configured wrongly is left out, and a broken plug-in too, with a warning."""
    errors, names = config_errors(tables), dict.fromkeys((*_built_in(), *tables))
    found = {name: get_provider(name, tables) for name in names if name not in errors}
    for name, entry in _entry_points().items():
        if name not in names:
            try:
                found[name] = _load(entry)
            except UnknownProvider as error:
                warnings.warn(str(error), RuntimeWarning, stacklevel=2)
    return tuple(found.values())


def config_errors(tables: Tables) -> dict[str, UnknownProvider]:
    """Return the error of each gateway that is configured wrongly, by its name."""
    found: dict[str, UnknownProvider] = {}
    for name in tables:
        try:
            get_provider(name, tables)
        except UnknownProvider as error:
            found[name] = error
    return found


def _configured(name: str, table: object) -> Provider:
    """Return a gateway with the API of a known one at its own address; its prices are unknown."""
    where = f"[tool.imagegen.providers.{name}]"
    if name.lower() in _built_in():
        return _corrected(where, name, table)
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_-]*", name):
        raise _bad(where, "has a name that is no plain word", "use letters, digits, - and _")
    if not isinstance(table, Mapping):
        raise _bad(where, "is no table", "give it like, base_url and key_variable")
    if wrong := sorted(str(key) for key, value in table.items() if not isinstance(value, str)):
        raise _bad(where, f"has no text in {', '.join(wrong)}", "write it in quotes")
    parent = _parent(where, table)
    allowed = {*_KEYS, *parent.table_keys}
    if unknown := sorted(set(map(str, table)) - allowed):
        raise _bad(where, f"has unknown keys {', '.join(unknown)}", f"it may have {', '.join(sorted(allowed))}")
    base_url = _base_url(where, table)
    key_variable = table.get("key_variable", re.sub(r"\W", "_", f"{name}_API_KEY", flags=re.ASCII).upper())
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", key_variable) and (key_variable or parent.needs_key):
        raise _bad(where, "has a key_variable that is no name of an environment variable", "give the variable's name, never the key itself")
    try:
        further = parent.from_table(table)
    except UnsupportedOption as error:
        raise _bad(where, error.what, error.hint) from None
    attributes = {
        "name": name,
        "title": table.get("title", name),
        "base_url": base_url,
        **further,
        "key_variable": key_variable,
        "needs_key": bool(key_variable) if "key_variable" in table else parent.needs_key,
        "template": False,
        "base_variable": "",
        "other_key_variables": (),
        "extra_headers": {},
        "docs_url": table.get("docs_url", ""),
        "dialect": parent.dialect or parent.name,
        "price": Provider.price,
        **_upload(where, table.get("upload_url", "").strip(), base_url, parent),
        "__reduce__": lambda self: (get_provider, (name, {name: dict(table)})),  # its class is in no module
        "__doc__": f"{name}, which speaks {parent.title}'s dialect.",
    }
    made: type[Provider] = type(name, (type(parent),), attributes)
    return made()


def _corrected(where: str, name: str, table: object) -> Provider:
    """Return a built-in gateway with the user's corrections."""
    step = f"choose another name, or set {name.upper()}_BASE_URL to move {name}"
    if not isinstance(table, Mapping) or "like" in table or "base_url" in table:
        raise _bad(where, "has the name of a service that is built in", step)
    try:
        return corrected(_built_in()[name.lower()], table, "")
    except WrongCorrection as error:
        raise _bad(where, str(error), error.hint) from None


def _upload(where: str, upload_url: str, base_url: str, parent: Provider) -> dict[str, Any]:
    """Return the upload of a configured gateway: at its own address or at `upload_url`, never at the file host of its parent."""
    rule = parent.upload
    if upload_url:
        parts = _plain_address(upload_url)
        if rule is None:
            raise _bad(where, f"has an upload_url, but {parent.title}'s dialect has no upload", "leave upload_url out")
        if parts is None:
            raise _bad(where, "has an upload_url that is no plain https address", "give it like https://files.example.com/upload")
        is_usual = parts.scheme == "https" and parts.port in (None, 443)
        key_host = parts.hostname if is_usual else f"{parts.scheme}://{parts.netloc}"
        return {"upload": replace(rule, address=upload_url, host=parts.hostname or ""), "key_hosts": (key_host,)}
    own = replace(rule, host=urlsplit(base_url).hostname or "") if rule and rule.address.startswith("/") else None
    return {"upload": own, "key_hosts": ()}


def _parent(where: str, table: Mapping[str, str]) -> Provider:
    like = table.get("like")
    if like is None:
        raise _bad(where, "does not say whose dialect it speaks", f"give it like, one of {', '.join(_in_files())}")
    if (found := _in_files().get(like.strip().lower())) is not None:
        return found
    try:
        return get_provider(like)
    except UnknownProvider as error:
        raise _bad(where, f"is like {like!r}, which is no service", error.hint) from None


def _base_url(where: str, table: Mapping[str, str]) -> str:
    address = table.get("base_url", "").strip().rstrip("/")
    if not address:
        raise _bad(where, "has no base_url", "give it the service's https address")
    if _plain_address(address) is None:
        raise _bad(where, "has a base_url that is no plain https address", "give it like https://api.example.com")
    return address


def _plain_address(address: str) -> SplitResult | None:
    """Return the parts of an https address (http in a private network) without query, fragment and user; else None."""
    parts = urls.split(address)
    if parts is None or parts.query or parts.fragment or urls.has_user(address):
        return None
    zone = urls.zone_of(parts.hostname or "")
    local = parts.scheme == "http" and zone in (urls.Zone.PRIVATE, urls.Zone.LOOPBACK)
    return parts if (parts.scheme == "https" or local) and zone is not urls.Zone.REFUSED else None


def _bad(where: str, what: str, step: str) -> UnknownProvider:
    return UnknownProvider(f"{where} in pyproject.toml {what}", hint=step)


def _entry_points() -> dict[str, EntryPoint]:
    """Return the entry points of other packages, by name; a built-in gateway keeps its name."""
    return dict(_scan(tuple(sys.path)))


@functools.lru_cache(maxsize=4)
def _scan(path: tuple[str, ...]) -> tuple[tuple[str, EntryPoint], ...]:
    """Search all installed packages, which takes milliseconds, once for each search path."""
    from importlib.metadata import entry_points

    return tuple((entry.name, entry) for entry in entry_points(group=GROUP) if entry.name not in _built_in())


def _load(entry: EntryPoint) -> Provider:
    try:
        found = entry.load()
        provider = found() if isinstance(found, type) else found
    except Exception as error:  # another package may raise anything while it is imported
        raise _broken(entry, f"{type(error).__name__}: {error}") from error
    if not isinstance(provider, Provider) or getattr(provider, "name", None) != entry.name:
        raise _broken(entry, f"it is no Provider with the name {entry.name!r}")
    if missing := [each for each in ("title", "base_url", "key_variable", "models") if not getattr(provider, each, None)]:
        raise _broken(entry, f"it has no {', '.join(missing)}")
    return provider


def _broken(entry: EntryPoint, why: str) -> UnknownProvider:
    return UnknownProvider(
        f"The service {entry.name!r} is registered by {entry.value} but cannot be used: {why}", hint="update or remove that package"
    )
