"""Another address for OpenAI: what speaks there is a compatible server, and not OpenAI."""

from __future__ import annotations

import json

import pytest
from test_synchronous import picture
from webserver import web

from imagegen_magic import generate, run
from imagegen_magic.engine import endpoints
from imagegen_magic.engine.settings import load
from imagegen_magic.providers.gateways.openai import OpenAI
from imagegen_magic.providers.gateways.openai_compatible import OpenAICompatible


@pytest.fixture(autouse=True)
def key(own_world, monkeypatch):
    """A key of OpenAI."""
    monkeypatch.setenv("OPENAI_API_KEY", "sk-a-key-of-openai")


def chosen():
    """Return the endpoint of a request that names openai."""
    return endpoints.select_endpoint(load(), provider="openai")


@pytest.mark.parametrize("address", ["https://api.openai.com/v1", "https://api.openai.com", "https://eu.api.openai.com/v1"])
def test_openais_own_hosts_are_openai(monkeypatch, address):
    """With or without the version."""
    monkeypatch.setenv("OPENAI_BASE_URL", address)
    endpoint = chosen()
    assert (type(endpoint.provider), endpoint.base_url) == (OpenAI, address.removesuffix("/v1") + "/v1")


def test_any_other_address_is_a_compatible_server(monkeypatch):
    """It has another title, and none of OpenAI's prices; a picture comes from there."""

    def respond(seen):
        if seen.method == "GET":
            return 200, {}, b'{"data": [{"id": "house-model"}]}'
        return 200, {}, json.dumps({"data": [{"b64_json": picture()}]}).encode()

    with web(respond) as server:
        monkeypatch.setenv("OPENAI_BASE_URL", server.origin)
        endpoint = chosen()
        assert isinstance(endpoint.provider, OpenAICompatible)
        assert (endpoint.provider.name, endpoint.provider.title) == ("openai", "127.0.0.1")
        made = run(generate("a fox", provider="openai", model="house-model"))
    posted = next(seen for seen in server.seen if seen.method == "POST")
    assert (posted.path, json.loads(posted.body)["model"]) == ("/v1/images/generations", "house-model")
    assert (len(made), made.cost.amount) == (1, None)


def test_the_same_address_is_the_same_provider(monkeypatch):
    """So that polls, lists and caches know it again."""
    monkeypatch.setenv("OPENAI_BASE_URL", "http://10.0.0.5:8080")
    assert chosen().provider is chosen().provider


def test_a_server_of_ones_own_can_be_tried_in_the_sandbox(own_world):
    """The sandbox speaks the dialect of its template."""
    (own_world / "pyproject.toml").write_text(
        '[tool.imagegen.providers.lab]\nlike = "openai-compatible"\nbase_url = "http://10.0.0.5:8080"\nkey_variable = ""\n'
    )
    (made,) = run(generate("a fox", provider="lab", sandbox=True))
    assert (made.provider, made.sandbox) == ("lab", True)
