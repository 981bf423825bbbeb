"""The table of gateways that tests run over, from the registry: a new gateway with the usual API is in all of them by itself.

The services with an API of their own have tests of their own.
"""

from __future__ import annotations

from typing import Any

import pytest

from imagegen_magic.providers.base import Provider
from imagegen_magic.providers.registry import BUILT_IN, all_providers, get_provider

GATEWAYS: tuple[str, ...] = tuple(name for name in BUILT_IN if get_provider(name).chosen_by_key)
PROVIDERS: dict[str, Provider] = {name: get_provider(name) for name in GATEWAYS}
UPLOADING = tuple(name for name, provider in PROVIDERS.items() if provider.upload)
"""The gateways that take files."""
BATCHING = tuple(name for name, provider in PROVIDERS.items() if provider.polling.batch_size)
"""The gateways that are asked for many tasks at once."""
IDEMPOTENT = tuple(name for name, provider in PROVIDERS.items() if provider.idempotency)
"""The gateways that answer a repeated Idempotency-Key with the first task, by their pages."""
SUBMIT = {name: f"/{name}{provider.submit_path}" for name, provider in PROVIDERS.items()}
"""Where the sandbox takes submissions."""
POLL = {name: f"/{name}{provider.task_path.format('')}" for name, provider in PROVIDERS.items()}
"""Where the sandbox is asked for a task, without its id."""
MODELS = tuple(f"{name}/{model.name}" for name, provider in PROVIDERS.items() for model in provider.models)
"""Every model, as `gateway/model`."""


def every_model(*, as_pair: bool = False) -> list[Any]:
    """Return the provider and the model of every test that runs over all of them, as arguments or as one pair.

    All models of the gateways and the first of each other service; their further models are tested with `scripts/test --long`.
    """
    found = []
    for provider in all_providers():
        for number, model in enumerate(provider.models):
            marks = [pytest.mark.long] if number and provider.name not in GATEWAYS else []
            values = [(provider, model)] if as_pair else [provider, model]
            found.append(pytest.param(*values, id=f"{provider.name}-{model.name}", marks=marks))
    return found
