"""Sweeps: axes and placeholders, refusals before anything is sent, one task for each combination, and the result."""

import asyncio
import sys
from dataclasses import replace
from decimal import Decimal

import pytest
import typefaces
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from servers import sandbox_thread

from imagegen_magic import ImageRequest, run
from imagegen_magic.engine import api, loop
from imagegen_magic.engine.settings import load as load_settings
from imagegen_magic.errors import ContentRejected, MissingKey, UnknownProvider, UnsupportedOption
from imagegen_magic.request import LocalImage
from imagegen_magic.result import Cost, Generation
from imagegen_magic.studies.sweeps import axes as sides
from imagegen_magic.studies.sweeps.plan import estimate, load, plan, sweep
from imagegen_magic.studies.sweeps.result import SkippedCombination, summarize

pytestmark = pytest.mark.slow

KINDS = {"style": ["oil", "ink"], "quality": ["low", "high"]}


@pytest.fixture(scope="module")
def gateway():
    """A gateway whose tasks take a twentieth of a second, and that has one picture for all."""
    with sandbox_thread(duration=0.05, plain=True) as server:
        yield server


@pytest.fixture
def at_gateway(gateway, monkeypatch):
    """The gateway, and this process's environment pointing at it."""
    gateway.disarm()
    for name, value in {"IMAGEGEN_POLL_SECONDS": "0.05", "IMAGEGEN_SIZE": "1:1", **gateway.environ()}.items():
        monkeypatch.setenv(name, value)
    return gateway


def planned(prompt="a {{style}} fox", axes=KINDS, **options):
    """Return a plan in the sandbox."""
    chosen = {name: options.pop(name) for name in ("repeat", "skip_impossible", "provider", "variables", "keys") if name in options}
    sure = load_settings().replace("a test", sandbox=True, size="1:1")
    return plan(ImageRequest(prompt, **options), axes, settings=sure, **{"provider": "evolink", **chosen})


def prompts(planned):
    """Return the prompts of a plan's requests."""
    return [each.plan.request.prompt for each in planned.requests]


# --- axes and slots


def test_the_product_of_the_axes_in_their_order():
    """Every combination, the last axis varying fastest, each with its prompt and options."""
    found = planned()
    assert prompts(found) == ["a oil fox", "a oil fox", "a ink fox", "a ink fox"]
    assert [each.plan.request.quality for each in found.requests] == ["low", "high"] * 2
    assert dict(found.requests[1].combination) == {"style": "oil", "quality": "high"}
    assert (found.pictures, found.combinations) == (4, 4)


def test_any_option_can_be_an_axis():
    """Gateway, model, size, n, format: each changes the request and no other option."""
    axes = {"provider": ["apimart", "gccai"], "size": ["1:1", "16:9"], "n": [1, 2]}
    found = planned("a fox", axes, provider=None, model="gpt-image-2-official", quality="low")
    requests = [(each.plan.provider, each.plan.request.size, each.plan.request.n) for each in found.requests]
    assert requests == [(gateway, size, n) for gateway in axes["provider"] for size in axes["size"] for n in (1, 2)]
    assert found.pictures == 12


def test_a_model_can_be_an_axis():
    """Without a gateway, one is selected for each model."""
    found = planned("a fox", {"model": ["gpt-image-2", "gpt-image-2-official"]}, provider=None)
    assert [each.plan.model.name for each in found.requests] == ["gpt-image-2", "gpt-image-2-official"]


def test_an_option_fills_its_placeholder_too():
    """An axis can be named in the prompt."""
    assert prompts(planned("a fox, {{quality}}", {"quality": ["low", "high"]})) == ["a fox, low", "a fox, high"]


def test_a_placeholder_is_replaced_everywhere_and_once():
    """A value that looks like a placeholder is literal."""
    found = planned("{{a}} and {{b}}, {{a}}", {"a": ["{{b}}", "x"], "b": ["{{a}}"]})
    assert prompts(found) == ["{{b}} and {{a}}, {{b}}", "x and {{a}}, x"]


def test_variables_fill_the_other_placeholders_literally():
    """With variables, they fill the placeholders that are not axes; their text is literal even if it looks like a placeholder."""
    found = planned("a {{style}} {{animal}}", {"style": ["oil"]}, variables={"animal": "{{style}} fox"}.__getitem__)
    assert prompts(found) == ["a oil {{style}} fox"]


def test_other_braces_stay():
    """Numbers, spaces and single braces are verbatim."""
    assert prompts(planned("{{1}} { x } {{ y }} {{style}}", {"style": ["oil"]})) == ["{{1}} { x } {{ y }} oil"]


def test_without_axes_the_prompt_is_verbatim():
    """Repeats alone do not interpret braces."""
    assert prompts(planned("a {{style}} fox", {}, repeat=2)) == ["a {{style}} fox"] * 2


def test_an_unknown_axis_is_refused():
    """It is neither an option nor a placeholder: the message names the options."""
    with pytest.raises(UnsupportedOption, match=r"stile cannot be an axis: it is not an option that can vary.* no \{\{stile\}\}"):
        planned(axes={"style": ["oil"], "stile": ["ink"]})


def test_a_placeholder_without_a_value_is_refused():
    """It would be sent as braces, and paid for."""
    with pytest.raises(UnsupportedOption, match=r"There is no value for \{\{mood\}\} in the prompt"):
        planned("a {{style}} {{mood}} fox")


@pytest.mark.parametrize("values", [["oil", "oil"], [1, "1"], [LocalImage(b"x", "image/png", 1, 1, n) for n in "ab"]])
def test_the_same_value_twice_is_refused(values):
    """Two equal columns are a mistake; equal bytes under two names are the same value."""
    name = "references" if isinstance(values[0], LocalImage) else "style"
    with pytest.raises(UnsupportedOption, match=rf"The axis {name} has .* twice.*--repeat"):
        planned(axes={name: values} if name == "style" else {**KINDS, name: values})


@pytest.mark.parametrize(
    ("axes", "words"),
    [
        ({"style": []}, "no value"),
        ({"style": ["oil", ""]}, "empty value"),
        ({"style": "oil"}, "are not a list"),
        ({"style": {"a": 1}}, "are not a list"),
        ({"style": 5}, "are not a list"),
        ({"style": ["oil"], "n": ["two"]}, "is not a whole number"),
        ({"style": ["oil"], "extra": ["seed"]}, "is not an extra field"),
        ({"style": ["oil"], "output-format": ["png"], "output_format": ["jpeg"]}, "given twice"),
    ],
)
def test_axes_that_cannot_be_parsed_are_refused(axes, words):
    """Each with its own message."""
    with pytest.raises(UnsupportedOption, match=words):
        planned(axes=axes)


@pytest.mark.parametrize("options", [{"quality": "low"}, {"provider": "evolink"}])
def test_an_option_cannot_be_an_axis_too(options):
    """None of them is ignored silently."""
    with pytest.raises(UnsupportedOption, match="both an axis and an option"):
        planned("a fox", {next(iter(options)): ["low"]}, **{"provider": None, **options})


@pytest.mark.parametrize("repeat", [0, -1, 1.5])
def test_repeat_is_a_whole_number(repeat):
    """Zero and fractions are refused."""
    with pytest.raises(UnsupportedOption, match="repeat"):
        planned(repeat=repeat)


def test_a_million_tasks_are_refused():
    """Before a hundred thousand plans are made."""
    with pytest.raises(UnsupportedOption, match="1000000 tasks are more than the 100000"):
        planned("{{a}} {{b}}", {"a": range(1000), "b": range(1000)})


def test_references_and_extra_fields_can_be_axes():
    """A value may be one image or several; an extra field is a mapping, or KEY=VALUE as text."""
    pictures = [LocalImage(bytes([n]), "image/png", 8, 8, "same.png") for n in range(2)]
    urls = ["https://example.org/a.png", ["https://example.org/a.png", "https://example.org/b.png"]]
    axis = sides.make_axis("ref", [*pictures, *urls, None])
    assert axis.name == "references"
    assert axis.labels[:2] == ("same.png (1)", "same.png (2)")
    named = [LocalImage(bytes([n]), "image/png", 8, 8, name) for n, name in enumerate(("a", "a (1)", "a", "b"))]
    assert sides.make_axis("ref", named).labels == ("a (2)", "a (1)", "a (3)", "b")
    assert axis.labels[2:] == (urls[0], " + ".join(urls[1]), "none")
    assert sides.make_axis("extra", ["seed=1", {"seed": 2}, "word=a b"]).values == ({"seed": 1}, {"seed": 2}, {"word": "a b"})
    assert sides.make_axis("references", [object(), object()]).labels == ("picture 1", "picture 2")
    found = planned("a fox", {"references": urls})
    assert [each.plan.request.references for each in found.requests] == [(urls[0],), tuple(urls[1])]


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("low,high", ["low", "high"]),
        ("oil painting|ink, on paper", ["oil painting", "ink, on paper"]),
        ("1:1, 16:9 ", ["1:1", "16:9"]),
        ('"oil, on canvas",ink', ["oil, on canvas", "ink"]),
        ("'a|b',c", ["a|b", "c"]),
        ('"a \\" b",c', ['a " b', "c"]),
        ("it's|they're", ["it's", "they're"]),
        ('5" disk,6" disk', ['5" disk', '6" disk']),
        ("水彩,油画🦊", ["水彩", "油画🦊"]),
        ("one", ["one"]),
    ],
)
def test_values_as_text(text, values):
    """Separated by bars, or by commas without a bar; quotes protect a value, and are literal within one."""
    assert sides.split(text) == values


@given(st.lists(st.text(st.characters(blacklist_characters="\"'\\,|", blacklist_categories=["Cs"]), min_size=1), min_size=1, max_size=6))
def test_joined_values_are_split_again(values):
    """Quotes protect any value."""
    assert sides.split(",".join(f'"{value}"' for value in values)) == values


# --- what a gateway cannot do


def test_impossible_combinations_are_refused_all_at_once():
    """Nothing is sent; each reason is given once, with its combinations."""
    with pytest.raises(UnsupportedOption) as refusal:
        planned(axes={**KINDS, "resolution": ["1k", "4k", "8k"]})
    assert "4 of 12 combinations are not possible" in str(refusal.value)
    assert "resolution=8k: evolink gpt-image-2 has no resolution '8k'" in str(refusal.value)
    assert "--skip-impossible" in str(refusal.value)


def test_impossible_combinations_can_be_left_out():
    """They are listed, each with its refusal."""
    found = planned(axes={**KINDS, "resolution": ["1k", "8k"]}, skip_impossible=True)
    assert len(found.requests) == 4
    assert {one.combination["resolution"] for one in found.impossible} == {"8k"}
    assert all(isinstance(one.error, UnsupportedOption) for one in found.impossible)
    assert found.combinations == 8


def test_nothing_possible_is_an_error_even_then():
    """A sweep without combinations is an error."""
    with pytest.raises(UnsupportedOption, match="None of the combinations is possible: resolution=8k: evolink"):
        planned(axes={**KINDS, "resolution": ["8k", "16k"]}, skip_impossible=True)


def test_many_reasons_are_bounded():
    """A refusal stays a readable line."""
    with pytest.raises(UnsupportedOption, match="more reasons") as refusal:
        planned("a fox", {"size": [f"{n}:1" for n in range(20, 60)]})
    assert len(str(refusal.value)) < 3000


def test_a_missing_key_and_an_unknown_gateway_are_no_combinations_to_skip(monkeypatch):
    """They are raised, and a plan to look at needs no key."""
    with pytest.raises(UnknownProvider):
        planned(axes={**KINDS, "provider": ["evolink", "nowhere"]}, provider=None, skip_impossible=True)
    request, sure = ImageRequest("a {{style}} fox", size="1:1"), load_settings()
    with pytest.raises(MissingKey):
        plan(request, KINDS, settings=sure, provider="evolink")
    assert len(plan(request, KINDS, settings=sure, provider="evolink", keys=False).requests) == 4


def test_combinations_in_few_words():
    """A product is summarized by its values, other combinations are listed, bounded."""
    axes = {"a": ["1", "2"], "b": ["x", "y"]}
    places = [{"a": a, "b": b} for a in axes["a"] for b in axes["b"]]
    assert summarize(places, axes) == ""
    assert summarize(places[:2], axes) == "a=1"
    assert summarize([places[0], places[3]], axes) == "1 · x, 2 · y"
    assert summarize([places[0], places[3], places[1]], axes, limit=1) == "1 · x and 2 more"


# --- what is known before


def test_the_estimate_adds_within_each_currency_and_counts_unknown_prices(monkeypatch):
    """Dollars and credits are separate; an unpublished price is unknown, never zero."""
    monkeypatch.setenv("EVOLINK_API_KEY", "sandbox")
    monkeypatch.setenv("APIMART_API_KEY", "sandbox")
    monkeypatch.setenv("GCCAI_API_KEY", "sandbox")
    sure = load_settings().replace("a test", size="1:1", quality="low")
    found = plan(ImageRequest("a fox"), {"provider": ["evolink", "apimart", "gccai"]}, settings=sure, repeat=2)
    prices = [each.plan.price for each in found.requests]
    estimated = loop.run(estimate(found, sure))
    units = {price.unit for price in prices if price.amount is not None}
    assert {cost.unit for cost in estimated.price} == units
    assert sum(cost.amount for cost in estimated.price) == sum(price.amount for price in prices if price.amount is not None)
    assert (estimated.pictures, estimated.new, estimated.free) == (6, 6, 0)
    assert estimated.unknown == sum(price.amount is None for price in prices)


def test_the_sandbox_costs_nothing():
    """Its play money is not a price."""
    found = planned()
    estimated = loop.run(estimate(found, load_settings()))
    assert (estimated.free, estimated.unknown, estimated.price, estimated.typical) == (4, 0, (), None)


def test_the_estimate_has_existing_images_and_the_typical_duration(at_gateway):
    """With reuse, existing images are not made again; recorded durations give the typical one."""
    run(sweep("estimated {{style}}", {"style": list("abcdef")}, provider="evolink", quality="low"))
    sure = load_settings().replace("a test", reuse=True)
    further = plan(ImageRequest("estimated {{style}}", quality="low"), {"style": list("efgh")}, settings=sure, provider="evolink")
    estimated = loop.run(estimate(further, sure))
    assert (estimated.pictures, estimated.existing, estimated.pending, estimated.new) == (4, 2, 0, 2)
    assert estimated.typical is not None


# --- making it


def test_each_combination_is_one_task(at_gateway):
    """Each is submitted once, with its own prompt and options; the result is a sequence with their combinations."""
    made = run(sweep("each {{style}}", KINDS, provider="evolink"))
    assert isinstance(made, Generation)
    sent = sorted((e["json"]["prompt"], e["json"]["quality"]) for e in at_gateway.accepted() if e["prompt"].startswith("each "))
    assert sent == [("each ink", "high"), ("each ink", "low"), ("each oil", "high"), ("each oil", "low")]
    assert [dict(made.place(image)) for image in made] == [{"style": s, "quality": q} for s in ("oil", "ink") for q in ("low", "high")]
    assert [image.request.prompt for image in made.at(style="oil")] == ["each oil"] * 2
    assert [image.request.quality for image in made.at(style="ink", quality="high")] == ["high"]
    assert (len(made), made.errors, made.request.prompt, made.provider, len(made.tasks)) == (4, (), "each {{style}}", "evolink", 4)
    assert made.cost.amount is not None
    assert made.cost.unit == "credits"


def test_at_refuses_an_unknown_axis_or_value(at_gateway):
    """A misspelt value does not give an empty result."""
    made = run(sweep("at {{style}}", {"style": ["oil"]}, provider="evolink", quality="low"))
    with pytest.raises(UnsupportedOption, match=r"style has no value oul.*Try style oil"):
        made.at(style="oul")
    with pytest.raises(UnsupportedOption, match="no axis colour"):
        made.at(colour="red")


def test_repeats_are_separate_tasks_and_more_of_them_pay_for_the_difference(at_gateway):
    """Two of each, and later five of each: three are paid for."""
    asked = {"provider": "evolink", "quality": "low"}
    first = run(sweep("repeated {{style}}", {"style": ["oil", "ink"]}, repeat=2, **asked))
    assert [len(first.at(style=style)) for style in ("oil", "ink")] == [2, 2]
    more = run(sweep("repeated {{style}}", {"style": ["oil", "ink"]}, repeat=5, reuse=True, **asked))
    assert len(more) == 10
    assert sum(image.reused for image in more) == 4
    assert {image.id for image in first} < {image.id for image in more}
    assert len(at_gateway.accepted("repeated oil")) == len(at_gateway.accepted("repeated ink")) == 5


def test_an_added_value_pays_only_for_missing_images(at_gateway):
    """With reuse, existing images are returned for free."""
    asked = {"provider": "evolink", "quality": "low", "reuse": True}
    run(sweep("extended {{style}}", {"style": ["oil", "ink"]}, **asked))
    more = run(sweep("extended {{style}}", {"style": ["oil", "chalk", "ink"]}, **asked))
    assert [image.reused for image in more] == [True, False, True]
    assert [image.request.prompt for image in more] == ["extended oil", "extended chalk", "extended ink"]
    assert len([entry for entry in at_gateway.accepted() if entry["prompt"].startswith("extended")]) == 3
    assert more.cost.amount == more[1].cost.amount


def test_a_complete_sweep_costs_nothing(at_gateway):
    """The same again with reuse: nothing is sent."""
    asked = {"provider": "evolink", "quality": "low", "reuse": True}
    run(sweep("again {{style}}", {"style": ["oil"]}, **asked))
    again = run(sweep("again {{style}}", {"style": ["oil"]}, **asked))
    assert (again.cost.amount, again[0].reused) == (Decimal(0), True)
    assert len(at_gateway.accepted("again oil")) == 1


def test_some_failures_are_reported_with_the_other_images(at_gateway):
    """A warning, the errors, and a word in the grid; with reuse, only the failed ones are paid for again."""
    at_gateway.arm("failed", match="partly ink")
    with pytest.warns(UserWarning, match="2 of 3 pictures were made"):
        made = run(sweep("partly {{style}}", {"style": ["oil", "ink", "chalk"]}, provider="evolink", quality="low"))
    assert (len(made), len(made.errors), made.words) == (2, 1, ("", "failed", ""))
    assert [image.request.prompt for image in made] == ["partly oil", "partly chalk"]
    assert made.at(style="ink") == ()
    whole = run(sweep("partly {{style}}", {"style": ["oil", "ink", "chalk"]}, provider="evolink", quality="low", reuse=True))
    assert [image.reused for image in whole] == [True, False, True]
    assert load(whole.study).words == ("", "", "")


def test_no_image_at_all_raises_the_error(at_gateway):
    """As for one request."""
    at_gateway.arm("moderation", times=None)
    with pytest.raises(ContentRejected):
        run(sweep("refused {{style}}", {"style": ["oil", "ink"]}, provider="evolink", quality="low"))


def test_sweeps_run_concurrently_on_any_loop(at_gateway):
    """Several in one gather, each with its own combinations."""

    async def main():
        return await asyncio.gather(
            *(sweep(f"beside {n} {{{{style}}}}", {"style": ["oil", "ink"]}, provider="evolink", quality="low") for n in range(3))
        )

    assert [[image.request.prompt for image in one] for one in asyncio.run(main())] == [
        [f"beside {n} oil", f"beside {n} ink"] for n in range(3)
    ]


def test_several_gateways_in_one_sweep(at_gateway):
    """Their costs stay in their own currencies."""
    made = run(sweep("everywhere", {"provider": ["evolink", "apimart"]}, quality="low"))
    assert [image.provider for image in made] == ["evolink", "apimart"]
    assert made.provider == "evolink, apimart"
    assert len({cost.unit for cost in made.costs if cost.amount is not None}) >= 1
    assert [len(at_gateway.accepted("everywhere"))] == [2]


def test_the_sandbox_and_real_gateways_have_a_record_each(at_gateway):
    """Also if the gateway is an axis: neither has the other's images, and play money is not added to money."""
    axes = {"provider": ["evolink", "apimart"]}
    played = run(sweep("for play and for real", axes, quality="low", sandbox=True))
    paid = run(sweep("for play and for real", axes, quality="low"))
    again = run(sweep("for play and for real", axes, quality="low", sandbox=True, reuse=True))
    assert played.study != paid.study
    assert again.study == played.study
    assert [image.id for image in load(played.study)] == [image.id for image in played]
    assert [image.id for image in load(paid.study)] == [image.id for image in paid]
    assert all(" of play money" in str(cost) for cost in load(played.study).costs)
    assert not any(" of play money" in str(cost) for cost in load(paid.study).costs)


def test_a_shared_record_of_an_earlier_version_keeps_money_separate(at_gateway):
    """Money comes first, play money is separate."""
    axes = {"provider": ["apimart"]}
    played = run(sweep("shared", axes, quality="low", sandbox=True))
    paid = run(sweep("shared", axes, quality="low"))

    def shared(connection):
        connection.execute("UPDATE members SET study = ? WHERE study = ?", (played.study, paid.study))

    loop.run(api.ledger().run(shared))
    both = load(played.study)
    assert len(both) == 2
    assert [("play money" in str(cost), cost.amount) for cost in both.costs] == [(False, paid.cost.amount), (True, played.cost.amount)]


def test_skipped_combinations_are_in_the_result(at_gateway):
    """With the combination and its refusal."""
    axes = {"resolution": ["1k", "8k"]}
    made = run(sweep("left out", axes, provider="evolink", quality="low", skip_impossible=True))
    assert [dict(one.combination) for one in made.impossible] == [{"resolution": "8k"}]
    assert isinstance(made.impossible[0], SkippedCombination)


# --- what comes back


@pytest.fixture
def made(at_gateway):
    """A sweep of two styles and two qualities, two of each, at a gateway."""
    with typefaces.only(typefaces.LATIN, typefaces.CJK, typefaces.emoji()):
        yield run(sweep("a {{style}} fox 🦊 狐狸", KINDS, repeat=2, provider="evolink"))


def test_the_grid_has_every_image_in_its_cell(made, tmp_path):
    """Axes on the sides, repeats in one cell; the sides and the size of an image can be chosen."""
    drawn = made.grid(edge=64)
    assert isinstance(drawn, Image.Image)
    sheet = made.sheet().contents
    assert {sheet.row_name, sheet.column_name} == {"style", "quality"}
    assert all(len(cell) == 2 for row in sheet.blocks[0].cells for cell in row)
    turned = made.sheet(rows="style", columns="quality").contents
    assert (turned.row_name, turned.column_name, turned.blocks[0].rows) == ("style", "quality", ("oil", "ink"))
    assert turned.blocks[0].cells[1][0][0].source == made.at(style="ink", quality="low")[0].path
    assert made.grid(edge=96).width > drawn.width
    assert "a {{style}} fox" in made.sheet().alt
    with pytest.raises(UnsupportedOption, match="no axis colour"):
        made.grid(rows="colour")
    with pytest.raises(UnsupportedOption, match="rows and columns"):
        made.grid(rows="style", columns="style")


def test_a_third_axis_is_stacked():
    """Each value of the third axis is a grid with a heading; more axes are combined."""
    found = planned("a {{style}} fox", {**KINDS, "size": ["1:1", "16:9"], "n": [1, 2]}, skip_impossible=True)
    from imagegen_magic.studies.sweeps.result import SweepResult

    places = tuple(each.combination for each in found.requests)
    axes = {axis.name: axis.labels for axis in found.axes}
    result = SweepResult((), found.request, "evolink", 1.0, (), axes=axes, places=places, words=("failed",) * len(places))
    sheet = result.sheet(rows="style", columns="quality").contents
    assert [block.heading for block in sheet.blocks] == ["1:1, 1", "1:1, 2", "16:9, 1", "16:9, 2"]
    assert sheet.heading_name == "size, n"
    assert sheet.blocks[0].cells[0][0][0].word == "failed"


def test_long_axes_go_down():
    """More values than fit side by side are rows."""
    from imagegen_magic.studies.sweeps.result import SweepResult

    axes = {"style": tuple(map(str, range(20))), "quality": ("low", "high", "medium")}
    result = SweepResult((), ImageRequest("x"), "", 0.0, (), axes=axes)
    sheet = result.sheet().contents
    assert (sheet.row_name, sheet.column_name) == ("style", "quality")


@pytest.mark.parametrize("suffix", [".png", ".pdf"])
def test_the_contact_sheet_for_a_paper(made, tmp_path, suffix):
    """Full resolution by default, as PNG or PDF by the suffix; a plain Generation has it too."""
    path = made.contact_sheet(tmp_path / f"sheet{suffix}", columns=4, edge=64)
    assert path.read_bytes()[:4] == (b"\x89PNG" if suffix == ".png" else b"%PDF")
    plain = Generation(made.images[:2], ImageRequest("two"), "evolink", 1.0, ())
    assert plain.contact_sheet(columns=2).width > 2 * 1024
    with pytest.raises(UnsupportedOption, match=r"\.png or \.pdf"):
        made.contact_sheet(tmp_path / "sheet.docx")
    with pytest.raises(UnsupportedOption, match="Try"):
        Generation(made.images * 20, ImageRequest("many"), "evolink", 1.0, ()).contact_sheet()


def test_one_record_per_image(made):
    """Axes, options as sent, resolved prompt, pixels, seconds, cost with unit and kind, and the path."""
    rows = made.rows()
    assert len(rows) == 8
    first = rows[0]
    names = ("style", "quality", "prompt", "width", "height", "size", "cost_unit", "cost_kind", "provider")
    assert {name: first[name] for name in names} == {
        "style": "oil", "quality": "low", "prompt": "a oil fox 🦊 狐狸", "width": 1024, "height": 1024, "size": "1:1",
        "cost_unit": "credits", "cost_kind": "measured", "provider": "evolink",
    }  # fmt: skip
    assert first["path"] == str(made[0].path)
    assert first["cost"] == float(made[0].cost.amount)
    assert {tuple(row) for row in rows} == {tuple(first)}


def test_a_frame_with_pandas_and_a_clear_error_without(made, monkeypatch):
    """pandas is optional; without it the error has the next step."""
    with monkeypatch.context() as without:
        without.setitem(sys.modules, "pandas", None)
        with pytest.raises(ModuleNotFoundError, match="pip install pandas"):
            made.to_frame()
    frame = made.to_frame()
    assert len(frame) == len(made)
    assert list(frame.columns) == list(made.rows()[0])
    assert frame["cost"].sum() == pytest.approx(float(sum(image.cost.amount for image in made)))
    assert list(frame["path"]) == [str(image.path) for image in made]


def test_a_sweep_can_be_loaded_again(made):
    """By its number, by default the latest: the same images with the same combinations and cost."""
    again = load(made.study)
    assert [image.id for image in again] == [image.id for image in made]
    assert (again.axes, again.prompt, list(map(dict, again.places))) == (made.axes, made.prompt, list(map(dict, made.places)))
    assert (again.costs[0].amount, again.provider, again.request.size) == (made.costs[0].amount, "evolink", "1:1")
    assert load().study == made.study
    assert "study" in repr(again)
    with pytest.raises(UnsupportedOption, match="no sweep 999"):
        load(999)


def test_no_sweep_yet():
    """The error of an empty ledger."""
    with pytest.raises(UnsupportedOption, match="no sweep yet"):
        load()


def test_a_loaded_sweep_has_its_errors(at_gateway):
    """With the message, who has to act, the charge and the next step."""
    at_gateway.arm("failed-by-moderation", match="reported of ink")
    with pytest.warns(UserWarning, match="1 of 2 pictures"):
        made = run(sweep("reported of {{style}}", {"style": ["oil", "ink"]}, provider="evolink", quality="low"))
    (error,) = load(made.study).errors
    assert str(error) == str(made.errors[0])
    assert error.charge == made.errors[0].charge
    assert load(made.study).words == ("", "failed")


def test_unknown_costs_are_unknown_in_the_records(made):
    """Never zero."""
    row = replace(made, images=(replace(made[0], cost=Cost()),)).rows()[0]
    assert (row["cost"], row["cost_unit"], row["cost_kind"]) == (None, None, "unknown")


def test_a_placeholder_with_the_name_of_a_column_has_its_own_column(made):
    """Neither hides the other: the axis's column is marked as one."""
    axes = {"cost": ("cheap", "dear"), "prompt": ("a", "b"), "quality": ("low", "medium")}
    places = tuple({"cost": "dear", "prompt": "b", "quality": "low"} for _ in made.places)
    row = replace(made, axes=axes, places=places).rows()[0]
    assert (row["axis cost"], row["axis prompt"], row["quality"]) == ("dear", "b", "low")
    assert (row["cost"], row["prompt"]) == (float(made[0].cost.amount), made[0].request.prompt)
    assert "axis quality" not in row


def test_long_values_are_short_in_messages():
    """A long value does not make a long message."""
    axes = {"style": ("word " * 5000, "oil", "ink")}
    assert len(summarize([{"style": axes["style"][0]}], axes)) < 100
    assert len(summarize([{"style": value, "size": "1"} for value in axes["style"][:2]], {**axes, "size": ("1", "2")})) < 200
    uneven = [{"style": axes["style"][0], "size": "1"}, {"style": "oil", "size": "2"}]
    assert len(summarize(uneven, {**axes, "size": ("1", "2")})) < 200
