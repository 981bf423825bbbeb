"""What the model's page refuses can be sent on request; what it costs, keys and private addresses are never part of that."""

from __future__ import annotations

import json
import pickle
from collections.abc import Iterator
from typing import Any

import pytest
from servers import Sandbox, sandbox_thread
from shells import Shell, a_shell

from imagegen_magic import GeneratedImage, generate, run, sweep
from imagegen_magic.engine import api, loop
from imagegen_magic.engine.jobs.reuse import generated
from imagegen_magic.errors import BudgetExceeded, UnsupportedOption
from imagegen_magic.providers.base import Plan, Provider
from imagegen_magic.providers.registry import all_providers, get_provider, templates
from imagegen_magic.request import ImageRequest

A = "https://pictures.example.com/a.png"


def plan(provider: str, **options: Any) -> Plan:
    """Return the plan of an unchecked request."""
    return get_provider(provider).plan(ImageRequest("a fox", unchecked=True, **options))


@pytest.mark.parametrize(
    ("provider", "options", "field", "value"),
    [
        ("apimart", {"size": "1:1", "resolution": "4k"}, "resolution", "4k"),
        ("apimart", {"size": "7:5"}, "size", "7:5"),
        ("apimart", {"size": "auto"}, "size", "auto"),
        ("apimart", {"size": "512x512"}, "size", "512x512"),
        ("apimart", {"quality": "ultra"}, "quality", "ultra"),
        ("apimart", {"background": "transparent"}, "background", "transparent"),
        ("apimart", {"output_format": "avif"}, "output_format", "avif"),
        ("xingchao", {"background": "opaque"}, "background", "opaque"),
        ("xingchao", {"mask": A, "references": (A,)}, "mask_url", A),
        ("xingchao", {"references": (A,) * 7}, "image_urls", [A] * 7),
        ("evolink", {"resolution": "8k", "size": "1:1"}, "resolution", "8K"),
    ],
)
def test_what_the_page_refuses_goes_out(provider: str, options: dict[str, Any], field: str, value: Any) -> None:
    """With one warning that names the page, its date and what it says; checked, the same request is refused."""
    with pytest.raises(UnsupportedOption):
        get_provider(provider).plan(ImageRequest("a fox", **options))
    made = plan(provider, **options)
    assert (made.calls[0].json or {})[field] == value
    model = get_provider(provider).model()
    (warning,) = [line for line in made.warnings if line.startswith("not checked")]
    assert model.checked in warning
    assert model.document in warning


REQUESTED = {
    **{"callback_url": "https://hooks.example.com/x", "moderation": "low", "background": "transparent", "output_format": "avif"},
    **{"quality": "ultra", "resolution": "2k"},
}
UNLISTED = {"azure-openai": "mine", "openrouter": "a/b", "fal": "a/b", "replicate": "a/b"}
SERVICES = [(each, None) for each in (*all_providers(), *templates())] + [(get_provider(name), model) for name, model in UNLISTED.items()]


@pytest.mark.parametrize("option", REQUESTED)
@pytest.mark.parametrize("unchecked", [True, None])
@pytest.mark.parametrize(("provider", "model"), SERVICES, ids=lambda each: getattr(each, "name", str(each)))
def test_an_option_goes_out_or_is_refused(provider: Provider, model: str | None, unchecked: bool | None, option: str) -> None:
    """At every service: what is not checked is never left out in silence."""
    common: dict[str, Any] = {"model": model, "unchecked": unchecked}
    options: dict[str, Any] = {option: REQUESTED[option]}
    without = provider.plan(ImageRequest("a fox", **common))
    try:
        found = provider.plan(ImageRequest("a fox", **common, **options))
    except UnsupportedOption:
        return
    assert _body(found) != _body(without)


def _body(made: Plan) -> tuple[Any, Any]:
    return made.calls[0].json, made.calls[0].form


@pytest.mark.parametrize(
    ("options", "newer"),
    [
        ({"size": "1:1", "resolution": "4k"}, True),
        ({"size": "3:2", "resolution": "4K"}, True),
        ({"size": "3:1"}, True),
        ({"size": "auto"}, True),
        ({"size": "7:5"}, False),
        ({"size": "16:9", "resolution": "8k"}, False),
        ({"quality": "ultra"}, False),
    ],
)
def test_a_refusal_names_a_newer_page_that_allows_it(options: dict[str, Any], newer: bool) -> None:
    """With its date, and the way to send it all the same; what no page allows has no such advice."""
    with pytest.raises(UnsupportedOption) as caught:
        get_provider("apimart").plan(ImageRequest("a fox", **options))
    text = "APIMart's page of 2026-08-21 allows it: --unchecked (unchecked=True in Python) sends it"
    assert (text in str(caught.value)) == newer
    assert (text in str(caught.value.available_from(["evolink"]))) == newer
    assert (text in str(pickle.loads(pickle.dumps(caught.value)))) == newer
    assert plan("apimart", **options).unchecked


def test_what_comes_back_is_compared_with_what_was_requested() -> None:
    """Explicit pixels exactly; of a ratio that the page does not have, the shape."""
    assert plan("apimart", size="512x512").pixels == ((512, 512),)
    made = plan("apimart", size="1:1", resolution="4k")
    assert (made.pixels, made.request.size, made.request.resolution) == ((), "1:1", "4k")
    assert plan("apimart", background="transparent").alpha is True


@pytest.mark.parametrize(
    "options",
    [
        {"n": 0},
        {"n": 10_001},
        {"references": ("http://169.254.169.254/x.png",)},
        {"references": ("file:///etc/passwd",)},
        {"background": "transparent", "output_format": "jpeg"},
        {"extra": {"prompt": "another"}},
    ],
)
def test_what_is_refused_all_the_same(options: dict[str, Any]) -> None:
    """Numbers of pictures, addresses that no service may fetch, and what contradicts itself."""
    with pytest.raises(UnsupportedOption):
        plan("apimart", **options)


def test_a_request_that_the_page_allows_has_no_warning_and_the_same_body() -> None:
    """So that its fingerprint is that of the checked request."""
    checked = get_provider("evolink").plan(ImageRequest("a fox", quality="high"))
    made = plan("evolink", quality="high")
    assert (made.calls, made.warnings) == (checked.calls, checked.warnings)
    assert made.request == checked.request
    assert plan("apimart", size="7:5").request.unchecked


OPTIONS = {"provider": "apimart", "size": "1:1", "quality": "low", "background": "transparent"}
LINE = "-p apimart -s 1:1 -q low --background transparent"
REASON = "not checked: apimart gpt-image-2-official has no background 'transparent' (https://docs.apimart.ai: GPT-Image-2-Official, read "


@pytest.fixture(scope="module")
def server() -> Iterator[Sandbox]:
    """A gateway that takes a transparent background, which its page says that it does not, and makes an opaque picture."""
    with sandbox_thread(duration=0, plain=True) as running:
        yield running


@pytest.fixture
def gateway(server: Sandbox, monkeypatch: pytest.MonkeyPatch) -> Sandbox:
    """Every gateway is the server."""
    server.be_every_gateway(monkeypatch)
    return server


@pytest.fixture
def shell(gateway: Sandbox) -> Iterator[Shell]:
    """A shell with the extension loaded."""
    with a_shell() as running:
        yield running


def backgrounds(gateway: Sandbox, prompt: str) -> list[str]:
    """Return what was sent for a prompt."""
    return sorted(entry["json"]["background"] for entry in gateway.accepted(prompt))


def check_record(image: GeneratedImage) -> None:
    """Check that the image, its row in the ledger and its sidecar record what was not checked."""
    assert image.request.unchecked
    (reason,) = image.unchecked
    assert reason.startswith(REASON)
    (row,) = loop.run(api.ledger().pictures(ids=[image.id]))
    assert row.asked["unchecked"] is True
    assert row.resolved["unchecked"] is True
    assert generated(row).unchecked == image.unchecked
    assert json.loads(image.path.with_suffix(".json").read_text(encoding="utf-8"))["asked"]["unchecked"] is True


class TestEverywhere:
    """A cell, Python and sweeps send it; ledger, sidecar, caption, history and recall show it."""

    def test_python(self, gateway: Sandbox) -> None:
        """`generate(..., unchecked=True)`; what came is compared all the same."""
        with pytest.raises(UnsupportedOption):
            run(generate("in Python", **OPTIONS))
        (image,) = run(generate("in Python", **OPTIONS, unchecked=True))
        assert backgrounds(gateway, "in Python") == ["transparent"]
        check_record(image)
        assert image.differences == ("asked a transparent background, got an opaque one",)

    def test_cell(self, shell: Shell, gateway: Sandbox, capsys: pytest.CaptureFixture[str]) -> None:
        """`--unchecked`; the plan, the caption, the history and the recalled cell say so."""
        shell.run(f"%%imagegen {LINE} --unchecked --dry-run\nin a cell")
        assert REASON in "".join(shell.shown())
        shell.run(f"%%imagegen {LINE} --unchecked\nin a cell")
        assert backgrounds(gateway, "in a cell") == ["transparent"]
        assert REASON in "".join(shell.shown())
        (image,) = shell.variables["_imagegen"]
        check_record(image)
        shell.run("%imagegen history")
        assert "apimart gpt-image-2-official, not checked" in "".join(shell.shown())
        capsys.readouterr()
        shell.run(f"%imagegen show {image.id}")
        assert REASON in capsys.readouterr().out
        for source in (f"@{image.id}", image.path, image.path.with_suffix(".json")):
            shell.run(f"%imagegen recall {source}")
            assert "--background transparent --unchecked" in capsys.readouterr().out

    def test_recall_without_the_ledger(self, shell: Shell, gateway: Sandbox, capsys: pytest.CaptureFixture[str]) -> None:
        """From the sidecar alone, on another machine."""
        (image,) = run(generate("recalled elsewhere", **OPTIONS, unchecked=True))
        sidecar = image.path.with_suffix(".json")
        stored = json.loads(sidecar.read_text(encoding="utf-8"))
        sidecar.write_text(json.dumps(stored | {"sha256": "0" * 64}), encoding="utf-8")
        shell.run(f"%imagegen recall {sidecar}")
        assert "--unchecked\nrecalled elsewhere" in capsys.readouterr().out

    def test_sweep_in_python(self, gateway: Sandbox) -> None:
        """`sweep(..., unchecked=True)`: the value that the page refuses is one of the axis."""
        options = {name: value for name, value in OPTIONS.items() if name != "background"}
        axes = {"background": ["opaque", "transparent"]}
        with pytest.raises(UnsupportedOption):
            run(sweep("a sweep", axes, **options))
        images = {image.request.background: image for image in run(sweep("a sweep", axes, **options, unchecked=True))}
        assert backgrounds(gateway, "a sweep") == ["opaque", "transparent"]
        check_record(images["transparent"])
        assert images["opaque"].unchecked == ()

    def test_sweep_in_a_cell(self, shell: Shell, gateway: Sandbox) -> None:
        """`%%imagegen --sweep … --unchecked`; the dry run names the page."""
        line = "-p apimart -s 1:1 -q low --sweep background=opaque,transparent"
        with pytest.raises(UnsupportedOption):
            shell.run(f"%%imagegen {line}\na sweep in a cell")
        shell.run(f"%%imagegen {line} --unchecked --dry-run\na sweep in a cell")
        assert REASON in "".join(shell.shown())
        shell.run(f"%%imagegen {line} --unchecked\na sweep in a cell")
        assert backgrounds(gateway, "a sweep in a cell") == ["opaque", "transparent"]

    @pytest.mark.parametrize("value", ["false", "", 0, 1])
    def test_what_is_no_truth_value(self, gateway: Sandbox, value: Any) -> None:
        """A text such as "false" does not lift the check."""
        with pytest.raises(UnsupportedOption, match="unchecked"):
            run(generate("no truth value", **OPTIONS, unchecked=value))
        assert gateway.submissions("no truth value") == []

    def test_it_is_no_axis(self, shell: Shell) -> None:
        """It is how a request is checked, and no picture depends on it."""
        with pytest.raises(UnsupportedOption, match="unchecked"):
            shell.run("%%imagegen -p apimart --sweep unchecked=true,false\na sweep over the check")

    def test_the_budget_holds(self, shell: Shell, gateway: Sandbox) -> None:
        """It never covers what costs more than a budget allows."""
        shell.run("%imagegen budget 0.001 --per session")
        with pytest.raises(BudgetExceeded):
            shell.run(f"%%imagegen {LINE} --unchecked\ntoo dear")
        assert gateway.submissions("too dear") == []

    def test_an_identical_request_is_reused(self, gateway: Sandbox) -> None:
        """The fingerprint is that of the body, so a page that is corrected later does not pay twice."""
        (first,) = run(generate("twice", **OPTIONS, unchecked=True))
        (again,) = run(generate("twice", **OPTIONS, unchecked=True, reuse=True))
        assert (again.id, again.reused, again.unchecked) == (first.id, True, first.unchecked)
        assert len(gateway.accepted("twice")) == 1
