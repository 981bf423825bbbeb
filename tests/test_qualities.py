"""Every quality of every model is offered in each place where a quality can be chosen; other models refuse it and name what works."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
from gateway_table import MODELS, PROVIDERS
from servers import Sandbox, sandbox_thread
from shells import Shell, a_shell

from imagegen_magic import generate, run
from imagegen_magic.engine.settings import load
from imagegen_magic.errors import UnsupportedOption
from imagegen_magic.notebook.panel.form import Form
from imagegen_magic.notebook.panel.state import PanelState
from imagegen_magic.options import option_for
from imagegen_magic.providers.model import Model
from imagegen_magic.request import ImageRequest
from imagegen_magic.studies.sweeps import plan as sweeps

NEWER = ("xhigh", "max")


def model_of(gateway: str) -> tuple[str, Model]:
    """Return the name of the gateway and the model of an entry of the table."""
    name, _, model = gateway.partition("/")
    return name, PROVIDERS[name].model(model)


WITH = [gateway for gateway in MODELS if set(NEWER) <= set(model_of(gateway)[1].qualities)]
WITHOUT = [gateway for gateway in MODELS if not set(NEWER) & set(model_of(gateway)[1].qualities)]


@pytest.fixture
def shell() -> Iterator[Shell]:
    """A shell with the extension loaded."""
    with a_shell() as running:
        yield running


@pytest.fixture(scope="module")
def server() -> Iterator[Sandbox]:
    """All gateways."""
    with sandbox_thread(duration=0, plain=True) as running:
        yield running


def test_the_models_that_have_them() -> None:
    """Both models of 2.5 at both gateways, and each model has both qualities or none."""
    assert [f"{name}/gpt-image-2.5-{kind}" for name in ("apimart", "evolink") for kind in ("flare", "sunburst")] == WITH
    assert sorted(WITH + WITHOUT) == sorted(MODELS)


def test_the_help_and_the_option_name_every_quality(shell: Shell, capsys: pytest.CaptureFixture[str]) -> None:
    """In the order of the page."""
    known = {quality for gateway in MODELS for quality in model_of(gateway)[1].qualities}
    option = option_for("--quality")
    assert option is not None
    assert set(option.values) == known
    shell.run("%imagegen --help")
    assert option.help in capsys.readouterr().out + "".join(shell.shown())
    assert all(quality in option.help for quality in known)


@pytest.mark.parametrize("gateway", MODELS)
def test_tab(shell: Shell, gateway: str) -> None:
    """Exactly those of the model, in a cell and in a line, also from a beginning."""
    name, model = model_of(gateway)
    for magic in ("%%imagegen", "%imagegen"):
        assert shell.tab(f"{magic} -p {name} -m {model.name} --quality ") == list(model.qualities)
        assert shell.tab(f"{magic} -p {name} -m {model.name} -q xh") == [each for each in model.qualities if each == "xhigh"]


@pytest.mark.parametrize("gateway", MODELS)
def test_panel(gateway: str) -> None:
    """The panel's bar has exactly those of the model, each can be chosen, and what is chosen is sent."""
    name, model = model_of(gateway)
    state = PanelState(load(), ImageRequest("a fox", model=model.name), name, None)
    assert [each.value for each in state.validation.values["quality"] if not each.reason] == list(model.qualities)
    form = Form(state.choose)
    form.draw(state)
    assert [each["value"] for each in form.bars["quality"].options] == list(model.qualities)
    for quality in model.qualities:
        state.choose("quality", quality)
        assert (state.validation.plan.calls[0].json or {})["quality"] == quality if state.validation.plan else False


@pytest.mark.parametrize("gateway", WITH)
def test_cell_and_sweep(shell: Shell, gateway: str) -> None:
    """As an option, as a configured value, and as the values of an axis."""
    name, model = model_of(gateway)
    chosen = f"-p {name} -m {model.name}"
    for quality in NEWER:
        shell.run(f"%%imagegen {chosen} -q {quality.upper()} --dry-run\na fox")
        assert f'"quality": "{quality}"' in "".join(shell.shown())
        shell.run(f"%config ImageGenMagics.quality = {quality!r}")
        shell.run(f"%%imagegen {chosen} --dry-run\na fox")
        assert f'"quality": "{quality}"' in "".join(shell.shown())
    shell.run("%config ImageGenMagics.quality = None")
    shell.run(f"%%imagegen {chosen} --sweep quality={','.join(model.qualities)} --dry-run\na fox")
    text = "".join(shell.shown())
    assert f"{len(model.qualities)} pictures: quality ({len(model.qualities)})" in text
    axes = {"quality": list(model.qualities)}
    planned = sweeps.plan(ImageRequest("a fox", model=model.name), axes, settings=load(), provider=name, keys=False)
    assert [each.plan.request.quality for each in planned.requests] == list(model.qualities)
    shell.run(f"%imagegen models {name}")
    assert any("low, medium, high, xhigh, max" in text for text in shell.shown())


@pytest.mark.parametrize("quality", NEWER)
@pytest.mark.parametrize("gateway", WITH)
def test_a_picture_comes(server: Sandbox, monkeypatch: pytest.MonkeyPatch, gateway: str, quality: str) -> None:
    """The gateway gets it, and the picture names it."""
    server.be_every_gateway(monkeypatch)
    name, model = model_of(gateway)
    prompt = f"{gateway} in {quality}"
    (image,) = run(generate(prompt, provider=name, model=model.name, size="1:1", quality=quality))
    assert image.request.quality == quality
    assert [entry["json"]["quality"] for entry in server.accepted(prompt)] == [quality]


@pytest.mark.parametrize("quality", NEWER)
@pytest.mark.parametrize("gateway", WITHOUT)
def test_other_models_refuse_it_with_a_fix(gateway: str, quality: str) -> None:
    """The fix is a quality of the model, or to leave it out, and its plan takes it; in the panel a button applies it."""
    name, model = model_of(gateway)
    request = ImageRequest("a fox", model=model.name, quality=quality)
    with pytest.raises(UnsupportedOption) as caught:
        PROVIDERS[name].plan(request)
    assert caught.value.option == "quality"
    assert caught.value.fix is not None
    assert PROVIDERS[name].plan(replace(request, **caught.value.fix)).request.quality in (*model.qualities, None)
    state = PanelState(load(), request, name, None)
    (problem,) = state.validation.problems
    assert "gpt-image-2.5-flare, gpt-image-2.5-sunburst" in problem.text
    state.apply_fixes()
    assert state.validation.problems == ()
