"""The panel's form and its state without a kernel: every value of every model is enabled if its plan takes it, and is what is sent."""

import pytest
from gateway_table import every_model

from imagegen_magic.engine import loop
from imagegen_magic.engine.settings import load
from imagegen_magic.errors import UnsupportedOption
from imagegen_magic.notebook.panel.form import Form
from imagegen_magic.notebook.panel.state import PanelState, read
from imagegen_magic.request import ImageRequest

BARS = {
    "resolution": "resolutions",
    "quality": "qualities",
    "background": "backgrounds",
    "moderation": "moderations",
    "output_format": "formats",
}


def is_possible(provider, options):
    """Return whether the gateway's own plan takes these options."""
    try:
        provider.plan(ImageRequest("a fox", **options))
    except UnsupportedOption:
        return False
    return True


@pytest.fixture(params=every_model(as_pair=True))
def choices(request):
    """A form, its state and the options that are chosen in it, for each model."""
    provider, model = request.param
    chosen = {"model": model.name, "size": next(iter(model.sizes))}
    state = PanelState(load(), ImageRequest("a fox", **chosen), provider.name, None)
    form = Form(lambda option, value: state.choose(option, read(option, value)))
    draw(form, state)
    return form, state, chosen


def draw(form, state):
    """Show the state in the form as the panel does, on the engine's loop."""

    async def drawing():
        form.draw(state)

    loop.run(drawing())


def enabled(options):
    """Return whether each value of a control is enabled; a disabled one has a reason."""
    return {one["value"]: not one["reason"] for one in options if one["value"]}


def test_every_value_is_enabled_if_the_plan_takes_it(choices):
    """Bar by bar, with the last possible value chosen in each, and at last each aspect ratio: enabled values and plans agree."""
    form, state, chosen = choices
    provider, model = state.provider, state.validation.model
    for option, values in BARS.items():
        possible = {value: is_possible(provider, {**chosen, option: value}) for value in getattr(model, values)}
        assert enabled(form.bars[option].options) == possible
        assert (form.bars[option].layout.display != "none") == (len(possible) > 1)
        if len(possible) > 1:
            chosen[option] = [value for value in possible if possible[value]][-1]
            form.bars[option].value = chosen[option]
            draw(form, state)
            assert state.validation.chosen(option) == chosen[option]
    for ratio in model.sizes:
        possible = is_possible(provider, {**chosen, "size": ratio})
        assert enabled(form.ratio.options)[ratio] == possible
        if possible:
            form.ratio.value = chosen["size"] = ratio
            draw(form, state)
    assert ("auto" in enabled(form.ratio.options)) == model.auto_size
    assert provider.plan(state.request).calls == provider.plan(ImageRequest("a fox", **chosen)).calls


def test_number_and_compression(choices):
    """More than a task may have is possible; a compression can be typed if the chosen format is compressed."""
    form, state, chosen = choices
    provider, model = state.provider, state.validation.model
    form.number.value = chosen["n"] = model.max_n + 1
    assert (form.compression.layout.display != "none") == bool(model.compressible)
    for value in model.formats:
        form.bars["output_format"].value = chosen["output_format"] = value
        draw(form, state)
        assert form.compression.disabled == (model.strict and value not in model.compressible)
    if model.compressible:
        form.bars["output_format"].value = chosen["output_format"] = model.compressible[0]
        draw(form, state)
        form.compression.value = "55"
        chosen["output_compression"] = 55
    assert state.request.n == model.max_n + 1
    assert provider.plan(state.request).calls == provider.plan(ImageRequest("a fox", **chosen)).calls
