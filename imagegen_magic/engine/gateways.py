"""Which gateway a request goes to: chosen, configured, the first with a key, or the sandbox with a line that says so."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from urllib.parse import urlsplit

from imagegen_magic.engine import keys
from imagegen_magic.engine.http import SANDBOX_ORIGIN
from imagegen_magic.engine.keys import Key
from imagegen_magic.engine.settings import Settings
from imagegen_magic.errors import UnknownProvider, UnsupportedOption
from imagegen_magic.providers import registry
from imagegen_magic.providers.base import Cadence, Provider
from imagegen_magic.result import Cost

SANDBOX_SCALE = 0.05  # the sandbox's waiting times, as a share of the real ones
_SANDBOX_LOOKS = 0.25  # seconds between looks there
_SANDBOX_DEFAULT = "gccai"  # the dialect that can do most


@dataclass(frozen=True, slots=True)
class Gateway:
    """A provider at an address, with its key: where a request really goes.

    `note` is one line for a person, empty where there is nothing to say.
    """

    provider: Provider
    base_url: str
    sandbox: bool
    key: Key
    cadence: Cadence
    note: str = ""

    def money(self, cost: Cost) -> Cost:
        """Return a cost as this gateway's: the sandbox's is play money."""
        return replace(cost, source="sandbox") if self.sandbox and cost.amount is not None else cost

    @property
    def label(self) -> str:
        """The gateway's name as captions say it."""
        return f"{self.provider.name} (sandbox)" if self.sandbox else self.provider.name


def known(settings: Settings) -> Iterator[Provider]:
    """Yield every gateway there is: built in, configured, and plugged in; nothing is looked for before the first is wanted."""
    yield from registry.all_providers(settings.look_alikes)


def base_url(provider: Provider) -> str:
    """Return where the gateway is: `<NAME>_BASE_URL`, else its own address."""
    variable = f"{provider.name.upper().replace('-', '_')}_BASE_URL"
    told = os.environ.get(variable, "").strip().rstrip("/")
    if told and not _is_address(told):
        raise UnsupportedOption(
            f"{variable} = {told!r} is no address", option=variable, value=told, next_step="give it like https://api.example.com"
        )
    return told or provider.base_url


def _is_address(url: str) -> bool:
    try:
        parts = urlsplit(url)
        host = (parts.hostname or "").rstrip(".")
        return parts.scheme in ("http", "https") and bool(host) and parts.port != 0 and all(host.split(".")) and " " not in url
    except ValueError:
        return False


def choose(settings: Settings, *, provider: str | None = None, sandbox: bool | None = None, model: str | None = None) -> Gateway:
    """Choose the gateway for a request. Raises UnknownProvider, or MissingKey where the chosen one has no key."""
    sandbox = settings.get("sandbox") if sandbox is None else sandbox
    name = provider or settings.get("provider")
    if name:
        return at(registry.get_provider(name, settings.look_alikes), settings, sandbox=sandbox)
    able = [one for one in known(settings) if model is None or any(model == other.name for other in one.models)]
    if not able:
        raise UnknownProvider(f"No gateway has a model {model!r}", next_step="%imagegen models shows all of them")
    if not sandbox:
        for one in able:
            if keys.find(one, settings.home):
                return at(one, settings)
    default = next((one for one in able if one.name == _SANDBOX_DEFAULT), able[0])
    note = (
        ""
        if sandbox
        else (
            f"No gateway has a key yet, so the sandbox drew this, speaking as {default.name}: nothing is sent and nothing is charged. "
            f"For real pictures set {able[0].key_variable}, or %imagegen login NAME; %imagegen providers lists them."
        )
    )
    return at(default, settings, sandbox=True, note=note)


def at(provider: Provider, settings: Settings, *, sandbox: bool = False, note: str = "") -> Gateway:
    """Return the gateway of a provider. Raises MissingKey where it has none and is not the sandbox's."""
    least = settings.get("poll_seconds")
    if sandbox:
        cadence = Cadence(least or _SANDBOX_LOOKS, least or _SANDBOX_LOOKS, provider.cadence.batch)
        return Gateway(provider, f"{SANDBOX_ORIGIN}/{_dialect(provider)}", True, Key("sandbox"), cadence, note)
    cadence = Cadence(least or provider.cadence.least, least or provider.cadence.first, provider.cadence.batch)
    return Gateway(provider, base_url(provider), False, keys.need(provider, settings.home), cadence, note)


def without_key(provider: Provider, settings: Settings, *, sandbox: bool | None = None) -> Gateway:
    """Return the gateway of a provider for looking ahead only: nothing can be sent with it, so it needs no key."""
    if settings.get("sandbox") if sandbox is None else sandbox:
        return at(provider, settings, sandbox=True)
    return Gateway(provider, base_url(provider), False, Key(""), provider.cadence)


def _dialect(provider: Provider) -> str:
    dialect = provider.dialect or provider.name
    if dialect not in registry.BUILT_IN:
        raise UnsupportedOption(
            f"The sandbox does not speak {provider.title}'s dialect",
            option="sandbox",
            value=provider.name,
            allowed=sorted(registry.BUILT_IN),
            next_step="leave --sandbox out, or choose another gateway",
        )
    return dialect
