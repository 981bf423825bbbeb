"""Alternatives come from the gateways' plans: possible values, fixes, other models and gateways that can."""

import itertools
from dataclasses import replace

import pytest
from gateway_table import PROVIDERS as FOUR
from gateway_table import every_model
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from imagegen_magic.errors import UnsupportedOption
from imagegen_magic.options import OPTIONS
from imagegen_magic.providers import registry
from imagegen_magic.providers.alternatives import apply_fixes, validate
from imagegen_magic.providers.model import VALUE_LISTS
from imagegen_magic.request import ImageRequest

pytestmark = pytest.mark.slow

PROVIDERS = registry.all_providers()
MODELS = every_model()
FEW = settings.default.max_examples // 8  # for each model, and there are dozens of them
EVERYTHING = {
    "size": ["auto", "1:1", "3:2", "16:9", "3:1", "9:21", "5:3", "1536x1024", "1000x1000", "1881x836"],
    "resolution": ["1k", "2k", "4k"],
    "quality": ["auto", "low", "medium", "high"],
    "background": ["auto", "opaque", "transparent"],
    "moderation": ["auto", "low"],
    "output_format": ["png", "jpeg", "webp"],
    "output_compression": [0, 50, 101],
    "n": [1, 4, 11, 40],
    "references": [("https://pictures.example/a.png",), ("ftp://no",), tuple(f"https://pictures.example/{n}.png" for n in range(20))],
}


def requests(model):
    """Return requests in which each option is given or left out."""
    options = {name: st.none() | st.sampled_from(values) for name, values in EVERYTHING.items()}
    return st.fixed_dictionaries(options).map(
        lambda requested: ImageRequest("a fox", model=model.name, **{name: value for name, value in requested.items() if value is not None})
    )


def refused_by(provider, request):
    """Return the error with which the gateway's own plan refuses a request, None if it accepts it."""
    try:
        provider.plan(request)
    except UnsupportedOption as error:
        return error
    return None


def refusal(provider, request):
    """Return why the gateway's own plan refuses a request, "" if it accepts it."""
    error = refused_by(provider, request)
    return error.what if error else ""


def fitting(provider, request):
    """Return the request with what cannot be had fixed."""
    for _ in range(4):
        request = apply_fixes(request, validate(provider, request).problems)
    return request


@pytest.mark.parametrize(("provider", "model"), MODELS)
def test_every_offered_value_is_planned_and_every_other_is_refused(provider, model):
    """A value is enabled exactly where the gateway's own plan takes it beside the others, and a disabled one carries the refusal."""

    @settings(max_examples=FEW, suppress_health_check=list(HealthCheck))
    @given(request=requests(model))
    def held(request):
        request = fitting(provider, request)
        for option, values in validate(provider, request).values.items():
            for value in values:
                asked = replace(request, **{option: value.value})
                assert value.reason.startswith(refusal(provider, asked))
                assert bool(value.reason) == bool(refusal(provider, asked))

    held()


@pytest.mark.parametrize(("provider", "model"), MODELS)
def test_what_a_model_cannot_do_is_refused_and_the_fix_works(provider, model):
    """Whatever is asked, the panel names each problem in words, and taking what it offers ends at a plan within a few steps."""

    @settings(max_examples=FEW, suppress_health_check=list(HealthCheck))
    @given(request=requests(model))
    def held(request):
        validation = validate(provider, request)
        assert bool(validation.problems) == bool(refusal(provider, request))
        assert (validation.plan is None) == bool(validation.problems)
        assert all(problem.text and problem.label for problem in validation.problems)
        assert refusal(provider, fitting(provider, request)) == ""

    held()


@pytest.mark.parametrize(("provider", "model"), MODELS)
def test_the_fix_of_a_refusal_is_accepted(provider, model):
    """With a refusal's `fix` applied the model accepts the options that it names."""

    @settings(max_examples=FEW, suppress_health_check=list(HealthCheck))
    @given(request=requests(model))
    def held(request):
        refused = refused_by(provider, request)
        if refused and refused.fix:
            again = refused_by(provider, replace(request, **refused.fix))
            assert again is None or again.option not in refused.fix

    held()


@pytest.mark.parametrize(
    ("gateway", "options", "fix"),
    [
        ("apimart", {"size": "1:1", "resolution": "4k"}, {"resolution": "2k"}),
        ("apimart", {"size": "5:3", "resolution": "2k"}, {"size": "16:9", "resolution": "2k"}),
        ("evolink", {"size": "1000x1000"}, {"size": "1008x1008"}),
        ("evolink", {"size": "1024:1024"}, {"size": "1024x1024"}),
        ("gccai", {"size": "2k"}, {"size": None, "resolution": "2k"}),
        ("gccai", {"n": 20_000}, {"n": 10_000}),
        ("gccai", {"quality": "hihg"}, {"quality": "high"}),
        ("gccai", {"output_format": "png", "output_compression": 50}, {"output_format": "jpeg"}),
        ("gccai", {"output_format": "jpeg", "output_compression": 101}, {"output_compression": 100}),
        ("xingchao", {"moderation": "low"}, {"moderation": None}),
        ("xingchao", {"size": "1024x1024", "resolution": "1k"}, {"resolution": None}),
    ],
)
def test_a_refusal_has_its_fix_as_data(gateway, options, fix):
    """`fix` maps options to values; None leaves an option out."""
    provider = registry.get_provider(gateway)
    with pytest.raises(UnsupportedOption) as caught:
        provider.plan(ImageRequest("a fox", **options))
    assert caught.value.fix == fix


def test_the_options_with_values_are_the_documented_ones():
    """Each option of a request with values, and the size, is one of `VALUE_LISTS`; its values are those that some model has."""
    assert {option.name for option in OPTIONS if option.values and option.setting == "request"} | {"size"} == set(VALUE_LISTS)
    models = [model for provider in registry.all_providers() for model in provider.models]
    for option in OPTIONS:
        if option.values and option.setting == "request":
            assert set(option.values) == {value for model in models for value in getattr(model, VALUE_LISTS[option.name])}, option.name


def test_4k_square_at_apimart_is_disabled_with_its_reason():
    """Square at 4k cannot be had at apimart: with 1:1 chosen 4k is disabled, with 4k chosen 1:1 is, each with the nearest."""
    apimart = registry.get_provider("apimart")
    square = {value.value: value.reason for value in validate(apimart, ImageRequest("", size="1:1")).values["resolution"]}
    assert square["1k"] == square["2k"] == ""
    assert "no resolution '4k' at 1:1" in square["4k"]
    assert "Try resolution 2k" in square["4k"]
    large = {value.value: value.reason for value in validate(apimart, ImageRequest("", size="16:9", resolution="4k")).values["size"]}
    assert "at 1:1" in large["1:1"]
    assert large["21:9"] == ""


def test_a_model_without_the_option_says_so_and_nothing_is_switched():
    """Going to a model that lacks what was chosen keeps the choice, says so and offers the nearest."""
    gccai = registry.get_provider("gccai")
    request = ImageRequest("a fox", model="gpt-image-1.5-official", size="16:9", output_format="webp")
    validation = validate(gccai, request, PROVIDERS)
    assert [(problem.option, problem.label) for problem in validation.problems] == [("size", "Use 3:2"), ("output_format", "Use png")]
    assert "available from" in validation.problems[0].text
    assert apply_fixes(request, validation.problems).size == "3:2"


def test_typed_pixels_are_held_against_the_rule():
    """Pixels off the rule are refused with the nearest that obey it."""
    validation = validate(registry.get_provider("evolink"), ImageRequest("a fox", size="1000x1000"))
    assert [(problem.option, problem.fix) for problem in validation.problems] == [("size", "1008x1008")]


def test_a_reason_is_sentences():
    """Each part of it begins with a capital letter."""
    (problem,) = validate(registry.get_provider("xingchao"), ImageRequest("a fox", output_format="webp"), PROVIDERS).problems
    assert problem.text.startswith("xingchao gpt-image-2 has no option output_format. Leave output_format out. This is available from ")


def test_sandbox_pictures_are_no_references_elsewhere():
    """An address inside the sandbox is refused as a reference to a real gateway, and taken in the sandbox."""
    request = ImageRequest("a fox", references=("https://sandbox.invalid/files/a.png", "https://pictures.example/b.png"))
    evolink = registry.get_provider("evolink")
    (problem,) = validate(evolink, request).problems
    assert problem.fix == ("https://pictures.example/b.png",)
    assert validate(evolink, request, sandbox=True).problems == ()


def test_a_new_gateway_appears_by_itself():
    """A gateway that the panel has never heard of is offered with what its data says, and nothing else."""
    from imagegen_magic.providers.base import Model, Provider

    class Hello(Provider):
        """A gateway of one ratio."""

        name, title = "hello", "Hello"
        base_url, key_variable = "https://api.hello.example", "HELLO_API_KEY"
        models = (Model(name="hello-1", sizes={"1:1": {"1k": (1024, 1024)}}, checked="2026-11-20", document="https://hello.example"),)

    validation = validate(Hello(), ImageRequest("a fox"))
    assert [value.value for value in validation.values["size"]] == ["1:1"]
    assert all(validation.values[option] == () for option in VALUE_LISTS if option != "size")


def test_an_empty_prompt_is_no_complaint_and_no_plan():
    """Before anything is typed the panel shows what would happen, but holds no plan that could be sent."""
    for (provider, model), prompt in itertools.product((each.values for each in MODELS), ("", "  \n")):
        validation = validate(provider, ImageRequest(prompt, model=model.name))
        assert (validation.problems, validation.plan) == ((), None)
        assert validation.likely.images_per_call == (1,)


def test_only_gateways_with_a_key_are_named_beside_a_problem():
    """In the sandbox and where no keys are known, all are named; where none has a key, each is marked."""
    xingchao, request = registry.get_provider("xingchao"), ImageRequest("a fox", moderation="low")
    for ready, named in ((lambda one: one.name == "gccai", "from gccai"), (lambda one: False, "from apimart (no key), gccai (no key)")):
        (problem,) = validate(xingchao, request, FOUR.values(), ready=ready).problems
        assert problem.text.endswith(f"available {named}")
