"""What the panel offers is what the gateways can do: every value planned first, every refusal told with its nearest."""

import itertools
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from imagegen_magic.errors import UnsupportedOption
from imagegen_magic.notebook.panel.choices import CHOICES, judge, mended
from imagegen_magic.providers import registry
from imagegen_magic.request import ImageRequest

PROVIDERS = registry.all_providers()
MODELS = [(provider, model) for provider in PROVIDERS for model in provider.models]
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
    """Return requests in which each option is said or left out."""
    options = {name: st.none() | st.sampled_from(values) for name, values in EVERYTHING.items()}
    return st.fixed_dictionaries(options).map(
        lambda said: ImageRequest("a fox", model=model.name, **{name: value for name, value in said.items() if value is not None})
    )


def refusal(provider, request):
    """Return why the gateway's own plan refuses a request, empty where it does not."""
    try:
        provider.plan(request)
    except UnsupportedOption as refused:
        return refused.what
    return ""


def fitting(provider, request):
    """Return the request with what cannot be had mended away."""
    for _ in range(4):
        request = mended(request, judge(provider, request).problems)
    return request


@pytest.mark.parametrize(("provider", "model"), MODELS, ids=lambda each: each.name)
def test_every_offered_value_is_planned_and_every_other_is_refused(provider, model):
    """A value is enabled exactly where the gateway's own plan takes it beside the others, and a disabled one carries the refusal."""

    @settings(max_examples=6, deadline=None, suppress_health_check=list(HealthCheck))
    @given(request=requests(model))
    def held(request):
        request = fitting(provider, request)
        for option, values in judge(provider, request).values.items():
            for value in values:
                asked = replace(request, **{option: value.value})
                assert value.reason.startswith(refusal(provider, asked))
                assert bool(value.reason) == bool(refusal(provider, asked))

    held()


@pytest.mark.parametrize(("provider", "model"), MODELS, ids=lambda each: each.name)
def test_what_cannot_be_had_is_told_and_mended(provider, model):
    """Whatever is asked, the panel names each problem in words, and taking what it offers ends at a plan within a few steps."""

    @settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
    @given(request=requests(model))
    def held(request):
        judgement = judge(provider, request)
        assert bool(judgement.problems) == bool(refusal(provider, request))
        assert (judgement.plan is None) == bool(judgement.problems)
        assert all(problem.words and problem.offer for problem in judgement.problems)
        assert refusal(provider, fitting(provider, request)) == ""

    held()


def test_4k_square_at_apimart_is_disabled_with_its_reason():
    """Square at 4k cannot be had at apimart: with 1:1 chosen 4k is disabled, with 4k chosen 1:1 is, each with the nearest."""
    apimart = registry.get_provider("apimart")
    square = {value.value: value.reason for value in judge(apimart, ImageRequest("", size="1:1")).values["resolution"]}
    assert square["1k"] == square["2k"] == ""
    assert "no resolution '4k' at 1:1" in square["4k"]
    assert "nearest: resolution 2k" in square["4k"]
    large = {value.value: value.reason for value in judge(apimart, ImageRequest("", size="16:9", resolution="4k")).values["size"]}
    assert "at 1:1" in large["1:1"]
    assert large["21:9"] == ""


def test_a_model_without_the_option_says_so_and_nothing_is_switched():
    """Going to a model that lacks what was chosen keeps the choice, says so and offers the nearest."""
    gccai = registry.get_provider("gccai")
    request = ImageRequest("a fox", model="gpt-image-1.5-official", size="16:9", output_format="webp")
    judgement = judge(gccai, request, PROVIDERS)
    assert [(problem.option, problem.offer) for problem in judgement.problems] == [("size", "Use 3:2"), ("output_format", "Use png")]
    assert "exactly this can be done by" in judgement.problems[0].words
    assert mended(request, judgement.problems).size == "3:2"


def test_typed_pixels_are_held_against_the_rule():
    """Pixels off the rule are refused with the nearest that obey it."""
    judgement = judge(registry.get_provider("evolink"), ImageRequest("a fox", size="1000x1000"))
    assert [(problem.option, problem.remedy) for problem in judgement.problems] == [("size", "1008x1008")]


def test_sandbox_pictures_are_no_references_elsewhere():
    """An address inside the sandbox is refused as a reference to a real gateway, and taken in the sandbox."""
    request = ImageRequest("a fox", references=("https://sandbox.invalid/files/a.png", "https://pictures.example/b.png"))
    evolink = registry.get_provider("evolink")
    (problem,) = judge(evolink, request).problems
    assert problem.remedy == ("https://pictures.example/b.png",)
    assert judge(evolink, request, sandbox=True).problems == ()


def test_a_new_gateway_appears_by_itself():
    """A gateway that the panel has never heard of is offered with what its data says, and nothing else."""
    from imagegen_magic.providers.base import Model, Provider

    class Hello(Provider):
        """A gateway of one ratio."""

        name, title = "hello", "Hello"
        base_url, key_variable = "https://api.hello.example", "HELLO_API_KEY"
        models = (Model(name="hello-1", sizes={"1:1": {"1k": (1024, 1024)}}, checked="2026-11-20", document="https://hello.example"),)

    judgement = judge(Hello(), ImageRequest("a fox"))
    assert [value.value for value in judgement.values["size"]] == ["1:1"]
    assert all(judgement.values[option] == () for option in CHOICES if option != "size")


def test_an_empty_prompt_is_no_complaint_and_no_plan():
    """Before anything is typed the panel shows what would happen, but holds no plan that could be sent."""
    for (provider, model), prompt in itertools.product(MODELS, ("", "  \n")):
        judgement = judge(provider, ImageRequest(prompt, model=model.name))
        assert (judgement.problems, judgement.plan) == ((), None)
        assert judgement.likely.pictures == (1,)


def test_only_gateways_with_a_key_are_named_beside_a_problem():
    """In the sandbox and where nobody said who has one, all are named; where none has a key, each is marked."""
    apimart, request = registry.get_provider("apimart"), ImageRequest("a fox", size="1:1", resolution="4k")
    for ready, named in ((lambda one: one.name == "gccai", "by gccai"), (lambda one: False, "by evolink (no key), gccai (no key)")):
        (problem,) = judge(apimart, request, PROVIDERS, ready=ready).problems
        assert problem.words.endswith(f"exactly this can be done {named}")
