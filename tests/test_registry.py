"""Gateways are found by name: built in, configured, or registered by other packages."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from gateway_table import GATEWAYS, PROVIDERS
from shells import a_shell

from imagegen_magic.errors import UnknownProvider, UnsupportedOption
from imagegen_magic.providers import alternatives, gateways, registry
from imagegen_magic.providers.base import Call, Model, Provider
from imagegen_magic.request import ImageRequest, LocalImage
from imagegen_magic.result import Cost

RESELLER = {"like": "apimart", "base_url": "https://api.example.com/", "key_variable": "MYRESELLER_API_KEY"}
HTTPS = "https://pictures.example.com/a.png"

PLUGIN = """
from imagegen_magic.providers.base import Model, Provider

class Hello(Provider):
    name, title = "hello", "Hello"
    base_url, key_variable = "https://api.hello.example", "HELLO_API_KEY"
    models = (Model(name="hello-1", sizes={"1:1": {"1k": (1024, 1024)}}, checked="2026-11-20", document="https://hello.example"),)

ready = Hello()
nothing = object()

class Nameless(Provider):
    pass

class Homeless(Provider):
    name = "homeless"
"""


def _read_again() -> None:
    """Let the registry look at its folder again."""
    for cached in (registry._file_names, registry._gateway_in, registry._in_files):
        cached.cache_clear()


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return a way to install a package with entry points, as pip would leave it on the path."""

    def installer(**entries: str) -> None:
        (tmp_path / "hello_gateway.py").write_text(PLUGIN, encoding="utf-8")
        about = tmp_path / "hello_gateway-1.0.dist-info"
        about.mkdir()
        (about / "METADATA").write_text("Metadata-Version: 2.1\nName: hello-gateway\nVersion: 1.0\n", encoding="utf-8")
        lines = "".join(f"{name} = {value}\n" for name, value in entries.items())
        (about / "entry_points.txt").write_text(f"[imagegen_magic.providers]\n{lines}", encoding="utf-8")
        monkeypatch.syspath_prepend(tmp_path)
        monkeypatch.delitem(sys.modules, "hello_gateway", raising=False)

    return installer


def plan(gateway: str, **given: Any) -> UnsupportedOption:
    """Return the refusal of a request, with the other gateways that can do it."""
    name, _, model = gateway.partition("/")
    with pytest.raises(UnsupportedOption) as caught:
        alternatives.plan(registry.get_provider(name), ImageRequest("a red fox", **{"model": model or None, **given}), PROVIDERS.values())
    return caught.value


def test_the_four_gateways_are_built_in() -> None:
    """A file in the folder is a gateway of its name."""
    assert GATEWAYS == ("apimart", "evolink", "gccai", "xingchao")
    assert set(GATEWAYS) < set(registry.BUILT_IN)
    assert registry.provider_names() == registry.BUILT_IN
    assert tuple(provider.name for provider in registry.all_providers()) == registry.BUILT_IN


HELPERS = {
    "sundries": "def help(): ...\n",
    "_hidden": "X = 1\n",
    "several": "from imagegen_magic.providers.gateways.evolink import EvoLink\n\nclass Another(EvoLink):\n    name = 'another'\n",
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder whose files lie beside the gateways' own."""
    monkeypatch.setattr("imagegen_magic.providers.gateways.__path__", [*gateways.__path__, str(tmp_path)])
    _read_again()
    yield tmp_path
    for file in tmp_path.glob("*.py"):
        sys.modules.pop(f"imagegen_magic.providers.gateways.{file.stem}", None)
    _read_again()


def test_a_helpers_file_beside_the_gateways_is_no_gateway(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It is not listed, and what lists the gateways works; a file with a gateway of its name is one."""
    for name, content in HELPERS.items():
        folder.joinpath(f"{name}.py").write_text(content)
    assert not {*HELPERS, "another"} & set(registry.BUILT_IN)
    assert [provider.name for provider in registry.all_providers()] == list(registry.BUILT_IN)
    with pytest.raises(UnknownProvider, match="No service is called 'sundries'"):
        registry.get_provider("sundries")
    with a_shell() as shell:
        for command in ("providers", "models", "doctor"):
            shell.run(f"%imagegen {command}")
            assert "sundries" not in "".join(shell.shown())
            assert "xingchao" in "".join(shell.shown())


def test_a_gateways_file_is_found_wherever_the_package_lies(folder: Path) -> None:
    """One file is all that a new gateway takes."""
    lines = ("from imagegen_magic.providers.gateways.evolink import EvoLink", "class Mine(EvoLink):", "    name = 'mine'")
    folder.joinpath("mine.py").write_text("\n".join(lines))
    assert registry.get_provider("mine").name == "mine"


def test_a_file_beside_the_gateways_that_is_broken_is_warned_of(folder: Path) -> None:
    """The gateways work without it."""
    usual = registry.BUILT_IN
    _read_again()
    folder.joinpath("broken.py").write_text("raise ValueError('half done')\n")
    with pytest.warns(RuntimeWarning, match="broken.py beside the services cannot be imported .ValueError: half done"):
        assert registry.provider_names() == usual


def test_a_name_is_read_in_any_case() -> None:
    """EvoLink is evolink."""
    assert registry.get_provider(" EvoLink ").name == "evolink"


def test_an_unknown_name_is_answered_with_the_closest() -> None:
    """The error names what was probably meant, and all there are."""
    with pytest.raises(UnknownProvider, match=r"Did you mean evolink; there are apimart, .*xingchao, myreseller"):
        registry.get_provider("evolnk", {"myreseller": RESELLER})
    with pytest.raises(UnknownProvider, match=r"No service is called 'qqq'. Nothing was charged. There are apimart"):
        registry.get_provider("qqq")


def test_a_configured_gateway_is_four_lines_of_configuration() -> None:
    """A reseller of APIMart's dialect plans the same calls at its own address with its own key."""
    found = registry.get_provider("MyReseller", {"myreseller": RESELLER})
    assert (found.name, found.title, found.base_url) == ("myreseller", "myreseller", "https://api.example.com")
    assert (found.key_variable, found.dialect, found.docs_url) == ("MYRESELLER_API_KEY", "apimart", "")
    request = ImageRequest("a red fox", quality="high")
    assert found.plan(request).calls == registry.get_provider("apimart").plan(request).calls
    assert found.plan(request).provider == "myreseller"
    assert found.read_submission({"data": [{"task_id": "t"}]}).task_id == "t"
    assert "myreseller answered 400" in found.read_error(400, {}).what


def test_a_configured_gateway_has_no_price_of_its_parent() -> None:
    """What a reseller charges is its own affair, and unknown."""
    assert registry.get_provider("myreseller", {"myreseller": RESELLER}).plan(ImageRequest("x", quality="high")).price == Cost()


def test_a_configured_gateway_may_have_a_title_and_a_page() -> None:
    """title and docs_url are optional; the key's variable follows from the name where none is given."""
    table = {"like": "xingchao", "base_url": "http://127.0.0.1:8001/x", "title": "My House", "docs_url": "https://docs.example.com"}
    found = registry.get_provider("my-house", {"my-house": table})
    assert (found.title, found.docs_url, found.key_variable, found.dialect) == (
        "My House",
        "https://docs.example.com",
        "MY_HOUSE_API_KEY",
        "xingchao",
    )
    assert found.base_url == "http://127.0.0.1:8001/x"


def test_configured_gateway_are_listed_with_the_others() -> None:
    """All names, and all gateways, include the configured ones."""
    tables = {"myreseller": RESELLER}
    assert registry.provider_names(tables) == (*registry.BUILT_IN, "myreseller")
    assert registry.all_providers(tables)[-1].name == "myreseller"


@pytest.mark.parametrize(
    ("name", "table", "words"),
    [
        ("mine", {"base_url": "https://api.example.com"}, "does not say whose dialect"),
        ("mine", {**RESELLER, "like": "apimrt"}, "is like 'apimrt', which is no service.*Did you mean apimart"),
        ("mine", {"like": "apimart"}, "has no base_url"),
        ("mine", {**RESELLER, "base_url": " "}, "has no base_url"),
        ("mine", {**RESELLER, "base_url": "http://api.example.com"}, "no plain https address"),
        ("mine", {**RESELLER, "base_url": "api.example.com"}, "no plain https address"),
        ("mine", {**RESELLER, "base_url": "https://u:p@api.example.com"}, "no plain https address"),
        ("mine", {**RESELLER, "base_url": "https://api.example.com?x=1"}, "no plain https address"),
        ("mine", {**RESELLER, "base_url": 5}, "has no text in base_url"),
        ("mine", {**RESELLER, "key": "x", "colour": "red"}, "unknown keys colour, key.*It may have base_url, docs_url"),
        ("mine", "apimart", "is no table"),
        ("my house", RESELLER, "no plain word"),
        ("apimart", RESELLER, "built in.*APIMART_BASE_URL"),
    ],
)
def test_a_bad_configured_gateway_is_a_clear_error(name: str, table: Any, words: str) -> None:
    """The error names the table, what is wrong with it and what to write; the other gateways work."""
    with pytest.raises(UnknownProvider, match=words) as caught:
        registry.get_provider(name, {name: table})
    assert f"[tool.imagegen.providers.{name}]" in str(caught.value)
    assert {provider.name for provider in registry.all_providers({name: table})} == {*registry.BUILT_IN} - {name}
    assert registry.get_provider("evolink", {name: table}).name == "evolink"


def test_a_key_in_place_of_its_variable_is_refused_and_not_shown() -> None:
    """A key in the configuration is refused, and not shown."""
    with pytest.raises(UnknownProvider, match="never the key itself") as caught:
        registry.get_provider("mine", {"mine": {**RESELLER, "key_variable": "sk-12345678"}})
    assert "12345678" not in str(caught.value)


@pytest.mark.parametrize("value", ["hello_gateway:Hello", "hello_gateway:ready"])
def test_another_package_registers_a_gateway(install: Any, value: str) -> None:
    """A class or an instance under the entry-point group is found by name and in the list."""
    install(hello=value)
    hello = registry.get_provider("hello")
    assert hello.plan(ImageRequest("hi")).calls == (
        Call("POST", "/v1/images/generations", {"model": "hello-1", "prompt": "hi", "size": "1:1", "n": 1}),
    )
    assert registry.provider_names() == (*registry.BUILT_IN, "hello")
    assert registry.all_providers()[-1].title == "Hello"


def test_a_configured_gateway_may_be_like_a_registered_gateway(install: Any) -> None:
    """Whatever has a name can be resold."""
    install(hello="hello_gateway:Hello")
    found = registry.get_provider("hi", {"hi": {"like": "hello", "base_url": "https://hi.example"}})
    assert (found.dialect, found.models[0].name) == ("hello", "hello-1")


def test_what_is_nearer_keeps_its_name(install: Any) -> None:
    """A package takes neither a built-in gateway's name nor a configured one's."""
    install(evolink="hello_gateway:Hello", myreseller="hello_gateway:Hello")
    assert registry.get_provider("evolink").title == "EvoLink"
    assert [provider.title for provider in registry.all_providers({"myreseller": RESELLER})][-1] == "myreseller"
    assert registry.provider_names({"myreseller": RESELLER}) == (*registry.BUILT_IN, "myreseller")


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("gone", "no_such_module:Hello", "ModuleNotFoundError"),
        ("gone", "hello_gateway:Goodbye", "AttributeError"),
        ("gone", "hello_gateway:nothing", "no Provider with the name 'gone'"),
        ("gone", "hello_gateway:Hello", "no Provider with the name 'gone'"),
        ("gone", "hello_gateway:Nameless", "no Provider with the name 'gone'"),
        ("homeless", "hello_gateway:Homeless", "has no title, base_url, key_variable, models"),
    ],
)
def test_a_broken_package_has_its_error_and_does_not_break_the_others(install: Any, name: str, value: str, words: str) -> None:
    """Asked for by name it is a clear error; in the list it is a warning, and all others are there."""
    install(**{name: value, "hello": "hello_gateway:Hello"})
    with pytest.raises(UnknownProvider, match=words):
        registry.get_provider(name)
    with pytest.warns(RuntimeWarning, match=words):
        found = registry.all_providers()
    assert [provider.name for provider in found] == [*registry.BUILT_IN, "hello"]


def test_other_packages_are_not_asked_for_a_built_in_gateway(monkeypatch: pytest.MonkeyPatch) -> None:
    """The scan costs milliseconds, and only those who name another gateway pay them."""

    def scan(**_: Any) -> None:
        raise AssertionError("scanned")

    monkeypatch.setattr("importlib.metadata.entry_points", scan)
    assert registry.get_provider("evolink").name == "evolink"
    assert registry.get_provider("myreseller", {"myreseller": RESELLER}).name == "myreseller"
    with pytest.raises(AssertionError, match="scanned"):
        registry.provider_names()


def test_a_plan_that_works_is_the_providers_own() -> None:
    """The registry adds nothing to a plan."""
    evolink, request = registry.get_provider("evolink"), ImageRequest("a red fox")
    assert alternatives.plan(evolink, request, registry.all_providers()) == evolink.plan(request)


NEWER = "apimart (gpt-image-2.5-flare, gpt-image-2.5-sunburst, gpt-image-2)"
TRANSPARENT = tuple(f"{name} (gpt-image-2.5-flare, gpt-image-2.5-sunburst)" for name in ("apimart", "evolink"))
FIRST = "gccai (gpt-image-1-official, gpt-image-1.5-official)"


@pytest.mark.parametrize(
    ("gateway", "given", "able"),
    [
        ("apimart", {"size": "1:1", "resolution": "4k"}, (NEWER, "evolink", "gccai")),
        ("xingchao", {"size": "4:3", "resolution": "4k"}, (NEWER, "evolink", "gccai")),
        ("xingchao/gpt-image-2-r", {"resolution": "2k", "size": "1:1"}, ("xingchao (gpt-image-2)", "apimart", "evolink", "gccai")),
        ("gccai/gpt-image-1.5-official", {"output_format": "webp"}, ("gccai (gpt-image-2-official)", "apimart", "evolink")),
        ("gccai/gpt-image-1.5-official", {"size": "16:9"}, ("gccai (gpt-image-2-official)", "apimart", "evolink", "xingchao")),
        ("gccai", {"background": "transparent"}, (FIRST, *TRANSPARENT)),
        ("apimart", {"background": "transparent"}, (*TRANSPARENT, FIRST)),
        ("evolink", {"quality": "auto"}, ("apimart", "gccai")),
        ("xingchao", {"references": (HTTPS,) * 7}, ("xingchao (gpt-image-2-r)", "apimart", "evolink", "gccai")),
        ("xingchao", {"references": (HTTPS,) * 7, "quality": "high"}, ("apimart", "evolink", "gccai")),
        ("evolink", {"moderation": "low"}, ("apimart", "gccai")),
        ("apimart", {"callback_url": "https://hooks.example.com"}, ("evolink",)),
        ("apimart", {"size": "1881x836"}, ("gccai",)),
        ("apimart", {"n": 0}, ()),
        ("apimart", {"size": "100x100"}, ()),
    ],
)
def test_a_refusal_names_who_can_do_exactly_this(gateway: str, given: dict[str, Any], able: tuple[str, ...]) -> None:
    """Other models here first, then other gateways, by model where it is not their first."""
    refusal = plan(gateway, **given)
    assert refusal.providers == able
    assert all(name in str(refusal) for name in able)


def test_with_further_fields_nobody_else_is_named() -> None:
    """The meaning of an unknown field elsewhere is not known, so no other gateway is named."""
    assert plan("apimart", size="1:1", resolution="4k", extra={"seed": 1}).providers == ()


def _able(gateway: str, keyed: set[str], **given: Any) -> tuple[str, ...]:
    with pytest.raises(UnsupportedOption) as caught:
        alternatives.plan(
            registry.get_provider(gateway), ImageRequest("a fox", **given), PROVIDERS.values(), ready=lambda one: one.name in keyed
        )
    return caught.value.providers


def test_gateways_with_a_key_are_named_alone() -> None:
    """A gateway without a key is not named if another has one; if none has, each is marked. Other models here are always named."""
    square = {"size": "1:1", "resolution": "4k"}
    assert _able("apimart", {"apimart", "gccai"}, **square) == (NEWER, "gccai")
    assert _able("apimart", {"apimart", "gccai", "evolink"}, **square) == (NEWER, "evolink", "gccai")
    assert _able("apimart", {"apimart"}, callback_url="https://hooks.example.com") == ("evolink (no key)",)
    assert _able("apimart", set(), background="transparent") == TRANSPARENT[:1]
    assert _able("gccai", set(), background="transparent") == (FIRST,)


def test_a_gateway_that_takes_no_files_is_not_named_for_a_picture_of_this_machine() -> None:
    """Xingchao reads addresses alone: for seven files its model that takes sixteen references is no way out, for addresses it is."""
    files = tuple(LocalImage(bytes([n]), "image/png", 8, 8, f"{n}.png") for n in range(7))
    assert plan("xingchao", references=files).providers == ("apimart", "evolink", "gccai")
    lying = tuple(replace(picture, url=f"https://files.example.com/{picture.name}") for picture in files)
    assert plan("xingchao", references=lying).providers == ("xingchao (gpt-image-2-r)", "apimart", "evolink", "gccai")


def test_a_broken_gateway_does_not_hide_the_refusal_of_another() -> None:
    """Whatever a stranger's gateway raises while it is asked, it is left out, and the person reads what was refused."""

    class Broken(Provider):
        name, title, base_url, key_variable = "broken", "Broken", "https://broken.example", "BROKEN_API_KEY"
        models = (
            Model(name="b", sizes={"1:1": {"1k": (1024, 1024), "4k": (2880, 2880)}}, resolutions=("1k", "4k"), checked="x", document="x"),
        )

        def price(self, request: ImageRequest, pixels: Any) -> Cost:
            raise KeyError("no such price")

    request = ImageRequest("a fox", size="1:1", resolution="4k")
    with pytest.raises(UnsupportedOption) as caught:
        alternatives.plan(registry.get_provider("apimart"), request, [*PROVIDERS.values(), Broken()])
    assert caught.value.providers == (NEWER, "evolink", "gccai")
    with pytest.raises(KeyError):
        alternatives.plan(Broken(), request, ())


def test_a_gateway_that_is_configured_wrongly_is_left_out() -> None:
    """A table without a base_url; its error is raised for its name, and listed."""
    tables = {"broken": {"like": "apimart"}, "myreseller": RESELLER}
    names = [provider.name for provider in registry.all_providers(tables)]
    assert names == [*registry.BUILT_IN, "myreseller"]
    assert list(registry.config_errors(tables)) == ["broken"]
    with pytest.raises(UnknownProvider, match="has no base_url"):
        registry.get_provider("broken", tables)


def test_a_retired_model_is_named_only_where_no_other_can() -> None:
    """A retired model is named only if there is no other."""

    class Old(Provider):
        name, title, base_url, key_variable = "old", "Old", "https://old.example", "OLD_API_KEY"
        models = (
            Model(name="new-1", sizes={"1:1": {"1k": (1024, 1024)}}, checked="2026-11-20", document="x"),
            Model(
                name="old-1",
                sizes={"9:1": {"1k": (900, 100)}},
                default_size="9:1",
                retired="2026-01-01",
                checked="2026-11-20",
                document="x",
            ),
        )

    with pytest.raises(UnsupportedOption) as caught:
        alternatives.plan(registry.get_provider("apimart"), ImageRequest("a red fox", size="9:1"), [Old()])
    assert caught.value.providers == ("old (old-1)",)


def test_an_unknown_model_stays_an_unknown_model() -> None:
    """The registry passes the model's error on."""
    with pytest.raises(UnknownProvider, match="has no model"):
        alternatives.plan(registry.get_provider("apimart"), ImageRequest("x", model="nope"), registry.all_providers())
