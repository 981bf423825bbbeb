"""The gateways: the files in `gateways/`, configured look-alikes, and the entry points of other packages."""

from __future__ import annotations

import difflib
import functools
import importlib
import pkgutil
import re
import sys
import warnings
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from urllib.parse import SplitResult, urlsplit

from imagegen_magic.errors import UnknownProvider
from imagegen_magic.providers import gateways, urls
from imagegen_magic.providers.base import Provider

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

GROUP = "imagegen_magic.providers"
LookAlikes = Mapping[str, Mapping[str, Any]]

_SETTINGS = {"like", "base_url", "key_variable", "title", "docs_url", "upload_url"}


def __getattr__(name: str) -> tuple[str, ...]:
    """Return `BUILT_IN`: the gateways with a file in `gateways/`; the file has the gateway's name."""
    if name != "BUILT_IN":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return tuple(_built_in())


@functools.cache
def _built_in() -> dict[str, Provider]:
    """Return the gateways with a file in `gateways/`, by name; a file without a gateway of its name is ignored."""
    found = (_gateway_in(module.name) for module in pkgutil.iter_modules(gateways.__path__))
    return {provider.name: provider for provider in sorted(filter(None, found), key=lambda provider: provider.name)}


def _gateway_in(name: str) -> Provider | None:
    """Return the gateway of a file, None if it has none. Warns if the file cannot be imported."""
    try:
        module = importlib.import_module(f"{gateways.__name__}.{name}")
    except Exception as error:  # a file that a user added may raise anything; the other gateways work without it
        warnings.warn(f"{name}.py beside the gateways cannot be imported ({type(error).__name__}: {error})", RuntimeWarning, stacklevel=3)
        return None
    found = (each for each in vars(module).values() if isinstance(each, type) and issubclass(each, Provider))
    return next((each() for each in found if vars(each).get("name") == name), None)


def provider_names(look_alikes: LookAlikes = {}) -> tuple[str, ...]:  # noqa: B006  # never written to
    """Return the names of all gateways: built in, configured, registered by other packages."""
    return tuple(dict.fromkeys((*_built_in(), *look_alikes, *_entry_points())))


def entry_points_loaded() -> bool:
    """Return whether the installed packages were already searched."""
    return _scan.cache_info().currsize > 0


def get_provider(name: str, look_alikes: LookAlikes = {}) -> Provider:  # noqa: B006  # never written to
    """Return the gateway of that name in any case; raises UnknownProvider, also if its configuration or package is broken."""
    wanted = str(name).strip().lower()
    configured = {key.lower(): key for key in look_alikes}
    if wanted in configured:
        return _look_alike(configured[wanted], look_alikes[configured[wanted]])
    if wanted in _built_in():
        return _built_in()[wanted]
    entries = {key.lower(): entry for key, entry in _entry_points().items()}
    if wanted in entries:
        return _load(entries[wanted])
    raise _unknown(wanted, (*_built_in(), *look_alikes, *_entry_points()))


def all_providers(look_alikes: LookAlikes = {}) -> tuple[Provider, ...]:  # noqa: B006  # never written to
    """Return every gateway; a plug-in that is broken is left out, with a warning. Raises UnknownProvider for a bad look-alike."""
    own = [get_provider(name, look_alikes) for name in dict.fromkeys((*_built_in(), *look_alikes))]
    return (*own, *_registered({provider.name for provider in own}))


def usable_providers(look_alikes: LookAlikes = {}) -> tuple[Provider, ...]:  # noqa: B006  # never written to
    """Return every gateway that can be used; a look-alike that is configured wrongly is left out."""
    own = list(filter(None, (_if_usable(name, look_alikes) for name in dict.fromkeys((*_built_in(), *look_alikes)))))
    return (*own, *_registered({provider.name for provider in own}))


def config_errors(look_alikes: LookAlikes) -> dict[str, UnknownProvider]:
    """Return the error of each look-alike that is configured wrongly, by its name."""
    found: dict[str, UnknownProvider] = {}
    for name in look_alikes:
        try:
            get_provider(name, look_alikes)
        except UnknownProvider as error:
            found[name] = error
    return found


def _if_usable(name: str, look_alikes: LookAlikes) -> Provider | None:
    try:
        return get_provider(name, look_alikes)
    except UnknownProvider:
        return None


def _look_alike(name: str, settings: object) -> Provider:
    """Return a gateway with the API of a known one at its own address; its prices are unknown."""
    where = f"[tool.imagegen.providers.{name}]"
    if name.lower() in _built_in():
        step = f"choose another name, or set {name.upper()}_BASE_URL to move {name}"
        raise _bad(where, "has the name of a gateway that is built in", step)
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_-]*", name):
        raise _bad(where, "has a name that is no plain word", "use letters, digits, - and _")
    if not isinstance(settings, Mapping):
        raise _bad(where, "is no table", "give it like, base_url and key_variable")
    if strange := sorted(set(map(str, settings)) - _SETTINGS):
        raise _bad(where, f"has unknown keys {', '.join(strange)}", f"it may have {', '.join(sorted(_SETTINGS))}")
    if wrong := sorted(key for key, value in settings.items() if not isinstance(value, str)):
        raise _bad(where, f"has no text in {', '.join(wrong)}", "write it in quotes")
    parent = _parent(where, settings)
    key_variable = settings.get("key_variable", re.sub(r"\W", "_", f"{name}_API_KEY", flags=re.ASCII).upper())
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", key_variable):
        raise _bad(where, "has a key_variable that is no name of an environment variable", "give the variable's name, never the key itself")
    about = {
        "name": name,
        "title": settings.get("title", name),
        "base_url": _base_url(where, settings),
        "key_variable": key_variable,
        "docs_url": settings.get("docs_url", ""),
        "dialect": parent.dialect or parent.name,
        "price": Provider.price,
        **_upload(where, settings, parent),
        "__reduce__": lambda self: (get_provider, (name, {name: dict(settings)})),  # its class is in no module
        "__doc__": f"{name}, which speaks {parent.title}'s dialect.",
    }
    made: type[Provider] = type(name, (type(parent),), about)
    return made()


def _upload(where: str, settings: Mapping[str, str], parent: Provider) -> dict[str, Any]:
    """Return the upload of a look-alike: at its own address or at `upload_url`, never at the file host of its parent."""
    rule, upload_url = parent.upload, settings.get("upload_url", "").strip()
    if upload_url:
        parts = _plain_address(upload_url)
        if rule is None:
            raise _bad(where, f"has an upload_url, but {parent.title}'s dialect has no upload", "leave upload_url out")
        if parts is None:
            raise _bad(where, "has an upload_url that is no plain https address", "give it like https://files.example.com/upload")
        usual = parts.scheme == "https" and parts.port in (None, 443)
        named = parts.hostname if usual else f"{parts.scheme}://{parts.netloc}"
        return {"upload": replace(rule, address=upload_url, host=parts.hostname or ""), "key_hosts": (named,)}
    if rule is None or not rule.address.startswith("/"):
        return {"upload": None, "key_hosts": ()}
    return {"upload": replace(rule, host=urlsplit(_base_url(where, settings)).hostname or ""), "key_hosts": ()}


def _parent(where: str, settings: Mapping[str, str]) -> Provider:
    like = settings.get("like")
    if like is None:
        raise _bad(where, "does not say whose dialect it speaks", f"give it like, one of {', '.join(_built_in())}")
    try:
        return get_provider(like)
    except UnknownProvider as error:
        raise _bad(where, f"is like {like!r}, which is no gateway", error.hint) from None


def _base_url(where: str, settings: Mapping[str, str]) -> str:
    address = settings.get("base_url", "").strip().rstrip("/")
    if not address:
        raise _bad(where, "has no base_url", "give it the gateway's https address")
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


def _unknown(name: str, names: Iterable[str]) -> UnknownProvider:
    names = tuple(dict.fromkeys(names))
    close = difflib.get_close_matches(name, names, 2, 0.5)
    hint = f"did you mean {' or '.join(close)}; " if close else ""
    return UnknownProvider(f"No gateway is called {name[:80]!r}", hint=f"{hint}there are {', '.join(names)}")


def _entry_points() -> dict[str, EntryPoint]:
    """Return the entry points of other packages, by name; a built-in gateway keeps its name."""
    return dict(_scan(tuple(sys.path)))


@functools.lru_cache(maxsize=4)
def _scan(path: tuple[str, ...]) -> tuple[tuple[str, EntryPoint], ...]:
    """Search all installed packages, which takes milliseconds, once for each search path."""
    from importlib.metadata import entry_points

    return tuple((entry.name, entry) for entry in entry_points(group=GROUP) if entry.name not in _built_in())


def _registered(taken: Iterable[str]) -> Iterator[Provider]:
    for name, entry in _entry_points().items():
        if name in taken:
            continue
        try:
            yield _load(entry)
        except UnknownProvider as error:
            warnings.warn(str(error), RuntimeWarning, stacklevel=3)


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
        f"The gateway {entry.name!r} is registered by {entry.value} but cannot be used: {why}", hint="update or remove that package"
    )
