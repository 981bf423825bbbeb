"""Which gateway a request goes to."""

import io
from dataclasses import replace

import pytest
from PIL import Image

from imagegen_magic import ImageRequest
from imagegen_magic.engine import api, credentials
from imagegen_magic.engine.endpoints import select_endpoint
from imagegen_magic.engine.settings import load
from imagegen_magic.errors import MissingKey, UnknownProvider, UnsupportedOption


def test_without_any_key_the_sandbox_draws_and_says_so():
    """One line says that it did, and how to use a gateway."""
    gateway = select_endpoint(load())
    assert gateway.sandbox
    assert "sandbox" in gateway.note
    assert "_API_KEY" in gateway.note
    assert "%imagegen login" in gateway.note
    assert "\n" not in gateway.note
    assert gateway.label == "gccai (sandbox)"


def test_the_first_gateway_with_a_key(monkeypatch):
    """A key in the environment is choice enough: there is no note."""
    monkeypatch.setenv("EVOLINK_API_KEY", "k")
    gateway = select_endpoint(load())
    assert (gateway.provider.name, gateway.sandbox, gateway.note, gateway.label) == ("evolink", False, "", "evolink")


def test_a_configured_gateway_is_before_any_other_with_a_key(monkeypatch):
    """Configuration decides, then keys."""
    monkeypatch.setenv("EVOLINK_API_KEY", "k")
    monkeypatch.setenv("XINGCHAO_API_KEY", "k")
    monkeypatch.setenv("IMAGEGEN_PROVIDER", "xingchao")
    assert select_endpoint(load()).provider.name == "xingchao"
    assert select_endpoint(load(), provider="evolink").provider.name == "evolink"


def test_a_model_narrows_the_choice(monkeypatch):
    """Asking for a model alone finds a gateway that has it."""
    monkeypatch.setenv("APIMART_API_KEY", "k")
    monkeypatch.setenv("GCCAI_API_KEY", "k")
    assert select_endpoint(load(), model="gpt-image-1.5-official").provider.name == "gccai"
    with pytest.raises(UnknownProvider, match="gpt-image-9"):
        select_endpoint(load(), model="gpt-image-9")


def test_whoever_has_a_key_never_gets_the_sandbox_unasked(monkeypatch):
    """A model that only gateways without a key have is an error that names the variables and --sandbox; with no key at all it is drawn."""
    assert select_endpoint(load(), model="gpt-image-2-r").note
    monkeypatch.setenv("APIMART_API_KEY", "k")
    with pytest.raises(MissingKey, match=r"gpt-image-2-r \(Xingchao\).*XINGCHAO_API_KEY.*login xingchao.*--sandbox"):
        select_endpoint(load(), model="gpt-image-2-r")
    assert select_endpoint(load(), model="gpt-image-2").label == "apimart"
    monkeypatch.setenv("EVOLINK_API_KEY", "k")
    assert select_endpoint(load(), model="gpt-image-2").label == "evolink"  # which had it first
    monkeypatch.delenv("EVOLINK_API_KEY")
    assert select_endpoint(load(), model="gpt-image-2-r", sandbox=True).label == "xingchao (sandbox)"
    monkeypatch.setenv("XINGCHAO_API_KEY", "k")
    assert select_endpoint(load(), model="gpt-image-2-r").label == "xingchao"


def test_looking_ahead_needs_no_key(monkeypatch):
    """A dry run of a model whose gateway has no key is planned there, and not in the sandbox."""
    monkeypatch.setenv("APIMART_API_KEY", "k")
    assert select_endpoint(load(), model="gpt-image-2-r", planning=True).label == "xingchao"
    assert select_endpoint(load(), provider="evolink", planning=True).label == "evolink"
    plan = api.plan(ImageRequest("a fox", model="gpt-image-2-r"))
    assert (plan.provider, api.planned_endpoint(plan, load()).label) == ("xingchao", "xingchao")
    with pytest.raises(MissingKey, match="XINGCHAO_API_KEY"):
        api.prepare(ImageRequest("a fox", model="gpt-image-2-r"), load())
    with pytest.raises(UnsupportedOption, match="has no option quality"):  # reported before the missing key
        api.prepare(ImageRequest("a fox", model="gpt-image-2-r", quality="high"), load())


def test_a_models_name_is_read_in_any_case(monkeypatch):
    """Also where no gateway is named."""
    assert select_endpoint(load(), model=" GPT-Image-2 ").label == "evolink (sandbox)"
    assert api.plan(ImageRequest("a fox", model="GPT-IMAGE-2")).model.name == "gpt-image-2"
    monkeypatch.setenv("XINGCHAO_API_KEY", "k")
    assert select_endpoint(load(), model="GPT-Image-2-R").label == "xingchao"


@pytest.mark.parametrize(
    ("keys_set", "sandbox", "able"),
    [
        (["xingchao", "gccai"], False, ("gccai",)),
        (["xingchao"], False, ("apimart (no key)", "evolink (no key)", "gccai (no key)")),
        (["xingchao"], True, ("apimart", "evolink", "gccai")),
    ],
)
def test_a_refusal_names_the_gateways_that_could_be_used_now(monkeypatch, keys_set, sandbox, able):
    """Those with a key alone; where none has one each is marked; in the sandbox none is needed."""
    for name in keys_set:
        monkeypatch.setenv(f"{name.upper()}_API_KEY", "k")
    request = ImageRequest("a fox", references=("https://pictures.example.com/a.png",) * 7, quality="high")
    with pytest.raises(UnsupportedOption) as planned:
        api.plan(request, provider="xingchao", sandbox=sandbox)
    with pytest.raises(UnsupportedOption) as wished:
        api.prepare(request, load().replace("the test", sandbox=sandbox), "xingchao")
    assert planned.value.providers == wished.value.providers == able
    assert ", ".join(able) in str(planned.value)


def test_a_reference_too_large_names_the_gateway_that_takes_it():
    """21 MB are too many for APIMart and GCCAI, EvoLink takes 50; Xingchao takes no files at all."""
    heavy = io.BytesIO()
    Image.new("RGB", (2700, 2700)).save(heavy, "PNG", compress_level=0)
    request = ImageRequest("a fox", references=(heavy.getvalue(),))
    with pytest.raises(UnsupportedOption, match="more than the 20 MB") as caught:
        api.plan(request, provider="apimart")
    assert caught.value.providers == ("evolink (no key)",)
    with pytest.raises(UnsupportedOption) as caught:
        api.plan(replace(request, references=("nowhere.png",)), provider="apimart")
    assert caught.value.providers == ()


def test_a_gateway_configured_wrongly_hides_no_refusal_of_another(own_world):
    """It is left out of those that can do this; asked for by name, or by naming none at all, it is a clear error."""
    (own_world / "pyproject.toml").write_text('[tool.imagegen.providers.broken]\nlike = "apimart"\n')
    with pytest.raises(UnsupportedOption, match="evolink"):
        api.plan(ImageRequest("a fox", callback_url="https://hooks.example.com"), provider="apimart")
    for provider in ("broken", None):
        with pytest.raises(UnknownProvider, match=r"\[tool.imagegen.providers.broken\].*has no base_url"):
            api.plan(ImageRequest("a fox"), provider=provider)


def test_the_sandbox_on_request_needs_no_key_and_no_note(monkeypatch):
    """`--sandbox` and IMAGEGEN_SANDBOX=1 speak the chosen gateway's dialect; no real key goes there."""
    monkeypatch.setenv("EVOLINK_API_KEY", "real")
    credentials.remember("evolink", "real")
    gateway = select_endpoint(load(), provider="evolink", sandbox=True)
    assert (gateway.base_url, gateway.note, gateway.key.reveal()) == ("http://sandbox.invalid/evolink", "", "sandbox")
    monkeypatch.setenv("IMAGEGEN_SANDBOX", "1")
    assert select_endpoint(load()).sandbox


def test_the_base_url_can_be_overridden(monkeypatch):
    """`<NAME>_BASE_URL`, a slash at its end or not."""
    monkeypatch.setenv("EVOLINK_API_KEY", "k")
    monkeypatch.setenv("EVOLINK_BASE_URL", "http://127.0.0.1:8001/evolink/")
    assert select_endpoint(load()).base_url == "http://127.0.0.1:8001/evolink"


def test_the_cadence_is_the_gateways_own_unless_told(monkeypatch):
    """IMAGEGEN_POLL_SECONDS is the least interval, and the least before the first look."""
    monkeypatch.setenv("APIMART_API_KEY", "k")
    assert (select_endpoint(load()).polling.min_interval, select_endpoint(load()).polling.initial_delay) == (3, 10)
    monkeypatch.setenv("IMAGEGEN_POLL_SECONDS", "0.5")
    assert (
        select_endpoint(load()).polling.min_interval,
        select_endpoint(load()).polling.initial_delay,
        select_endpoint(load()).polling.batch_size,
    ) == (0.5, 0.5, 50)


def test_the_sandbox_speaks_only_the_dialects_it_knows(own_world, monkeypatch):
    """A configured gateway is spoken as its parent; a foreign dialect is reported as missing."""
    (own_world / "pyproject.toml").write_text(
        '[tool.imagegen.providers.mine]\nlike = "apimart"\nbase_url = "https://x.example"\nkey_variable = "MINE_API_KEY"\n'
    )
    assert select_endpoint(load(), provider="mine", sandbox=True).base_url == "http://sandbox.invalid/apimart"
    from imagegen_magic.providers import registry

    foreign = type("Foreign", (type(registry.get_provider("evolink")),), {"name": "foreign", "title": "Foreign", "dialect": ""})()
    monkeypatch.setattr(registry, "get_provider", lambda name, provider_tables: foreign)
    with pytest.raises(UnsupportedOption, match="does not speak Foreign"):
        select_endpoint(load(), provider="foreign", sandbox=True)
