"""Which gateway a request goes to."""

import pytest

from imagegen_magic.engine import keys
from imagegen_magic.engine.gateways import choose
from imagegen_magic.engine.settings import load
from imagegen_magic.errors import UnknownProvider, UnsupportedOption


def test_without_any_key_the_sandbox_draws_and_says_so():
    """One line says that it did, and how to use a gateway."""
    gateway = choose(load())
    assert gateway.sandbox
    assert "sandbox" in gateway.note
    assert "_API_KEY" in gateway.note
    assert "%imagegen login" in gateway.note
    assert "\n" not in gateway.note
    assert gateway.label == "gccai (sandbox)"


def test_the_first_gateway_with_a_key(monkeypatch):
    """A key in the environment is choice enough, and nothing needs to be said."""
    monkeypatch.setenv("EVOLINK_API_KEY", "k")
    gateway = choose(load())
    assert (gateway.provider.name, gateway.sandbox, gateway.note, gateway.label) == ("evolink", False, "", "evolink")


def test_a_configured_gateway_is_before_any_other_with_a_key(monkeypatch):
    """Configuration decides, then keys."""
    monkeypatch.setenv("EVOLINK_API_KEY", "k")
    monkeypatch.setenv("XINGCHAO_API_KEY", "k")
    monkeypatch.setenv("IMAGEGEN_PROVIDER", "xingchao")
    assert choose(load()).provider.name == "xingchao"
    assert choose(load(), provider="evolink").provider.name == "evolink"


def test_a_model_narrows_the_choice(monkeypatch):
    """Asking for a model alone finds a gateway that has it."""
    monkeypatch.setenv("APIMART_API_KEY", "k")
    monkeypatch.setenv("GCCAI_API_KEY", "k")
    assert choose(load(), model="gpt-image-1.5-official").provider.name == "gccai"
    assert choose(load(), model="gpt-image-2-r").sandbox
    with pytest.raises(UnknownProvider, match="gpt-image-9"):
        choose(load(), model="gpt-image-9")


def test_the_sandbox_on_request_needs_no_key_and_no_note(monkeypatch):
    """`--sandbox` and IMAGEGEN_SANDBOX=1 speak the chosen gateway's dialect; no real key goes there."""
    monkeypatch.setenv("EVOLINK_API_KEY", "real")
    keys.remember("evolink", "real")
    gateway = choose(load(), provider="evolink", sandbox=True)
    assert (gateway.base_url, gateway.note, gateway.key.reveal()) == ("http://sandbox.invalid/evolink", "", "sandbox")
    monkeypatch.setenv("IMAGEGEN_SANDBOX", "1")
    assert choose(load()).sandbox


def test_the_base_url_can_be_overridden(monkeypatch):
    """`<NAME>_BASE_URL`, a slash at its end or not."""
    monkeypatch.setenv("EVOLINK_API_KEY", "k")
    monkeypatch.setenv("EVOLINK_BASE_URL", "http://127.0.0.1:8001/evolink/")
    assert choose(load()).base_url == "http://127.0.0.1:8001/evolink"


def test_the_cadence_is_the_gateways_own_unless_told(monkeypatch):
    """IMAGEGEN_POLL_SECONDS is the least interval, and the least before the first look."""
    monkeypatch.setenv("APIMART_API_KEY", "k")
    assert (choose(load()).cadence.least, choose(load()).cadence.first) == (3, 10)
    monkeypatch.setenv("IMAGEGEN_POLL_SECONDS", "0.5")
    assert (choose(load()).cadence.least, choose(load()).cadence.first, choose(load()).cadence.batch) == (0.5, 0.5, 50)


def test_the_sandbox_speaks_only_the_dialects_it_knows(own_world, monkeypatch):
    """A look-alike is spoken as its parent; a foreign dialect is said not to be there."""
    (own_world / "pyproject.toml").write_text(
        '[tool.imagegen.providers.mine]\nlike = "apimart"\nbase_url = "https://x.example"\nkey_variable = "MINE_API_KEY"\n'
    )
    assert choose(load(), provider="mine", sandbox=True).base_url == "http://sandbox.invalid/apimart"
    from imagegen_magic.providers import registry

    foreign = type("Foreign", (type(registry.get_provider("evolink")),), {"name": "foreign", "title": "Foreign", "dialect": ""})()
    monkeypatch.setattr(registry, "get_provider", lambda name, look_alikes: foreign)
    with pytest.raises(UnsupportedOption, match="does not speak Foreign"):
        choose(load(), provider="foreign", sandbox=True)
