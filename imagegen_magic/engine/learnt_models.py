"""What a service itself says of its models: fetched at most once a day, kept beside the ledger, and used where plans are made."""

from __future__ import annotations

import asyncio
import copy
import hashlib
import json
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from imagegen_magic.engine import loop
from imagegen_magic.engine.context import context_of
from imagegen_magic.engine.endpoints import Endpoint
from imagegen_magic.engine.net.transport import NotSent, OutcomeUnknown
from imagegen_magic.engine.settings import Settings
from imagegen_magic.errors import ImageGenError
from imagegen_magic.providers.base import Call, Model, Provider

_LIFE = 86_400.0  # seconds after which a description is fetched again
_PATIENCE = 5.0  # seconds
_known: dict[tuple[Any, ...], Provider] = {}


def with_learnt(endpoint: Endpoint, settings: Settings, model: str | None = None, *, fetch: bool = False) -> Endpoint:
    """Return the endpoint with the models that the service describes: those of its list, and the named `model` if it is unlisted.

    Without `fetch`, only what was fetched before counts. A service that does not answer leaves what is known.
    """
    provider = _learnt(endpoint, settings, "models", endpoint.provider.models_call(), _of_list, fetch)
    if model and (call := provider.schema_call(model)) and not _has(provider, model):
        endpoint = replace(endpoint, provider=provider)
        provider = _learnt(endpoint, settings, f"model {model}", call, lambda one, answer: _of_schema(one, model, answer), fetch)
    return endpoint if provider is endpoint.provider else replace(endpoint, provider=provider)


def can_learn(provider: Provider, model: str | None) -> bool:
    """Return whether a service describes its models, or this one."""
    return provider.models_call() is not None or bool(model and not _has(provider, model) and provider.schema_call(model))


def _has(provider: Provider, model: str) -> bool:
    return any(each.name.lower() == model.lower() for each in provider.models)


def _of_list(provider: Provider, answer: Any) -> tuple[Model, ...]:
    return provider.read_models(answer)


def _of_schema(provider: Provider, model: str, answer: Any) -> tuple[Model, ...]:
    found = provider.read_schema(model, answer)
    return () if found is None else (found,)


def _learnt(
    endpoint: Endpoint, settings: Settings, what: str, call: Call | None, read: Callable[[Provider, Any], tuple[Model, ...]], fetch: bool
) -> Provider:
    """Return the provider with the models of a description; itself if there is none."""
    provider = endpoint.provider
    if call is None:
        return provider
    file = _file(settings, endpoint, what)
    if fetch and not _is_fresh(file) and not loop.here():
        _fetch(endpoint, settings, call, file)
    try:
        name = (type(provider), provider.name, len(provider.models), file, file.stat().st_mtime_ns)
        if name not in _known:
            _known[name] = _extended(provider, read(provider, json.loads(file.read_bytes())))
    except (OSError, ValueError, ImageGenError):
        return provider
    return _known[name]


def _extended(provider: Provider, found: tuple[Model, ...]) -> Provider:
    """Return a copy of a provider with further models; those that stand in its data stay as they are."""
    listed = {model.name.lower() for model in provider.models}
    extended = copy.copy(provider)
    extended.models = (*provider.models, *(model for model in found if model.name.lower() not in listed))  # type: ignore[misc]  # its own
    return extended


def _file(settings: Settings, endpoint: Endpoint, what: str) -> Path:
    digest = hashlib.sha256(f"{endpoint.base_url} {what}".encode()).hexdigest()[:16]
    return settings.home / "models" / f"{endpoint.provider.name}-{digest}.json"


def _is_fresh(file: Path) -> bool:
    try:
        return 0 <= time.time() - file.stat().st_mtime < _LIFE
    except OSError:
        return False


def _fetch(endpoint: Endpoint, settings: Settings, call: Call, file: Path) -> None:
    async def answer() -> Any:
        context = context_of(settings)
        async with asyncio.timeout(_PATIENCE):
            return await context.call(endpoint, call)

    with suppress(NotSent, OutcomeUnknown, TimeoutError, OSError):
        response = loop.run(answer())
        if response.status < 300 and not isinstance(response.content, str):
            file.parent.mkdir(parents=True, exist_ok=True)
            part = file.with_suffix(".part")
            part.write_text(json.dumps(response.content), encoding="utf-8")
            part.replace(file)
