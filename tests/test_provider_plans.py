"""A plan says everything that will happen, and what a model cannot do is refused with the way out."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from gateway_table import MODELS

from imagegen_magic.errors import UnknownProvider, UnsupportedOption
from imagegen_magic.providers.base import Call, Model, PixelRule, Plan, Provider
from imagegen_magic.providers.gpt_image import input_tokens, output_tokens
from imagegen_magic.providers.registry import get_provider
from imagegen_magic.providers.validation import MAX_PICTURES
from imagegen_magic.request import ImageRequest, LocalImage
from imagegen_magic.result import Cost

A = "https://pictures.example.com/a.png"


def plan(gateway: str, prompt: str = "a red fox", **given: Any) -> Plan:
    """Plan a request at a gateway, whose model may follow a slash."""
    name, _, model = gateway.partition("/")
    return get_provider(name).plan(ImageRequest(prompt, **{"model": model or None, **given}))


def refused(gateway: str, prompt: str = "a red fox", **given: Any) -> UnsupportedOption:
    """Return the refusal of a request."""
    with pytest.raises(UnsupportedOption) as caught:
        plan(gateway, prompt, **given)
    return caught.value


def test_apimarts_defaults_are_sent_explicitly() -> None:
    """A bare prompt leaves with every default of the page in the JSON, n as a number."""
    assert plan("apimart").calls == (
        Call(
            "POST",
            "/v1/images/generations",
            {
                "model": "gpt-image-2-official",
                "prompt": "a red fox",
                "size": "1:1",
                "resolution": "1k",
                "quality": "auto",
                "background": "auto",
                "moderation": "auto",
                "output_format": "png",
                "n": 1,
            },
        ),
    )


def test_evolinks_defaults_are_sent_explicitly() -> None:
    """EvoLink's own defaults: size auto without a tier, quality medium."""
    body = {"model": "gpt-image-2", "prompt": "a red fox", "size": "auto", "quality": "medium", "n": 1}
    assert plan("evolink").calls == (Call("POST", "/v1/images/generations", body),)


def test_xingchaos_defaults_are_sent_explicitly() -> None:
    """Xingchao gets ratio and tier together, quality low, and no n."""
    body = {"model": "gpt-image-2", "prompt": "a red fox", "ratio": "1:1", "resolution": "1k", "quality": "low"}
    assert plan("xingchao").calls == (Call("POST", "/v1/image2/images", body),)


def test_xingchaos_r_gets_no_quality() -> None:
    """The -r model ignores quality, so none is sent."""
    body = {"model": "gpt-image-2-r", "prompt": "a red fox", "ratio": "16:9", "resolution": "1k"}
    assert plan("xingchao/gpt-image-2-r", size="16:9").calls[0].json == body


def test_xingchao_gets_pixels_alone() -> None:
    """Pixels override ratio and tier there, so they go out without either."""
    body = plan("xingchao", size="1536x1024").calls[0].json or {}
    assert {"size": "1536x1024"}.items() <= body.items()
    assert not {"ratio", "resolution"} & body.keys()


def test_gccais_first_models_have_no_resolution() -> None:
    """gpt-image-1.5 has three sizes and no tier."""
    made = plan("gccai/gpt-image-1.5-official", size="3:2", background="transparent")
    assert "resolution" not in (made.calls[0].json or {})
    assert (made.pixels, made.alpha, made.tier) == (((1536, 1024),), True, ("auto", "1k"))


def test_evolinks_tiers_are_written_in_upper_case() -> None:
    """EvoLink's own spelling is 2K, the user's any."""
    made = plan("evolink", size="16:9", resolution="2k")
    assert ((made.calls[0].json or {})["resolution"], made.request.resolution) == ("2K", "2k")


def test_the_multiplication_sign_means_x() -> None:
    """3840×2160 is read as pixels and sent as 3840x2160."""
    assert (plan("evolink", size="3840×2160").calls[0].json or {})["size"] == "3840x2160"


def test_values_are_read_in_any_case() -> None:
    """HIGH, 2K, PNG and the model's name in capitals are understood."""
    made = plan("gccai/GPT-Image-2-Official", size="AUTO", resolution="2K", quality="HIGH", output_format="PNG")
    assert (made.request.model, made.request.size, made.request.resolution) == ("gpt-image-2-official", "auto", "2k")
    assert (made.request.quality, made.request.output_format) == ("high", "png")


def test_references_and_mask_go_out_under_the_gateways_names() -> None:
    """References are image_urls, the mask is mask_url."""
    body = plan("gccai", references=(A, A + "?2"), mask=A).calls[0].json or {}
    assert (body["image_urls"], body["mask_url"]) == ([A, A + "?2"], A)


def test_a_callback_goes_to_evolink() -> None:
    """A public https callback is sent as it is."""
    assert (plan("evolink", callback_url="https://hooks.example.com/x").calls[0].json or {})[
        "callback_url"
    ] == "https://hooks.example.com/x"


def test_a_prompt_goes_out_verbatim() -> None:
    """Braces, backslashes, quotes, line ends, emoji and Chinese are not touched."""
    prompt = ' {x} "q" \\n ?\n城堡 🦊 '
    assert (plan("xingchao", prompt).calls[0].json or {})["prompt"] == prompt


@pytest.mark.parametrize(
    ("gateway", "n", "pictures"), [("apimart", 10, (4, 4, 2)), ("evolink", 23, (10, 10, 3)), ("xingchao", 3, (1, 1, 1))]
)
def test_more_pictures_than_a_task_has_become_several_tasks(gateway: str, n: int, pictures: tuple[int, ...]) -> None:
    """The sum is what was asked; each call names its own part."""
    made = plan(gateway, n=n)
    assert (made.images_per_call, made.count, made.request.n) == (pictures, n, n)
    assert [(call.json or {}).get("n", 1) for call in made.calls] == list(pictures)


def test_a_number_from_numpy_is_a_number() -> None:
    """A notebook's integers are often numpy's; they go out as plain ones."""
    import numpy

    made = plan("apimart", n=numpy.int64(2), output_format="jpeg", output_compression=numpy.int32(80))
    body = made.calls[0].json or {}
    assert (type(body["n"]), type(body["output_compression"]), body["output_compression"]) == (int, int, 80)


def test_the_calls_bodies_are_independent() -> None:
    """Changing one call's JSON does not change another's."""
    one, two = plan("xingchao", n=2, references=(A,)).calls
    assert one.json is not two.json
    assert (one.json or {})["image_urls"] is not (two.json or {})["image_urls"]


def test_gccais_second_answer_at_3_to_1_counts_as_asked() -> None:
    """3:1 at 1k is 1536x512, and 1881x836 is accepted too, with a warning."""
    made = plan("gccai", size="3:1")
    assert made.pixels == ((1536, 512), (1881, 836))
    assert made.warnings == ("3:1 at 1k may come as 1881x836 instead of 1536x512",)


def test_gccais_odd_pairs_are_legal_there_alone() -> None:
    """1881x836 and 887x1774 are gccai's own; elsewhere they break the rule."""
    assert plan("gccai", size="1881x836").pixels == ((1881, 836),)
    assert plan("gccai", size="887x1774").pixels == ((887, 1774),)
    for gateway in ("apimart", "evolink", "xingchao", "gccai/gpt-image-1.5-official"):
        assert refused(gateway, size="1881x836").option == "size"


@pytest.mark.parametrize(
    ("gateway", "expected"),
    [("apimart", "image/png"), ("gccai", "image/png"), ("gccai/gpt-image-1-official", "image/png"), ("evolink", None), ("xingchao", None)],
)
def test_the_format_is_promised_only_where_the_page_does(gateway: str, expected: str | None) -> None:
    """png is the default where there is a field for it; elsewhere none is expected."""
    assert plan(gateway).mime_type == expected


def test_alpha_is_known_only_where_it_was_chosen() -> None:
    """Transparent has alpha, opaque has none, auto may have either."""
    backgrounds = ("transparent", "opaque", "auto")
    assert [plan("gccai/gpt-image-1.5-official", background=each).alpha for each in backgrounds] == [True, False, None]


@pytest.mark.parametrize(
    ("gateway", "given", "tier"),
    [
        ("apimart", {"size": "16:9", "resolution": "4k", "quality": "high"}, ("high", "4k")),
        ("apimart", {"size": "1024x1024"}, ("auto", "1k")),
        ("apimart", {"size": "2048x2048"}, ("auto", "2k")),
        ("apimart", {"size": "3840x2160"}, ("auto", "4k")),
        ("evolink", {}, ("medium", "auto")),
        ("gccai", {"size": "auto", "resolution": "2k"}, ("auto", "2k")),
        ("xingchao/gpt-image-2-r", {}, ("", "1k")),
    ],
)
def test_the_class_of_durations_is_quality_and_pixels(gateway: str, given: dict[str, str], tier: tuple[str, str]) -> None:
    """Durations are alike within a quality and a tier; explicit pixels count by their area."""
    assert plan(gateway, **given).tier == tier


def test_output_tokens_are_openais_published_ones() -> None:
    """1024x1024 takes 196, 1756 and 7024 output tokens."""
    assert [output_tokens(quality, (1024, 1024)) for quality in ("low", "medium", "high")] == [196, 1756, 7024]
    assert output_tokens("high", (1536, 1024)) == output_tokens("high", (1024, 1536)) == -(-96 * 64 * 3_572_864 // 4_000_000)


def test_apimarts_price_is_tokens_times_its_price_for_every_picture() -> None:
    """Three medium squares: 3 x 1756 tokens at $24 per million, with source and date."""
    price = plan("apimart", quality="medium", n=3).price
    assert (price.amount, price.unit, price.kind, price.checked) == (Decimal(3 * 1756 * 24) / 1_000_000, "USD", "estimated", "2026-11-20")
    assert "$24 per million" in price.source


def local(width: int, height: int) -> LocalImage:
    """Return an image on this machine of so many pixels."""
    return LocalImage(b"an image", "image/png", width, height, f"{width}x{height}.png")


@pytest.mark.parametrize(
    ("pixels", "tokens"), [((1024, 1024), 1024), ((1000, 33), 64), ((1, 1), 1), ((1024, 1536), 1536), ((3840, 2160), 1536)]
)
def test_input_tokens(pixels: tuple[int, int], tokens: int) -> None:
    """One for each 32x32 pixels, rounded up, at most 1536."""
    assert input_tokens(pixels) == tokens


@pytest.mark.parametrize("model", ["gpt-image-2-official", "gpt-image-2.5-flare", "gpt-image-2.5-sunburst"])
def test_references_and_mask_are_in_the_price(model: str) -> None:
    """At $6.40 per million input tokens, for every picture, with source and date."""
    chosen: dict[str, Any] = {"model": model, "size": "1:1", "quality": "low", "n": 2}
    square, portrait = local(1024, 1024), local(1024, 1536)
    price = plan("apimart", **chosen, references=(square, portrait), mask=square).price
    without = plan("apimart", **chosen).price
    assert price.amount is not None
    assert without.amount is not None
    assert price.amount - without.amount == 2 * (1024 + 1536 + 1024) * Decimal("6.4") / 1_000_000
    assert (price.kind, price.unknown) == ("estimated", 0)
    assert "$6.4 per million tokens of references and mask (page of 2026-08-21)" in price.source
    assert "references" not in without.source


def test_a_reference_by_address_leaves_a_part_of_the_price_unknown() -> None:
    """Its pixels are not known; those of the others count."""
    assert plan("apimart", quality="low", references=(A,)).price.unknown == 1
    mixed = plan("apimart", quality="low", references=(A, local(320, 320))).price
    plain = plan("apimart", quality="low").price
    assert (mixed.amount, mixed.unknown) == ((plain.amount or 0) + 100 * Decimal("6.4") / 1_000_000, 1)


def test_a_flat_price_has_no_tokens() -> None:
    """APIMart bills gpt-image-2 by picture: references cost nothing more."""
    chosen = {"model": "gpt-image-2", "size": "1:1"}
    assert plan("apimart", **chosen, references=(local(1024, 1024),)).price == plan("apimart", **chosen).price


PRICED = {"apimart/gpt-image-2": Cost(Decimal("0.0085"), "USD", "estimated", "APIMart's price of one picture", "2026-09-16")}


@pytest.mark.parametrize("gateway", MODELS)
def test_a_price_nobody_publishes_is_unknown(gateway: str) -> None:
    """Without a published price, or with quality auto, the price is unknown and never 0."""
    assert plan(gateway).price == (PRICED[gateway] if gateway in PRICED else Cost())


def test_gccai_does_not_borrow_apimarts_prices() -> None:
    """The same dialect is not the same price list."""
    assert plan("gccai", quality="high").price == Cost()


@pytest.mark.parametrize(
    ("size", "warning"),
    [
        ("3:1", "2k at 3:1 is smaller than 1k here: 2048x688 against 3072x1024"),
        ("1:3", "2k at 1:3 is smaller than 1k here: 688x2048 against 1024x3072"),
        ("21:9", "2k at 21:9 is smaller than 1k here: 2048x880 against 2384x1024"),
        ("9:21", "2k at 9:21 is smaller than 1k here: 880x2048 against 1024x2384"),
        ("2:1", "2k at 2:1 is no larger than 1k here: 2048x1024 against 2048x1024"),
        ("1:2", "2k at 1:2 is no larger than 1k here: 1024x2048 against 1024x2048"),
    ],
)
def test_evolinks_2k_that_is_no_larger_than_1k_is_told(size: str, warning: str) -> None:
    """Six ratios gain nothing from 2K at EvoLink, and the plan says so before it is paid."""
    assert plan("evolink", size=size, resolution="2k").warnings == (warning,)


@pytest.mark.parametrize(
    "given", [{"size": "16:9", "resolution": "2k"}, {"size": "3:1", "resolution": "4k"}, {"size": "3:1"}, {"size": "1024x1024"}]
)
def test_what_is_as_it_seems_carries_no_warning(given: dict[str, str]) -> None:
    """No warning where there is nothing to know."""
    assert plan("evolink", **given).warnings == ()


def test_a_retired_model_is_told() -> None:
    """gpt-image-1 can still be asked for, with the date of its end."""
    assert "2026-10-23" in plan("gccai/gpt-image-1-official").warnings[0]
    assert "2026-12-01" in plan("gccai/gpt-image-1.5-official").warnings[0]


def test_size_auto_is_told_to_be_unknown_before() -> None:
    """With size auto the pixels are unknown, with a warning."""
    for gateway in ("evolink", "gccai"):
        made = plan(gateway, size="auto")
        assert (made.pixels, "not known before" in made.warnings[0]) == ((), True)


def test_xingchaos_unpublished_pixels_are_not_made_up() -> None:
    """Its page names no pixels for ratio and tier: the plan expects none and says how to have exact ones."""
    made = plan("xingchao", size="16:9", resolution="2k")
    assert (made.pixels, "give pixels" in made.warnings[0]) == ((), True)
    assert plan("xingchao", size="2048x1152").pixels == ((2048, 1152),)


REFUSALS: list[tuple[str, dict[str, Any], str, tuple[str, ...], str | None]] = [
    ("apimart", {"size": "1:1", "resolution": "4k"}, "resolution", ("1k", "2k"), {"resolution": "2k"}),
    ("apimart", {"size": "4:5", "resolution": "4K"}, "resolution", ("1k", "2k"), {"resolution": "2k"}),
    ("xingchao", {"size": "4:3", "resolution": "4k"}, "resolution", ("1k", "2k"), {"resolution": "2k"}),
    ("xingchao/gpt-image-2-r", {"resolution": "2k"}, "resolution", ("1k",), {"resolution": "1k"}),
    ("xingchao/gpt-image-2-r", {"size": "2048x2048"}, "size", (str(PixelRule(max_area=1_600_000)),), {"size": "1264x1264"}),
    ("xingchao/gpt-image-2-r", {"quality": "high"}, "quality", (), {"quality": None}),
    ("gccai/gpt-image-1.5-official", {"output_format": "webp"}, "output_format", ("png", "jpeg"), {"output_format": "png"}),
    ("gccai/gpt-image-1.5-official", {"size": "16:9"}, "size", ("1:1", "2:3", "3:2"), {"size": "3:2"}),
    ("gccai/gpt-image-1.5-official", {"size": "1536x1024"}, "size", ("1:1", "2:3", "3:2"), {"size": "3:2"}),
    ("gccai/gpt-image-1.5-official", {"resolution": "1k"}, "resolution", (), {"resolution": None}),
    (
        "gccai/gpt-image-1.5-official",
        {"background": "transparent", "output_format": "jpeg"},
        "output_format",
        ("png",),
        {"output_format": "png"},
    ),
    ("gccai/gpt-image-1.5-official", {"size": "auto"}, "size", ("1:1", "2:3", "3:2"), {"size": "1:1"}),
    (
        "gccai/gpt-image-1.5-official",
        {"background": "transparent", "output_compression": 50},
        "output_compression",
        (),
        {"output_compression": None},
    ),
    ("gccai/gpt-image-1.5-official", {"output_compression": 50}, "output_compression", ("output_format jpeg",), {"output_format": "jpeg"}),
    (
        "apimart",
        {"output_compression": 500},
        "output_compression",
        ("output_format jpeg", "output_format webp"),
        {"output_compression": None},
    ),
    ("gccai", {"size": "1880x836"}, "size", (str(PixelRule()),), {"size": "1881x836"}),
    ("apimart", {"size": "1880x836"}, "size", (str(PixelRule()),), {"size": "1872x832"}),
    ("gccai", {"background": "transparent"}, "background", ("auto", "opaque"), {"background": "auto"}),
    ("apimart", {"background": "transparent"}, "background", ("auto", "opaque"), {"background": "auto"}),
    ("evolink", {"quality": "auto"}, "quality", ("low", "medium", "high"), {"quality": "medium"}),
    ("xingchao", {"quality": "auto"}, "quality", ("low", "medium", "high"), {"quality": "low"}),
    ("evolink", {"quality": "hgih"}, "quality", ("low", "medium", "high"), {"quality": "high"}),
    ("apimart", {"quality": 3}, "quality", ("auto", "low", "medium", "high"), {"quality": "auto"}),
    ("apimart", {"output_compression": 50}, "output_compression", ("output_format jpeg", "output_format webp"), {"output_format": "jpeg"}),
    (
        "apimart",
        {"output_compression": 50, "output_format": "png"},
        "output_compression",
        ("output_format jpeg", "output_format webp"),
        {"output_format": "jpeg"},
    ),
    ("apimart", {"output_compression": 101, "output_format": "webp"}, "output_compression", ("0 to 100",), {"output_compression": 100}),
    ("apimart", {"output_compression": "much", "output_format": "webp"}, "output_compression", ("0 to 100",), None),
    ("evolink", {"output_compression": 50}, "output_compression", (), {"output_compression": None}),
    ("xingchao", {"background": "opaque"}, "background", (), {"background": None}),
    ("evolink", {"moderation": "low"}, "moderation", (), {"moderation": None}),
    ("xingchao", {"output_format": "png"}, "output_format", (), {"output_format": None}),
    ("xingchao", {"mask": A, "references": (A,)}, "mask", (), {"mask": None}),
    ("apimart", {"mask": A}, "mask", (), None),
    ("xingchao", {"references": (A,) * 7}, "references", ("0 to 6",), {"references": (A,) * 6}),
    ("xingchao/gpt-image-2-r", {"references": (A,) * 17}, "references", ("0 to 16",), {"references": (A,) * 16}),
    ("evolink", {"references": (A,) * 17}, "references", ("0 to 16",), {"references": (A,) * 16}),
    ("gccai/gpt-image-1-official", {"references": (A,) * 16}, "references", ("0 to 15",), {"references": (A,) * 15}),
    ("apimart", {"n": 0}, "n", (f"1 to {MAX_PICTURES}",), {"n": 1}),
    ("apimart", {"n": -3}, "n", (f"1 to {MAX_PICTURES}",), {"n": 1}),
    ("apimart", {"n": True}, "n", (f"1 to {MAX_PICTURES}",), None),
    ("apimart", {"n": "2"}, "n", (f"1 to {MAX_PICTURES}",), None),
    ("apimart", {"n": 10**5000}, "n", (f"1 to {MAX_PICTURES}",), {"n": MAX_PICTURES}),
    ("apimart", {"callback_url": "https://hooks.example.com"}, "callback_url", (), {"callback_url": None}),
    ("evolink", {"resolution": "2k"}, "resolution", (), {"size": "1:1", "resolution": "2k"}),
    ("evolink", {"size": "auto", "resolution": "2k"}, "resolution", (), {"resolution": None}),
    ("evolink", {"size": "1024x1024", "resolution": "1k"}, "resolution", (), {"resolution": None}),
    ("apimart", {"size": "1024x1024", "resolution": "1k"}, "resolution", (), {"resolution": None}),
    ("gccai", {"size": "auto", "resolution": "8k"}, "resolution", ("1k", "2k", "4k"), {"resolution": "4k"}),
    ("apimart", {"resolution": "hd"}, "resolution", ("1k", "2k"), {"resolution": "1k"}),
    ("apimart", {"resolution": 2}, "resolution", ("1k", "2k"), {"resolution": "2k"}),
    ("apimart", {"size": "4096x2048"}, "size", (str(PixelRule()),), {"size": "3840x1920"}),
    ("apimart", {"size": "1000x1000"}, "size", (str(PixelRule()),), {"size": "1008x1008"}),
    ("apimart", {"size": "512x512"}, "size", (str(PixelRule()),), {"size": "816x816"}),
    ("apimart", {"size": "3840x3840"}, "size", (str(PixelRule()),), {"size": "2880x2880"}),
]


@pytest.mark.parametrize(
    ("gateway", "given", "option", "allowed", "fix"), REFUSALS, ids=[f"{gateway} {option}" for gateway, _, option, _, _ in REFUSALS]
)
def test_what_a_model_cannot_do_is_refused_with_what_it_can(
    gateway: str, given: dict[str, Any], option: str, allowed: tuple[str, ...], fix: dict[str, Any] | None
) -> None:
    """A refusal names the option, its value, the values that work and the nearest of them, and charges nothing."""
    refusal = refused(gateway, **given)
    assert (refusal.option, refusal.allowed, refusal.fix) == (option, allowed, fix)
    assert refusal.value == given[option]
    assert (refusal.blame, refusal.charge) == ("you", "no")
    assert str(refusal).endswith(".")


def test_a_reference_of_a_kind_the_page_does_not_take_is_refused() -> None:
    """EvoLink reads jpeg, png and webp: an address that ends in .gif is refused, one without an ending is not."""
    refusal = refused("evolink", references=("https://pictures.example.com/a.GIF?x=1",))
    assert (refusal.option, refusal.allowed) == ("references", ("jpeg", "jpg", "png", "webp"))
    assert plan("evolink", references=("https://pictures.example.com/v1.2",)).count == 1
    assert plan("apimart", references=("https://pictures.example.com/a.gif",)).count == 1


def test_a_ratio_the_table_lacks_is_answered_with_the_nearest_shape() -> None:
    """3:1 at APIMart: the widest it has, at the tier that was asked for."""
    refusal = refused("apimart", size="3:1", resolution="2k")
    assert (refusal.option, refusal.fix) == ("size", {"size": "21:9", "resolution": "2k"})
    assert "Try size 21:9, resolution 2k (2688x1152)." in str(refusal)
    assert refusal.allowed[-1] == "pixels like 1024x1024"


@pytest.mark.parametrize(("gateway", "pixels"), [("apimart", " (3840x2160)"), ("xingchao", "")])
def test_auto_where_there_is_none_proposes_a_ratio_that_has_the_tier(gateway: str, pixels: str) -> None:
    """With 4k, 1:1 would only be refused again: the proposal is the ratio nearest to it that has 4k."""
    refusal = refused(gateway, size="auto", resolution="4k")
    assert refusal.fix == {"size": "16:9", "resolution": "4k"}
    assert f"Try size 16:9, resolution 4k{pixels}." in str(refusal)
    assert refused(gateway, size="auto", resolution="2k").fix == {"size": "1:1", "resolution": "2k"}


def test_a_ratio_in_other_terms_is_refused_and_its_own_name_proposed() -> None:
    """32:18 is not silently turned into 16:9; the refusal proposes it."""
    assert refused("evolink", size="32:18").fix == {"size": "16:9", "resolution": "1k"}


@pytest.mark.parametrize(
    ("size", "nearest"),
    [
        ("16/9", "16:9"),
        ("1920*1080", "1936x1088"),
        ("1024 x 1024", "1024x1024"),
        ("wide", "16:9"),
        ("square", "1:1"),
        ("1.91:1", "1136x592"),
        ("", None),
        ("0x0", None),
        ("1024", "1024x1024"),
        (1024, "1024x1024"),
        ((1024, 1024), "1024x1024"),
        ([16, 9], "16:9"),
        ("huge", None),
    ],
)
def test_a_size_that_is_none_is_refused_as_an_option(size: Any, nearest: str | None) -> None:
    """Text that is no size is UnsupportedOption too, with the nearest where numbers or a shape can be read in it."""
    refusal = refused("apimart", size=size)
    assert (refusal.option, refusal.value) == ("size", size)
    assert (refusal.fix or {}).get("size") == nearest


@pytest.mark.parametrize("size", ["16x9", "9x16", "1x1", "3×2"])
def test_a_ratio_with_an_x_is_offered_with_its_colon(size: str) -> None:
    """`16x9` is no picture of 16 by 9 pixels; with a tier it stays beside that."""
    ratio = size.replace("x", ":").replace("×", ":")
    refusal = refused("gccai", size=size)
    assert f"Write a ratio with a colon, --size {ratio}" in str(refusal)
    assert refusal.fix == {"size": ratio, "resolution": "1k"}
    assert refused("gccai", size=size, resolution="2k").fix == {"size": ratio, "resolution": "2k"}


def test_pixels_with_a_colon_are_offered_with_an_x() -> None:
    """Where they are pixels that can be had; else the ratio."""
    refusal = refused("gccai", size="1536:1024")
    assert "Write pixels with an x between them. Try size 1536x1024" in str(refusal)
    assert (refused("gccai", size="1920:1080").fix or {})["size"] == "16:9"


def test_a_tier_as_a_size_names_its_option() -> None:
    """`--size 4k`."""
    assert "Give a tier as resolution 4k" in str(refused("gccai", size="4K"))


@pytest.mark.parametrize(("resolution", "tier"), [(2, "2k"), ("2048", "2k"), ("4096", "4k"), ("2 K", "2k")])
def test_a_tier_in_pixels_is_understood(resolution: Any, tier: str) -> None:
    """In the proposal, never in silence."""
    assert refused("gccai", size="1:1", resolution=resolution).fix == {"resolution": tier}


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"n": 2.5}, "n as a whole number from 1 to 10000, not 2.5."),
        ({"n": "2"}, "not '2'."),
        ({"n": 10**30}, "not a number of 31 digits."),
        ({"n": 20_000}, "not 20000."),
        ({"n": Decimal("2")}, "not Decimal('2')."),
        ({"n": [2]}, "not [2]."),
        ({"size": (1024,)}, "does not know the size (1024,)."),
        ({"size": {"width": 1024}}, "does not know the size {'width': 1024}."),
        ({"quality": ["low", "high"]}, "has no quality ['low', 'high']."),
        ({"quality": list(range(20))}, "has no quality [0, 1, 2, 3, 4, 5, 6, 7, …]."),
        ({"background": [["a"], "x" * 100]}, f"has no background […, '{'x' * 40}']."),
        ({"output_format": b"png"}, "has no output_format 3 bytes."),
        ({"moderation": object()}, "has no moderation an object of type object."),
        ({"output_compression": 79.5, "output_format": "jpeg"}, "has no output_compression 79.5."),
    ],
)
def test_a_value_is_named_and_not_its_type(fields: dict[str, Any], words: str) -> None:
    """What was given stands in the refusal, in one line of bounded length."""
    assert words in str(refused("gccai", **fields))


def test_every_broken_part_of_the_rule_for_pixels_is_named() -> None:
    """Pixels that break several rules are refused with all of them at once."""
    what = refused("apimart", size="100x5000").what
    assert all(words in what for words in ("multiples of 16", "exceed 3840", "3:1", "at least 655360"))
    assert "at most 8294400" in refused("apimart", size="3840x3840").what


def test_a_rule_that_allows_nothing_near_proposes_nothing() -> None:
    """A rule with an unreachable area has no nearest pixels."""
    assert PixelRule(max_edge=64).nearest((64, 64)) is None


@pytest.mark.parametrize("prompt", ["", "  \n", None, 5])
def test_an_empty_prompt_is_refused(prompt: Any) -> None:
    """Nothing is sent without words."""
    assert refused("evolink", prompt).option == "prompt"


def test_evolinks_prompt_ends_at_32000_code_points() -> None:
    """Code points are counted, not bytes: 32 000 emoji go, one more does not; the others name no limit."""
    assert plan("evolink", "🦊" * 32_000).count == 1
    assert refused("evolink", "🦊" * 32_001).option == "prompt"
    assert plan("apimart", "x" * 40_000).count == 1


def test_half_a_character_in_the_prompt_is_refused() -> None:
    """A lone surrogate cannot be written as UTF-8, and is refused before it breaks the sending."""
    assert refused("apimart", "fox \ud83e").option == "prompt"


@pytest.mark.parametrize(
    "address",
    [
        "fox.png",
        "/home/me/fox.png",
        "data:image/png;base64,AAAA",
        "file:///fox.png",
        "ftp://example.com/a.png",
        "https://",
        "https://exa mple.com/a.png",
        "https://example.com/a\n.png",
        "https://example.com:port/a.png",
        "https://[::1/a.png",
        b"bytes",
        None,
        7,
    ],
)
def test_what_is_no_https_address_is_refused_as_a_reference_and_as_a_mask(address: Any) -> None:
    """Text of any other kind is refused, and the refusal names what can be given instead."""
    refusal = refused("apimart", references=(address,))
    assert (refusal.option, "upload" in refusal.hint or "https" in refusal.hint) == ("references", True)
    if address is not None:
        assert refused("apimart", references=(A,), mask=address).option == "mask"


@pytest.mark.parametrize("address", ["http://127.0.0.1:8001/a.png", "http://localhost:8001/a.png", "http://[::1]:8001/a.png"])
def test_a_reference_on_this_machine_may_be_plain_http(address: str) -> None:
    """So that a sandbox on a socket can be given its own pictures."""
    assert plan("apimart", references=(address,)).request.references == (address,)


@pytest.mark.parametrize(
    "address",
    [
        "http://hooks.example.com/x",
        "https://localhost/x",
        "https://app.localhost/x",
        "https://127.0.0.1/x",
        "https://127.1/x",
        "https://0x7f.1/x",
        "https://2130706433/x",
        "https://10.0.0.8/x",
        "https://192.168.1.2/x",
        "https://172.16.0.1/x",
        "https://169.254.169.254/x",
        "https://100.64.0.1/x",
        "https://0.0.0.0/x",
        "https://224.0.0.1/x",
        "https://[::1]/x",
        "https://[fe80::1]/x",
        "https://[fd00::1]/x",
        "https://[::ffff:127.0.0.1]/x",
        "https://[64:ff9b::7f00:1]/x",
        "https://[64:ff9b::a00:8]/x",
        "https://[2002:7f00:1::]/x",
        "https://[2002:a00:8::1]/x",
        "https://localhost.localdomain/x",
        "https://hooks.example.com:0/x",
        "https://server/x",
        "https://printer.local/x",
        "https://hooks..example.com/x",
        "https://hooks.example.com/" + "x" * 2048,
        "hooks.example.com",
        "",
        5,
    ],
)
def test_a_callback_that_is_not_public_https_is_refused(address: Any) -> None:
    """No private, loopback or link-local host, https only, at most 2048 characters."""
    assert refused("evolink", callback_url=address).option == "callback_url"


@pytest.mark.parametrize(
    "address",
    [
        "https://hooks.example.com/x",
        "https://hooks.example.com:8443/x",
        "https://8.8.8.8/x",
        "https://[2606:4700::1111]/x",
        "https://[64:ff9b::808:808]/x",
        "https://[2002:808:808::1]/x",
        "https://a.example." + "com/" + "x" * 2000,
    ],
)
def test_a_public_callback_is_taken(address: str) -> None:
    """Public names and numbers pass."""
    assert plan("evolink", callback_url=address).request.callback_url == address


def test_further_fields_go_out_as_given() -> None:
    """`extra` is for what a gateway learned since."""
    made = plan("evolink", n=11, extra={"seed": 7, "style": {"name": "ink", "weights": [1, 0.5, None]}})
    assert [(call.json or {})["style"] for call in made.calls] == [{"name": "ink", "weights": [1, 0.5, None]}] * 2


@pytest.mark.parametrize(
    ("gateway", "key"),
    [
        ("apimart", "size"),
        ("apimart", "image_urls"),
        ("evolink", "resolution"),
        ("xingchao", "ratio"),
        ("xingchao", "size"),
        ("xingchao/gpt-image-2-r", "quality"),
    ],
)
def test_a_further_field_that_the_plan_writes_itself_is_refused(gateway: str, key: str) -> None:
    """No field goes out with two meanings, also not one that is left out this time."""
    option = {"image_urls": "references", "ratio": "size"}.get(key, key)
    for size in ("1:1", "1024x1024"):
        refusal = refused(gateway, size=size, extra={key: "x"})
        assert (refusal.option, f"Use the option {option}" in str(refusal)) == ("extra", True)


def test_a_field_a_gateway_has_learned_since_can_be_sent() -> None:
    """What its page does not know goes out as given, also where another gateway has an option of that name."""
    assert (plan("evolink", extra={"moderation": "low"}).calls[0].json or {})["moderation"] == "low"
    assert (plan("apimart", extra={"callback_url": A}).calls[0].json or {})["callback_url"] == A


@pytest.mark.parametrize("extra", [{"seed": float("nan")}, {"seed": {1, 2}}, {"seed": "\ud83e"}, {"": 1}, {3: 1}, {"\ud83e": 1}])
def test_a_further_field_that_is_no_json_is_refused(extra: dict[Any, Any]) -> None:
    """What cannot be written as JSON is refused before anything is sent."""
    assert refused("apimart", extra=extra).option == "extra"


def test_a_further_field_that_holds_itself_is_refused() -> None:
    """A list within itself has no JSON."""
    loop: list[Any] = []
    loop.append(loop)
    assert refused("apimart", extra={"seed": loop}).option == "extra"


def test_long_and_wild_values_stay_short_in_messages() -> None:
    """A value of any length and content is shown in one bounded line."""
    message = str(refused("evolink", quality="x\n\x1b[31m" * 500))
    assert (len(message) < 400, "\n" in message, "\x1b" in message) == (True, False, False)


def test_a_model_that_a_gateway_lacks_is_named_with_those_it_has() -> None:
    """An unknown model is UnknownProvider, with the nearest name and all of them."""
    with pytest.raises(UnknownProvider, match=r"Did you mean gpt-image-1.5-official; it has gpt-image-2-official, gpt-image-1-official"):
        plan("gccai/gpt-image-1.5")
    with pytest.raises(UnknownProvider, match="It has gpt-image-2"):
        plan("evolink/dall-e-3")


class Hello(Provider):
    """The shortest gateway there is."""

    name, title = "hello", "Hello"
    base_url, key_variable = "https://api.hello.example", "HELLO_API_KEY"
    models = (Model(name="hello-1", sizes={"1:1": {"1k": (1024, 1024)}}, checked="2026-11-20", document="https://hello.example/docs"),)


def test_a_gateway_on_the_usual_wire_is_four_lines() -> None:
    """Name, address and models make a whole gateway: it plans, submits, looks and reads."""
    hello = Hello()
    assert (
        hello.plan(ImageRequest("hi", n=2)).calls
        == (Call("POST", "/v1/images/generations", {"model": "hello-1", "prompt": "hi", "size": "1:1", "n": 1}),) * 2
    )
    assert hello.read_submission({"id": "t-1", "status": "queued"}).task_id == "t-1"
    assert hello.task_call("t-1") == Call("GET", "/v1/tasks/t-1")
    assert hello.batch_call(["t-1"]) is None


def test_a_model_without_references_or_tiers_refuses_them() -> None:
    """What a model's data does not mention, it cannot do."""
    for given in ({"references": (A,)}, {"mask": A}, {"resolution": "1k"}, {"quality": "low"}, {"size": "1024x1024"}, {"size": "auto"}):
        with pytest.raises(UnsupportedOption):
            Hello().plan(ImageRequest("hi", **given))
