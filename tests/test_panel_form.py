"""The panel's form and its state without a kernel: every value of every model is enabled if its plan takes it, and is what is sent."""

import pytest
from gateway_table import every_model

from imagegen_magic.engine import loop
from imagegen_magic.engine.settings import load
from imagegen_magic.errors import UnsupportedOption
from imagegen_magic.notebook.panel.form import Form
from imagegen_magic.notebook.panel.state import PanelState, read
from imagegen_magic.notebook.panel.sweep import PanelSweep
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


# --- the groups and the sweep


@pytest.fixture
def state(monkeypatch):
    """The state of a panel for one model, with a key."""
    monkeypatch.setenv("APIMART_API_KEY", "sk-apimart")
    return PanelState(load(), ImageRequest("A fox, {{style}}", size="16:9", quality="high"), "apimart", None)


def planned(state, *axes, **more):
    """Return the panel's sweep over these axes, planned."""
    sweep = PanelSweep(state)
    for number, (name, values) in enumerate(axes):
        sweep.set(f"name {number}", name)
        sweep.set(f"values {number}", values)
    for name, value in more.items():
        sweep.set(name, value)
    sweep.make_plan()
    return sweep


def test_a_sweep_shows_its_pictures_and_price(state):
    """The axes replace what the form has; the rest of the request is sent with each combination, as a cell with --sweep sends it."""
    sweep = planned(state, ("style", "oil painting | ink"), ("quality", "low, medium"), repeat=2)
    found, estimate = sweep._planned.plan, sweep._planned.estimate
    assert [(each.request.prompt, each.request.quality, each.request.size) for each in found.requests[::2]] == [
        (f"A fox, {style}", quality, "16:9") for style in ("oil painting", "ink") for quality in ("low", "medium")
    ]
    assert sweep.headline.startswith("8 pictures: style (2) × quality (2), 2 of each · ")
    assert (estimate.new, str(estimate.price[0]) in sweep.headline) == (8, True)
    assert sweep.summary() == "Style × Quality: 8 pictures"
    assert sweep.is_ready
    state.choose("size", "1:1")
    assert not sweep.is_ready


def test_what_a_sweep_cannot_do_is_shown_before_it_starts(state):
    """An unfilled placeholder, a value that no plan takes, and the choice to leave such combinations out."""
    assert planned(state, ("quality", "low")).problem.startswith("There is no value for {{style}} in the prompt")
    sweep = planned(state, ("style", "ink"), ("size", "1:1 | 17:1"))
    assert "1 of 2 combinations are not possible" in sweep.problem
    assert sweep.has_impossible
    assert not sweep.is_ready
    with pytest.raises(UnsupportedOption):
        sweep.start(state.settings.folder)
    sweep.set("skip_impossible", True)
    sweep.make_plan()
    assert (sweep.problem, sweep.is_ready, sweep.has_impossible) == ("", True, True)


def test_a_sweep_over_services(state, monkeypatch):
    """The service is an axis: each takes its own default model. Those without a key are refused before anything is sent."""
    monkeypatch.setenv("EVOLINK_API_KEY", "sk-evolink")
    state.choose("model", state.provider.models[0].name)
    sweep = planned(state, ("style", "ink"), ("provider", "apimart | evolink"))
    assert [request.plan.provider for request in sweep._planned.plan.requests] == ["apimart", "evolink"]
    assert "No key" in planned(state, ("style", "ink"), ("provider", "apimart | xingchao")).problem


def test_many_pictures_of_a_sweep_are_confirmed_by_a_second_press(state):
    """The limit is that of a cell; a change in between asks again."""
    state.settings = state.settings.replace("here", ask_above_pictures=2)
    sweep = planned(state, ("style", "oil | ink | chalk"))
    assert sweep.question().startswith("This is 3 pictures. Nothing was sent: press Start sweep again to make them.")
    assert sweep.question() == ""
    assert sweep.question() != ""
    sweep.set("repeat", 2)
    sweep.make_plan()
    assert "6 pictures" in sweep.question()


def test_what_can_vary(state):
    """Words of the prompt first, then options and parameters of the model, the model and the service; each with an example."""
    sweep = PanelSweep(state)
    names = [name for _, name in sweep.axis_names()]
    assert names[:2] == ["", "style"]
    assert {"size", "quality", "resolution", *state.validation.model.parameters} <= set(names)
    assert names[-2:] == ["model", "provider"]
    assert all(sweep.suggestion(name) for name in names[1:])
    sweep.set("name 0", "quality")
    sweep.set("values 0", "low")
    sweep.set("name 0", "style")
    assert sweep.choice.values[0] == ""


def test_what_is_folded_is_named_in_the_head_and_unfolds_when_it_is_refused(state):
    """The head lists what is set; a refused value is never hidden, and the group can be folded again."""
    form = Form(lambda option, value: None)
    draw(form, state)
    assert (form._more.summary, form._more.unfolded) == ("", False)
    for option, value in (("output_format", "jpeg"), ("extra", read("extra", 'mood=blue "note=two words" steps=3'))):
        state.choose(option, value)
    draw(form, state)
    assert form._more.summary == "format jpeg, mood blue, note two words, steps 3"
    assert form.parameters.extra.value == "mood=blue 'note=two words' steps=3"
    state.choose("background", "plaid")
    draw(form, state)
    assert form._more.unfolded
    form._more.unfolded = False
    draw(form, state)
    assert not form._more.unfolded
    with pytest.raises(UnsupportedOption, match="are no fields"):
        read("extra", "mood")
