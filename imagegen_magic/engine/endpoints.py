"""The gateway of a request: requested, configured, the first with a key, or else the sandbox, with a note."""

from __future__ import annotations

import copy
import functools
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import urlsplit

from imagegen_magic.deprecated import renamed_fields
from imagegen_magic.engine import credentials
from imagegen_magic.engine.credentials import Key, KeyRule
from imagegen_magic.engine.settings import Settings
from imagegen_magic.errors import MissingKey, UnknownProvider, UnsupportedOption
from imagegen_magic.providers import alternatives, registry, urls
from imagegen_magic.providers.base import Plan, PollingPolicy, Provider
from imagegen_magic.providers.urls import SANDBOX_HOST
from imagegen_magic.records import Record, restored
from imagegen_magic.request import ImageRequest
from imagegen_magic.result import Cost

SANDBOX_ORIGIN = f"http://{SANDBOX_HOST}"  # of the sandbox in this process
SANDBOX_SCALE = 0.05  # the sandbox's waiting times, as a share of the real ones
_SANDBOX_INTERVAL = 0.25  # seconds between polls of the sandbox
SANDBOX_NAME = "sandbox"  # as the configured provider: requests that name no other go to the sandbox
_SANDBOX_DEFAULT = "gccai"  # its dialect has the most options


@renamed_fields(cadence="polling")
@dataclass(frozen=True, slots=True, repr=False)
class Endpoint(Record):
    """A provider at an address, with its key: where a request really goes.

    `note` is one line for the user, or empty. A pickle leaves the key out.
    """

    provider: Provider
    base_url: str
    sandbox: bool
    key: Key
    polling: PollingPolicy
    note: str = ""

    def __reduce__(self) -> tuple[Any, ...]:
        return without_its_key, (self._state(),)

    def _state(self) -> dict[str, Any]:
        return {name: value for name, value in Record._state(self).items() if name != "key"}

    def __deepcopy__(self, memo: dict[int, Any]) -> Endpoint:
        return restored(Endpoint, {**copy.deepcopy(self._state(), memo), "key": self.key})

    def label_cost(self, cost: Cost) -> Cost:
        """Return a cost with its source: the sandbox's costs are labelled as such."""
        return replace(cost, source="sandbox") if self.sandbox and cost.amount is not None else cost

    @property
    def key_rule(self) -> KeyRule:
        """How its key travels, and to which hosts."""
        return KeyRule(self.provider.key_header, () if self.sandbox else self.provider.key_hosts)

    @property
    def headers(self) -> dict[str, str]:
        """The provider's further headers, from the environment."""
        variables = {} if self.sandbox else self.provider.extra_headers
        return {name: value for name, variable in variables.items() if (value := os.environ.get(variable, "").strip())}

    @property
    def label(self) -> str:
        """The gateway's name as captions show it."""
        return f"{self.provider.name} (sandbox)" if self.sandbox else self.provider.name


def without_its_key(state: Mapping[str, Any]) -> Endpoint:
    """Return a gateway from a pickle, which names this function and holds no key: only the sandbox can be used with it."""
    return restored(Endpoint, {**state, "key": Key("sandbox" if state.get("sandbox") else "")})


def known(settings: Settings) -> Iterator[Provider]:
    """Yield every gateway that can be used: built in, configured, and plugged in; those that are configured wrongly are left out."""
    yield from map(located, registry.all_providers(settings.provider_tables))


def located(provider: Provider) -> Provider:
    """Return what speaks at the address that the environment gives for a provider, with its further variables; usually itself."""
    address = os.environ.get(base_variable(provider), "").strip().rstrip("/")
    values = tuple((name, value) for name in provider.variables if (value := os.environ.get(name, "").strip()))
    return _located(provider, address, values) if address or values else provider


@functools.lru_cache(maxsize=64)
def _located(provider: Provider, address: str, values: tuple[tuple[str, str], ...]) -> Provider:
    found = registry.moved(provider, address) if address and not _address_problem(address) else provider
    return found.configured(dict(values)) if values else found


def has_key(provider: Provider, settings: Settings) -> bool:
    """Return whether a key is set for this gateway."""
    return not provider.needs_key or credentials.where(provider, settings.home) != "not set"


def plan(provider: Provider, request: ImageRequest, settings: Settings, *, sandbox: bool) -> Plan:
    """Return a gateway's plan. Its refusal names the gateways that can do exactly this, for the sandbox also those without a key."""
    return alternatives.plan(provider, request, known(settings), ready=ready(settings, sandbox))


def alternatives_to(
    provider: Provider, request: ImageRequest, settings: Settings, make: Callable[[Provider, ImageRequest], Plan], *, sandbox: bool
) -> list[str]:
    """Return the gateways that can do what this one refused; `make` makes the plan of each."""
    return alternatives.alternatives(provider, request, known(settings), ready=ready(settings, sandbox), make=make)


def ready(settings: Settings, sandbox: bool) -> Callable[[Provider], bool]:
    """Return a function that returns whether a request could go to a provider now: it has a key, or the sandbox stands in for it.

    The sandbox stands in for the gateways that are chosen by their key; other services are named to those who have their key.
    """
    return lambda provider: (sandbox and provider.chosen_by_key) or has_key(provider, settings)


def base_variable(provider: Provider) -> str:
    """Return the environment variable that holds the provider's address, if it is another than its own."""
    return provider.base_variable or f"{provider.name.upper().replace('-', '_')}_BASE_URL"


def base_url(provider: Provider) -> str:
    """Return the gateway's address: `<NAME>_BASE_URL`, else its own. Raises UnsupportedOption if there is none that can be used."""
    variable = base_variable(provider)
    address = os.environ.get(variable, "").strip().rstrip("/")
    if address and (problem := _address_problem(address)):
        shown = f"[hidden]@{address.rpartition('@')[2]}" if "@" in address else address
        raise UnsupportedOption(
            f"{variable} = {shown!r} {problem}", option=variable, value=shown, hint="give it like https://api.example.com"
        )
    if not has_address(provider):
        what, hint = (
            f"{provider.title} has no address of its own",
            f"set {variable} to that of yours, or add --sandbox to try it without one",
        )
        raise UnsupportedOption(what, option=variable, value="", hint=hint)
    return _with_version(address or provider.base_url, provider)


def has_address(provider: Provider) -> bool:
    """Return whether a provider has an address, its own or one in the environment."""
    return bool(provider.base_url or os.environ.get(base_variable(provider), "").strip())


def _with_version(address: str, provider: Provider) -> str:
    """Return a base URL with the provider's version segment, which is added if it is missing."""
    segment = provider.version_segment
    return address if not segment or address.endswith(segment) else address.rstrip("/") + segment


def _address_problem(url: str) -> str:
    """Return why a gateway cannot be at an address; empty if it can."""
    try:
        parts = urlsplit(url)
        host = (parts.hostname or "").rstrip(".")
        valid = parts.scheme in ("http", "https") and bool(host) and parts.port != 0 and all(host.split(".")) and not set(" \\") & set(url)
    except ValueError:
        valid = False
    if not valid:
        return "is no address"
    if "@" in parts.netloc:
        return "holds a user name or a password, which no service is sent"
    refused = urls.zone_of(host) is urls.Zone.REFUSED
    return "is a link-local, metadata or reserved address, from which no picture is fetched" if refused else ""


def select_endpoint(
    settings: Settings, *, provider: str | None = None, sandbox: bool | None = None, model: str | None = None, planning: bool = False
) -> Endpoint:
    """Choose the gateway for a request; with `planning`, only to plan it, so that it needs no key.

    Raises UnknownProvider, also if a gateway that is configured wrongly could be the default. Raises MissingKey if the chosen one
    has no key, or no gateway that has a key has the model.
    """
    sandbox = settings.get("sandbox") if sandbox is None else sandbox
    found = without_key if planning else endpoint_for
    name = provider or settings.get("provider")
    if name == SANDBOX_NAME:
        name, sandbox = None, True
    if name:
        return found(registry.get_provider(name, settings.provider_tables), settings, sandbox=bool(sandbox))
    providers = list(known(settings))
    capable = [each for each in providers if model is None or _has(each, model)]
    if model is not None:
        capable.sort(key=lambda each: (not each.chosen_by_key, each.model(model).added))  # the gateway that had it first stays the default
    if not capable:
        _refuse_wrongly_configured(settings)
        raise UnknownProvider(f"No service has a model {model!r}", hint="%imagegen models shows all of them")
    keyed = None if sandbox else next((each for each in (*capable, *providers) if each.chosen_by_key and has_key(each, settings)), None)
    if not sandbox and (keyed is None or keyed.name not in registry.BUILT_IN):
        _refuse_wrongly_configured(settings)
    if keyed and keyed not in capable and not planning:
        raise _no_key(str(model), capable)
    if keyed:
        return found(keyed if keyed in capable else capable[0], settings)
    default = next((each for each in capable if each.name == _SANDBOX_DEFAULT), capable[0])
    note = "" if sandbox else _sandbox_note(default, capable[0], [] if planning else available(settings))
    return endpoint_for(default, settings, sandbox=True, note=note)


def available(settings: Settings) -> list[Provider]:
    """Return the providers that have an address and a key and that only a choice of the user makes the default, by name."""
    found = (each for each in known(settings) if not each.chosen_by_key and each.needs_key and has_address(each))
    return [each for each in found if _has_own_key(each, settings)]


def _has_own_key(provider: Provider, settings: Settings) -> bool:
    return credentials.where(provider, settings.home) not in ("not set", *provider.other_key_variables)


def _sandbox_note(default: Provider, first: Provider, others: Sequence[Provider]) -> str:
    if others:
        return (
            f"The sandbox drew this, speaking as {default.name}: nothing is sent and nothing is charged. "
            f"{'Keys are' if others[1:] else 'A key is'} set for {', '.join(each.title for each in others)}: add -p {others[0].name}, "
            f"or choose it for all cells with %imagegen config provider={others[0].name}."
        )
    return (
        f"No service has a key yet, so the sandbox drew this, speaking as {default.name}: nothing is sent and nothing is charged. "
        f"For real pictures set {first.key_variable}, or %imagegen login NAME; %imagegen providers lists them."
    )


def _refuse_wrongly_configured(settings: Settings) -> None:
    """Raise UnknownProvider if a gateway that could be the default is configured wrongly: none is chosen in its place."""
    for error in registry.config_errors(settings.provider_tables).values():
        raise error


def _has(provider: Provider, model: str) -> bool:
    return str(model).strip().lower() in {each.name.lower() for each in provider.models}


def _no_key(model: str, capable: Sequence[Provider]) -> MissingKey:
    variables = " or ".join(each.key_variable for each in capable)
    return MissingKey(
        f"No key is set for a service that has {model} ({', '.join(each.title for each in capable)})",
        hint=f"set {variables} in the environment, or %imagegen login {capable[0].name}, or add --sandbox to try it without a key",
    )


def endpoint_for(provider: Provider, settings: Settings, *, sandbox: bool = False, note: str = "") -> Endpoint:
    """Return the gateway of a provider. Raises MissingKey if it has none, unless the sandbox stands in for it."""
    own, interval = provider.polling, settings.get("poll_seconds") or (_SANDBOX_INTERVAL if sandbox else None)
    polling = PollingPolicy(interval or own.min_interval, interval or own.initial_delay, own.batch_size)
    if sandbox:
        return Endpoint(provider, _with_version(f"{SANDBOX_ORIGIN}/{_dialect(provider)}", provider), True, Key("sandbox"), polling, note)
    provider = located(provider)
    return Endpoint(provider, base_url(provider), False, credentials.require(provider, settings.home), polling, note)


def without_key(provider: Provider, settings: Settings, *, sandbox: bool | None = None) -> Endpoint:
    """Return the gateway of a provider for planning only: nothing can be sent with it, and it needs no key."""
    if settings.get("sandbox") if sandbox is None else sandbox:
        return endpoint_for(provider, settings, sandbox=True)
    provider = located(provider)
    return Endpoint(provider, base_url(provider) if has_address(provider) else "", False, Key(""), provider.polling)


def _dialect(provider: Provider) -> str:
    dialect = provider.dialect or provider.name
    if not registry.has_file(dialect):
        raise UnsupportedOption(
            f"The sandbox does not speak {provider.title}'s dialect",
            option="sandbox",
            value=provider.name,
            allowed=sorted(registry.BUILT_IN),
            hint="leave --sandbox out, or choose another service",
        )
    return dialect
