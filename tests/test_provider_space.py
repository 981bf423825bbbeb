"""Over the whole space of options, a plan either refuses or obeys the gateway's page, and drops nothing."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from provider_pages import PAGES, Page

from imagegen_magic.errors import UnsupportedOption
from imagegen_magic.providers.base import Plan, Provider
from imagegen_magic.providers.model import tier_by_area
from imagegen_magic.providers.registry import get_provider
from imagegen_magic.request import ImageRequest

pytestmark = pytest.mark.slow

pages = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.id)
some = settings(max_examples=settings.default.max_examples // 3, suppress_health_check=[HealthCheck.too_slow])  # for each page

_RATIOS = ["1:1", "3:2", "2:3", "4:3", "3:4", "5:4", "4:5", "16:9", "9:16", "2:1", "1:2", "3:1", "1:3", "21:9", "9:21", "32:18", "7:5"]
_PIXELS = [
    "1024x1024",
    "1536x1024",
    "1024×1536",
    "2048x2048",
    "3840x2160",
    "3840×2160",
    "2880x2880",
    "1881x836",
    "887x1774",
    "1000x1000",
    "512x512",
    "4096x1024",
    "3840x1024",
    "800x816",
]
_free_pixels = st.builds(lambda w, h: f"{w * 16}x{h * 16}", st.integers(1, 260), st.integers(1, 260))
_sizes = st.none() | st.sampled_from(["auto", "AUTO", *_RATIOS, *_PIXELS]) | _free_pixels
_https = st.sampled_from(["https://pictures.example.com/a.png", "https://pictures.example.com/b.jpg", "https://pictures.example.com/c"])


def _maybe(*values: object) -> st.SearchStrategy[object]:
    return st.none() | st.sampled_from(values)


_requests = st.builds(
    ImageRequest,
    st.sampled_from(["a red fox", "城堡 {name} \\ ?", " ", "x" * 32_000, "x" * 32_001, "🦊" * 32_000]),
    size=_sizes,
    resolution=_maybe("1k", "2k", "4k", "1K", "4K", "8k"),
    quality=_maybe("auto", "low", "medium", "high", "HIGH", "xhigh", "max", "hd"),
    n=st.none() | st.integers(-1, 23),
    background=_maybe("auto", "opaque", "transparent", "Transparent"),
    moderation=_maybe("auto", "low", "none"),
    output_format=_maybe("png", "jpeg", "webp", "PNG", "gif"),
    output_compression=st.none() | st.integers(-1, 101),
    references=st.lists(_https, max_size=17).map(tuple),
    mask=st.none() | _https,
    callback_url=_maybe("https://hooks.example.com/done"),
)


def _one_at_a_time(page: Page) -> st.SearchStrategy[ImageRequest]:
    """Requests that set few options at once, so that many of them are legal."""
    legal = {
        "size": st.sampled_from([*page.sizes, *page.odd, *(["auto"] if page.auto else []), *(_PIXELS if page.pixels else [])]),
        "resolution": st.sampled_from(page.tiers or [None]),
        "quality": st.sampled_from(page.qualities or [None]),
        "background": st.sampled_from(page.backgrounds or [None]),
        "moderation": st.sampled_from(page.moderations or [None]),
        "output_format": st.sampled_from(page.formats or [None]),
        "n": st.integers(1, 23),
        "references": st.lists(_https, max_size=page.references).map(tuple),
    }
    return st.fixed_dictionaries({}, optional=legal).map(lambda requested: ImageRequest("a red fox", **requested))


@pages
@some
@given(data=st.data())
def test_a_plan_refuses_or_obeys_the_page(page: Page, data: st.DataObject) -> None:
    """What the page allows is planned with exactly the page's JSON; what it does not allow is refused before anything is sent."""
    request = data.draw(_requests | _one_at_a_time(page))
    _hold(page, request)


@pages
@some
@given(data=st.data())
def test_what_the_page_allows_is_never_refused(page: Page, data: st.DataObject) -> None:
    """Every legal combination of size, tier and the listed values makes a plan."""
    request = data.draw(_one_at_a_time(page).filter(page.legal))
    _hold(page, request)


def _hold(page: Page, request: ImageRequest) -> None:
    provider = get_provider(page.provider)
    asked = ImageRequest(**{**_fields(request), "model": page.model})
    if not page.legal(request):
        with pytest.raises(UnsupportedOption) as caught:
            provider.plan(asked)
        assert hasattr(request, caught.value.option)
        return
    plan = provider.plan(asked)
    assert [dict(call.json or {}) for call in plan.calls] == [page.body(request, n) for n in plan.images_per_call]
    _count(page, request, plan)
    _expect(page, request, plan)


def _fields(request: ImageRequest) -> dict[str, object]:
    return {"prompt": request.prompt, **{key: value for key, value in request.asked().items() if key != "prompt"}}


def _count(page: Page, request: ImageRequest, plan: Plan) -> None:
    assert sum(plan.images_per_call) == plan.count == (request.n or 1)
    assert all(1 <= n <= page.max_n for n in plan.images_per_call)
    assert len(plan.calls) == -(-plan.count // page.max_n)


def _expect(page: Page, request: ImageRequest, plan: Plan) -> None:
    size, tier = plan.request.size or "", plan.request.resolution
    if "x" in size:
        pixels = (int(size.split("x")[0]), int(size.split("x")[1]))
        assert (plan.pixels, plan.tier[1]) == ((pixels,), tier_by_area(pixels))
    elif size == "auto":
        assert (plan.pixels, plan.tier[1]) == ((), tier or "auto")
    else:
        assert list(plan.pixels) == page.pixels_of(size, tier or "1k")
        assert plan.tier[1] == (tier or "1k")
    image = plan.request.output_format
    assert plan.mime_type == (f"image/{image}" if image else None)
    assert bool(image) == bool(page.formats and (not page.unsent or request.output_format))
    assert plan.alpha == {"transparent": True, "opaque": False}.get(plan.request.background or "")


@pages
@some
@given(data=st.data())
def test_a_resolved_request_means_the_same_when_it_is_planned_again(page: Page, data: st.DataObject) -> None:
    """The defaults a plan filled in are legal themselves and change nothing."""
    request = data.draw(_one_at_a_time(page).filter(page.legal))
    plan = get_provider(page.provider).plan(ImageRequest(**{**_fields(request), "model": page.model}))
    assert get_provider(page.provider).plan(plan.request) == plan


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(), st.lists, max_leaves=5
)
_json_text = _json.filter(lambda value: _encodes(value))


def _encodes(value: object) -> bool:
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return False
    return True


@pages
@some
@given(key=st.text("abcdefgh_", min_size=1), value=_json_text, n=st.integers(1, 12))
@example(key="seed", value=7, n=11)
def test_a_further_field_goes_into_every_call_as_given(page: Page, key: str, value: object, n: int) -> None:
    """`extra` is on the wire of every task, under its own name and unchanged."""
    plan = get_provider(page.provider).plan(ImageRequest("a red fox", model=page.model, n=n, extra={key: value}))
    assert [(call.json or {})[key] for call in plan.calls] == [value] * len(plan.calls)


@pages
@some
@given(request=_requests)
def test_every_call_is_json_that_can_be_sent(page: Page, request: ImageRequest) -> None:
    """Whatever is planned can be written as UTF-8 JSON."""
    try:
        plan = get_provider(page.provider).plan(ImageRequest(**{**_fields(request), "model": page.model}))
    except UnsupportedOption:
        return
    for call in plan.calls:
        assert json.loads(json.dumps(call.json, ensure_ascii=False, allow_nan=False).encode()) == call.json


@given(size=_free_pixels | st.builds(lambda w, h: f"{w}x{h}", st.integers(1, 99_999), st.integers(1, 99_999)))
def test_the_nearest_pixels_that_a_refusal_names_do_work(size: str) -> None:
    """Whoever types what a refusal of pixels proposes is not refused again."""
    provider = get_provider("apimart")
    refusal = _refused(provider, ImageRequest("a red fox", size=size))
    fix = refusal.fix if refusal else {"size": size}
    assert fix is not None
    assert provider.plan(ImageRequest("a red fox", **fix)).request.size == fix["size"]


@pages
@some
@given(size=st.sampled_from([*_RATIOS, "auto", "1:4", "1920x1080", "16/9", "wide"]), resolution=_maybe("1k", "2k", "4k", "8k", "hd"))
def test_the_nearest_size_and_tier_that_a_refusal_names_do_work(page: Page, size: str, resolution: str | None) -> None:
    """Whoever takes the proposal for a size or resolution gets a plan."""
    provider = get_provider(page.provider)
    request = ImageRequest("a red fox", model=page.model, size=size, resolution=resolution)
    refusal = _refused(provider, request)
    if refusal and refusal.fix is not None:
        assert provider.plan(replace(request, **{"resolution": None, **refusal.fix}))


_slips = st.builds(
    replace,
    _requests,
    prompt=st.just("a red fox"),
    size=_sizes | st.sampled_from(["1:4", "1920x1080", "1880x836", "4096x4096", "16/9", "wide"]),
    references=st.lists(_https | st.just("https://pictures.example.com/d.gif"), max_size=18).map(tuple),
)


@pages
@some
@given(request=_slips)
@example(request=ImageRequest("a red fox", background="transparent", output_compression=50))
@example(request=ImageRequest("a red fox", background="transparent", output_format="jpeg", output_compression=50))
@example(request=ImageRequest("a red fox", output_format="png", output_compression=101))
@example(request=ImageRequest("a red fox", size="auto", resolution="4k"))
@example(request=ImageRequest("a red fox", size="1880x836"))
def test_whoever_follows_the_nearest_comes_to_a_plan(page: Page, request: ImageRequest) -> None:
    """The nearest of a refusal, with the rest as asked, is never refused for the same option, and never leads round in a circle."""
    request, refused = replace(request, model=page.model), []
    while (refusal := _refused(get_provider(page.provider), request)) is not None:
        step = f"references: {refusal.fix is None}" if refusal.option == "references" else refusal.option  # too many, and of a wrong kind
        assert step not in refused
        refused.append(step)
        request = _followed(request, refusal)


def _refused(provider: Provider, request: ImageRequest) -> UnsupportedOption | None:
    try:
        provider.plan(request)
    except UnsupportedOption as refusal:
        return refusal
    return None


def _followed(request: ImageRequest, refusal: UnsupportedOption) -> ImageRequest:
    """Apply the fix of a refusal; without one, leave the option out."""
    left_out = {refusal.option: () if refusal.option == "references" else None}
    return replace(request, **(refusal.fix or left_out))
