"""Parameters of a request: `--seed`, `--negative-prompt`, `--partials`, `--set` of what the model declares, and axes of these names."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import pytest
from IPython.core.error import UsageError
from PIL import Image
from shells import a_shell

from imagegen_magic import generate, run
from imagegen_magic.engine import api, loop
from imagegen_magic.engine.jobs.builder import fingerprint
from imagegen_magic.engine.jobs.task import RunningTask, known_seeds
from imagegen_magic.engine.ledger import stored_requests
from imagegen_magic.engine.settings import load
from imagegen_magic.errors import UnsupportedOption
from imagegen_magic.imaging.metadata import embed
from imagegen_magic.notebook.arguments import parser
from imagegen_magic.notebook.arguments.cell_text import cell
from imagegen_magic.notebook.arguments.request_builder import build_request
from imagegen_magic.notebook.output.captions import caption
from imagegen_magic.notebook.panel.form import Form
from imagegen_magic.notebook.panel.parameters import ParameterFields
from imagegen_magic.notebook.panel.state import PanelState, read
from imagegen_magic.providers import alternatives, registry
from imagegen_magic.providers.base import Model, Parameter, Provider
from imagegen_magic.request import ImageRequest
from imagegen_magic.studies.comparison import settings
from imagegen_magic.studies.history import provenance
from imagegen_magic.studies.sweeps import plan as sweeps

PARAMETERS = {
    "seed": Parameter("integer", minimum=0, maximum=2**31, counted=True, common=True),
    "negative_prompt": Parameter("text"),
    "steps": Parameter("integer", "config.steps", 1, 50),
    "style": Parameter("choice", choices=("photo", "ink")),
}


class Tunable(Provider):
    """A service whose first model has parameters; its second has none."""

    name, title = "tunable", "Tunable"
    base_url, key_variable = "https://api.tunable.example", "TUNABLE_API_KEY"
    models = tuple(
        Model(
            name=name,
            sizes={"1:1": {"1k": (64, 64)}},
            max_n=1,
            parameters=parameters,
            checked="2026-11-30",
            document="https://tunable.example",
        )
        for name, parameters in (("tune-1", PARAMETERS), ("plain-1", {}))
    )
    field_names: ClassVar[dict[str, str]] = {"model": "model", "prompt": "prompt", "n": "n"}


@pytest.fixture(autouse=True)
def _known(monkeypatch: pytest.MonkeyPatch) -> None:
    known = registry._built_in()
    monkeypatch.setattr(registry, "_built_in", lambda: {**known, "tunable": Tunable()})
    monkeypatch.setenv("TUNABLE_API_KEY", "a-key")


def _request(line: str, prompt: str = "a fox") -> ImageRequest:
    return build_request(parser.read(line).given, prompt, {}, Path())


def _plan(**fields: Any) -> Any:
    return api.plan(api.request_of("a fox", fields), provider="tunable")


def test_options_of_a_line_are_parameters_of_the_request() -> None:
    """Seed and partials are numbers; what is not given is not there."""
    request = _request("--seed 7 --negative-prompt 'text, logos' --partials 2")
    assert dict(request.parameters) == {"seed": 7, "negative_prompt": "text, logos", "partials": 2}
    assert _request("-n 2").parameters == {}
    assert _request("--partials 0").parameters == {}


@pytest.mark.parametrize(("line", "words"), [("--seed seven", "whole number"), ("--partials 4", "0 to 3"), ("--seed", "needs a value")])
def test_a_wrong_value_stops_the_line(line: str, words: str) -> None:
    """As for any option."""
    with pytest.raises(UsageError, match=words):
        parser.read(line)


def test_a_call_takes_them_by_name() -> None:
    """Beside further parameters, and joined with those of a request."""
    request = api.request_of("a fox", {"seed": 7, "negative_prompt": "text", "parameters": {"steps": 30}})
    assert dict(request.parameters) == {"steps": 30, "seed": 7, "negative_prompt": "text"}
    assert dict(api.request_of(request, {"seed": 8}).parameters) == {"steps": 30, "seed": 8, "negative_prompt": "text"}
    assert api.request_of(request, {"n": 2}).parameters == request.parameters
    with pytest.raises(UnsupportedOption, match="There is no option sed") as refused:
        api.request_of("a fox", {"sed": 1})
    assert refused.value.fix == {"seed": 1}


def test_what_the_model_declares_is_set_with_its_range_checked() -> None:
    """`--set steps=30` stands at the parameter's own place; out of range it is refused with the nearest value."""
    (call,) = _plan(extra={"steps": 30}).calls
    assert (call.json or {})["config"] == {"steps": 30}
    with pytest.raises(UnsupportedOption, match="takes no steps 99") as refused:
        _plan(extra={"steps": 99})
    assert (refused.value.fix, refused.value.allowed) == ({"steps": 50}, ("1 to 50",))


def test_what_no_model_declares_stays_a_further_field() -> None:
    """It is sent as it is."""
    (call,) = _plan(extra={"mood": "calm"}).calls
    assert (call.json or {})["mood"] == "calm"


def test_a_seed_counts_up() -> None:
    """`--seed 7 -n 4` is 7, 8, 9, 10."""
    plan = api.plan(_request("--seed 7 -n 4"), provider="tunable")
    assert [(call.json or {})["seed"] for call in plan.calls] == [7, 8, 9, 10]


def test_a_model_without_it_refuses_and_names_who_has_it() -> None:
    """The fix leaves it out."""
    with pytest.raises(UnsupportedOption, match="has no parameter seed") as refused:
        api.plan(api.request_of("a fox", {"model": "plain-1", "seed": 7}), provider="tunable")
    assert refused.value.fix == {"seed": None}
    assert "Leave seed out" in str(refused.value)
    with pytest.raises(UnsupportedOption) as elsewhere:
        alternatives.plan(registry.get_provider("evolink"), api.request_of("a fox", {"seed": 7}), [Tunable()])
    assert elsewhere.value.providers == ("tunable",)


def test_a_service_that_may_not_have_it_is_not_named() -> None:
    """A model that is known in part accepts it unchecked, which is no promise."""
    vague = Model(name="vague-1", sizes={"1:1": {"1k": (64, 64)}}, strict=False, checked="2026-11-30", document="https://vague.example")

    class Vague(Tunable):
        name, models = "vague", (vague,)

    plan = Vague().plan(ImageRequest("a fox", parameters={"steps": "30", "mood": "calm"}))
    assert (plan.calls[0].json or {})["steps"] == 30
    assert [("steps" in line, "mood" in line) for line in plan.unchecked] == [(True, False), (False, True)]
    with pytest.raises(UnsupportedOption) as refused:
        alternatives.plan(registry.get_provider("evolink"), ImageRequest("a fox", parameters={"seed": 7}), [Vague(), Tunable()])
    assert refused.value.providers == ("tunable",)


def test_a_refused_parameter_is_a_problem_of_the_panel_with_its_fix() -> None:
    """The fix changes the parameter, wherever it was given."""
    request = ImageRequest("a fox", extra={"steps": 99, "mood": "calm"}, parameters={"seed": 7})
    problems = alternatives.validate(Tunable(), request).problems
    assert [(problem.option, problem.fix) for problem in problems] == [("steps", 50)]
    fixed = alternatives.apply_fixes(request, problems)
    assert (dict(fixed.parameters), dict(fixed.extra)) == ({"seed": 7, "steps": 50}, {"mood": "calm"})
    (problem,) = alternatives.validate(Tunable(), ImageRequest("a fox", model="plain-1", parameters={"seed": 7})).problems
    assert alternatives.apply_fixes(ImageRequest("a fox", parameters={"seed": 7}), [problem]).parameters == {}


def test_a_fingerprint_has_the_parameters_if_there_are_any() -> None:
    """Equal requests are equal; one without parameters is what it always was."""

    def found(**fields: Any) -> str:
        prepared = api.prepare(api.request_of("a fox", fields), load(), "tunable")
        return fingerprint(prepared, prepared.plan.calls[0])

    assert found() == found(parameters={}) == found(partials=0)
    assert len({found(), found(seed=7), found(seed=8), found(seed=7, parameters={"steps": 3})}) == 4
    assert "parameters" not in ImageRequest("a fox").asked()


def test_a_stored_request_has_them() -> None:
    """In the ledger, in a sidecar and in a file's metadata; what is no mapping is left out."""
    request = api.request_of("a fox", {"seed": 7, "parameters": {"steps": 30}})
    assert stored_requests.request(request.asked()) == request
    assert provenance.asked(request.asked()) == request
    assert stored_requests.unknown({"prompt": "a fox", "parameters": 3}) == ("parameters",)


def test_a_recalled_cell_gives_them_again() -> None:
    """Options of their own as those, the others by --set."""
    request = api.request_of("a fox", {"seed": 7, "negative_prompt": "text, logos", "parameters": {"steps": 30}, "extra": {"mood": "calm"}})
    text = cell(request, "tunable")
    assert text == "%%imagegen -p tunable --seed 7 --negative-prompt 'text, logos' --set steps=30 --set 'mood=\"calm\"'\na fox".replace(
        "-p tunable", "--provider tunable"
    )
    line = text.splitlines()[0].removeprefix("%%imagegen ")
    again = api.plan(_request(line), provider="tunable")
    assert [call.json for call in again.calls] == [call.json for call in api.plan(request, provider="tunable").calls]


def _sweep(axes: dict[str, list[Any]], prompt: str = "a fox", **fields: Any) -> sweeps.SweepPlan:
    return sweeps.plan(api.request_of(prompt, fields), axes, settings=load(), provider="tunable")


def _sent(plan: sweeps.SweepPlan, *path: str) -> list[Any]:
    found: list[Any] = []
    for request in plan.requests:
        value: Any = request.plan.calls[0].json
        for name in path:
            value = value.get(name) if value else None
        found.append(value)
    return found


def test_a_parameter_is_an_axis() -> None:
    """From text and from values; its labels are the values."""
    plan = _sweep({"seed": ["1", "2", "3"], "steps": [20, 30]})
    assert _sent(plan, "seed") == [1, 1, 2, 2, 3, 3]
    assert _sent(plan, "config", "steps") == [20, 30] * 3
    assert plan.requests[0].combination == {"seed": "1", "steps": "20"}


def test_an_axis_that_is_a_slot_is_a_parameter_only_if_the_model_has_it() -> None:
    """For the model without it, it is only the slot."""
    both = _sweep({"style": ["photo", "ink"]}, "a {{style}} of a fox")
    assert (_sent(both, "style"), _sent(both, "prompt")) == (["photo", "ink"], ["a photo of a fox", "a ink of a fox"])
    slot = _sweep({"style": ["photo", "oil"]}, "a {{style}} of a fox", model="plain-1")
    assert (_sent(slot, "style"), _sent(slot, "prompt")) == ([None, None], ["a photo of a fox", "a oil of a fox"])


def test_an_axis_that_the_model_does_not_have_is_refused_with_who_has_it() -> None:
    """As the option would be; a name that no model has is no axis."""
    with pytest.raises(UnsupportedOption, match="has no parameter seed"):
        _sweep({"seed": ["1", "2"]}, model="plain-1")
    with pytest.raises(UnsupportedOption, match="cannot be an axis"):
        _sweep({"sharpnessness": ["1", "2"]})
    with pytest.raises(UnsupportedOption, match="seed is both an axis and an option"):
        _sweep({"seed": ["1", "2"]}, seed=3)


def test_a_sweep_is_the_same_whatever_its_axis_values() -> None:
    """Its fixed options hold no axis, and hold the other parameters."""
    records = [_sweep({"seed": values}, parameters={"steps": 20}).record for values in (["1", "2"], ["2", "1"])]
    assert records[0].fixed == records[1].fixed
    assert "steps" in records[0].fixed


@pytest.fixture
def shell() -> Iterator[Any]:
    """A shell with the extension loaded."""
    with a_shell() as running:
        yield running


def test_pictures_with_seeds_are_made(shell: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """The whole way, from a cell to the ledger, a sidecar and a caption: each picture has its own seed, and the request the first."""
    made = run(generate("a fox", provider="gemini", sandbox=True, seed=7, n=3, parameters={"temperature": 0.5}))
    assert dict(made[0].request.parameters) == {"seed": 7, "temperature": 0.5}
    assert [image.seed for image in made] == [7, 8, 9]
    assert [json.loads(image.path.with_suffix(".json").read_text())["seed"] for image in made] == [7, 8, 9]
    assert "seed 8" in caption(made[1]).text
    assert settings(made[1])["seed"] == "8"
    shell.run(f"%imagegen recall {made[0].id}")
    assert "--seed 7" in capsys.readouterr().out
    (again,) = run(generate("a fox", provider="gemini", sandbox=True, seed=8, parameters={"temperature": 0.5}, reuse=True))
    assert (again.reused, again.seed) == (True, 8)


def test_what_a_service_wrote_is_shown_without_control_characters() -> None:
    """An escape sequence would act on a terminal, and half of a surrogate pair stop the notebook's message."""
    (image,) = run(generate("a fox", provider="gemini", sandbox=True))
    shown = caption(replace(image, text="a \ud83d\x1b[31m red\x00 fox"))
    assert "gemini wrote: a [31m red fox" in shown.text
    assert "gemini wrote: a [31m red fox" in shown.html


def test_a_plan_shows_the_seeds_of_its_pictures(shell: Any) -> None:
    """`--seed 7 -n 4` is 7, 8, 9, 10 there too."""
    shell.run("%%imagegen -p gemini --sandbox --dry-run --seed 7 -n 4\na fox")
    assert "7, 8, 9, 10" in "".join(shell.shown())


def test_a_seed_that_the_service_reports_is_recorded() -> None:
    """It takes precedence, and without one the seed that was sent counts."""
    task, without = (RunningTask(1, 0, 3, 2, sent, "key") for sent in ({"seed": 9}, {}))
    assert known_seeds(task, (11, 12)) == {0: 11, 1: 12}
    assert known_seeds(task, ()) == {0: 9}
    assert known_seeds(without, ()) == {}
    assert known_seeds(without, (11,)) == {0: 11}


def test_a_seed_is_recorded_as_it_was_sent_beside_reused_pictures() -> None:
    """The first picture is an earlier one, so that the second is the first of its job."""
    run(generate("a fox", provider="gemini", sandbox=True, seed=7))
    made = run(generate("a fox", provider="gemini", sandbox=True, seed=7, n=3, reuse=True))
    assert [(image.seed, image.reused) for image in made] == [(7, True), (8, False), (9, False)]
    assert [json.loads(image.path.with_suffix(".json").read_text())["seed"] for image in made] == [7, 8, 9]


def test_a_seed_counts_up_also_where_a_model_does_not_declare_it() -> None:
    """Else several pictures of an unknown server would be the same one, each of them paid for."""
    lab = registry.get_provider("lab", {"lab": {"like": "openai-compatible", "base_url": "http://127.0.0.1:9/v1"}})
    plan = lab.plan(ImageRequest("a fox", model="flux", n=3, parameters={"seed": 7, "steps": 20}))
    assert [(call.json["seed"], call.json["steps"]) for call in plan.calls if call.json] == [(7, 20), (8, 20), (9, 20)]


def test_a_reported_seed_is_in_the_history(monkeypatch: pytest.MonkeyPatch) -> None:
    """A request without a seed has none, and its picture has the service's."""
    gemini = type(registry.get_provider("gemini"))
    read = gemini.read_submission

    def with_seed(self: Any, answer: Any) -> Any:
        submission = read(self, answer)
        return replace(submission, finished=replace(submission.finished, seeds=(4321,)))

    monkeypatch.setattr(gemini, "read_submission", with_seed)
    (image,) = run(generate("a fox", provider="gemini", sandbox=True))
    assert (image.seed, image.request.parameters) == (4321, {})
    (row,) = run(api.ledger(load()).tasks())[0].pictures
    assert (row.id, row.seed) == (image.id, 4321)
    assert json.loads(image.path.with_suffix(".json").read_text())["seed"] == 4321


def test_tab_offers_the_parameters_of_the_model(shell: Any) -> None:
    """Those without an option of their own after --set, with the values of a list; all as axes, the common ones first."""
    assert shell.tab("%%imagegen -p tunable --set ") == ["steps=", "style=photo", "style=ink"]
    assert shell.tab("%%imagegen -p tunable --set style=p") == ["style=photo"]
    assert shell.tab("%%imagegen -p tunable --sweep ") == ["seed=", "negative_prompt=", "steps=", "style="]
    assert shell.tab("%%imagegen -p tunable -m plain-1 --set ") == []
    assert shell.tab("%%imagegen -p tunable --se") == ["--seed", "--set"]


def test_the_panel_has_a_control_for_each_parameter() -> None:
    """The common ones are shown, the rest unfold; what is typed is sent, and what cannot be sent is a problem with its fix."""
    state = PanelState(load(), ImageRequest("a fox"), "tunable", None)
    form = Form(lambda option, value: state.choose(option, read(option, value)))

    def draw() -> None:
        async def drawing() -> None:
            form.draw(state)

        loop.run(drawing())

    draw()
    assert list(form.parameters.fields) == ["seed", "negative_prompt", "steps", "style"]
    form.parameters.fields["seed"].value = "7"
    form.parameters.fields["style"].value = "ink"
    assert dict(state.request.parameters) == {"seed": 7, "style": "ink"}
    form.parameters.fields["steps"].value = "99"
    assert [(problem.option, problem.fix) for problem in state.validation.problems] == [("steps", 50)]
    state.apply_fixes()
    draw()
    assert (form.parameters.fields["steps"].value, state.validation.problems) == ("50", ())
    form.parameters.fields["style"].value = ""
    assert dict(state.request.parameters) == {"seed": 7, "steps": 50}
    state.choose("model", "plain-1")
    draw()
    assert form.parameters.fields == {}
    assert {problem.option for problem in state.validation.problems} == {"seed", "steps"}


def test_many_parameters_are_folded() -> None:
    """A model with 40 of them shows the common one; the rest stands in a group, as do fields that it does not declare."""
    many = {f"knob_{number}": Parameter("integer") for number in range(39)} | {"seed": Parameter("integer", common=True)}
    model = replace(Tunable.models[0], parameters=many)
    fields = ParameterFields(lambda option, value: None)

    async def drawing() -> None:
        fields.draw(model, {"knob_3": 5, "seed": True, "mood": "dark blue"})

    loop.run(drawing())
    assert (len(fields.common.children), len(fields.further.children)) == (1, 39)
    assert (fields.fields["knob_3"].value, fields.extra.value) == ("5", "'mood=dark blue'")


def test_a_files_metadata_holds_them() -> None:
    """They come back from the XMP of a copy, as the request had them."""
    request = api.request_of("a fox", {"seed": 7, "negative_prompt": "text", "parameters": {"steps": 30}})
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8)).save(buffer, "PNG")
    found = embed.read(embed.embed(buffer.getvalue(), embed.Origin("a fox", asked=request.asked(), gateway="tunable")))
    assert found is not None
    assert provenance.asked({"prompt": found.prompt, **found.asked}) == request
