"""Every figure of the gateways' pages is in the providers, and nothing else is."""

from __future__ import annotations

import pytest
from gateway_table import GATEWAYS
from provider_pages import PAGES, Page

from imagegen_magic.providers.base import Model, PixelRule, PollingPolicy
from imagegen_magic.providers.registry import get_provider

pages = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.id)


def _model(page: Page) -> Model:
    return get_provider(page.provider).model(page.model)


def test_every_gateway_and_model_is_there_and_no_other() -> None:
    """The built-in gateways are the four of the documents, with the models of their pages."""
    found = {f"{name}/{model.name}" for name in GATEWAYS for model in get_provider(name).models}
    assert found == {page.id for page in PAGES}


@pages
def test_a_table_has_exactly_the_pages_ratios_and_tiers(page: Page) -> None:
    """A (ratio, tier) is in the data if and only if the page has it."""
    assert {ratio: set(tiers) for ratio, tiers in _model(page).sizes.items()} == {ratio: set(row) for ratio, row in page.sizes.items()}


@pytest.mark.parametrize(
    ("page", "ratio", "tier"),
    [
        pytest.param(page, ratio, tier, id=f"{page.id} {ratio} {tier}")
        for page in PAGES
        if page.known_pixels
        for ratio, row in page.sizes.items()
        for tier in row
    ],
)
def test_every_entry_of_every_table_is_the_pages(page: Page, ratio: str, tier: str) -> None:
    """The nominal pixels, and what else the page lists for the same entry, are the page's own."""
    model = _model(page)
    assert [model.sizes[ratio][tier], *model.alternate_pixels.get((ratio, tier), ())] == page.sizes[ratio][tier]


@pages
def test_pixels_the_page_does_not_list_are_marked_as_not_promised(page: Page) -> None:
    """Xingchao's page names ratios and tiers without pixels, and the data says so."""
    assert _model(page).pixels_documented is page.known_pixels


@pages
def test_limits_and_defaults_are_the_pages(page: Page) -> None:
    """Qualities, backgrounds, formats, counts, references, mask, callback and the prompt's length are as on the page."""
    model = _model(page)
    assert (model.qualities, model.default_quality) == (page.qualities, page.default_quality)
    assert (model.backgrounds, model.moderations) == (page.backgrounds, page.moderations)
    assert (model.formats, model.compressible) == (page.formats, page.compressible)
    assert (model.max_n, model.max_references, model.mask) == (page.max_n, page.references, page.mask)
    assert (model.callback, model.max_prompt) == (page.callback, page.max_prompt)
    assert (model.resolutions, model.default_size) == (page.tiers, page.default_size)
    assert (model.auto_size, model.auto_resolution) == (page.auto, page.auto_tier)
    assert {f"{width}x{height}" for width, height in model.extra_sizes} == set(page.odd)


@pages
def test_the_rule_for_explicit_pixels_is_the_pages(page: Page) -> None:
    """Multiples of 16, at most 3:1, edges up to 3840, 655 360 to 8 294 400 pixels; none where the page takes ratios only."""
    expected = PixelRule(16, 3840, 3.0, 655_360, page.most_area) if page.pixels else None
    assert _model(page).pixel_rule == expected


@pages
def test_every_listed_size_obeys_the_rule_for_explicit_pixels(page: Page) -> None:
    """What a page makes of a ratio could be asked for as pixels too, but for gccai's odd pairs."""
    rule = PixelRule()
    assert [pair for tiers in _model(page).sizes.values() for pair in tiers.values() if rule.violations(pair)] == []


@pages
def test_every_model_is_dated_and_names_its_document(page: Page) -> None:
    """The data says which page it is from and when that was read."""
    model = _model(page)
    assert (len(model.checked), model.document.startswith("https://")) == (10, True)


def test_the_retired_models_are_marked() -> None:
    """gpt-image-1 ended upstream on 2026-10-23, 1.5 on 2026-12-01; both stay listed."""
    retired = {model.name: model.retired for name in GATEWAYS for model in get_provider(name).models if model.retired}
    assert retired == {"gpt-image-1-official": "2026-10-23", "gpt-image-1.5-official": "2026-12-01"}


def test_evolinks_references_have_their_kinds_and_weight() -> None:
    """EvoLink takes jpeg, jpg, png and webp up to 50 MB."""
    model = get_provider("evolink").model()
    assert (model.reference_types, model.reference_bytes) == (("jpeg", "jpg", "png", "webp"), 50_000_000)


def test_addresses_and_keys_are_the_documents() -> None:
    """Each gateway's base URL and key variable are those of its document."""
    found = {name: (get_provider(name).base_url, get_provider(name).key_variable) for name in GATEWAYS}
    assert found == {
        "gccai": ("https://gccai.heqingsong.uk", "GCCAI_API_KEY"),
        "apimart": ("https://api.apimart.ai", "APIMART_API_KEY"),
        "evolink": ("https://api.evolink.ai", "EVOLINK_API_KEY"),
        "xingchao": ("https://zcbservice.aizfw.cn/kyyReactApiServer", "XINGCHAO_API_KEY"),
    }


def test_the_pace_of_looking_is_the_pages() -> None:
    """APIMart and GCCAI: first after 10 s, then 3; EvoLink 3; Xingchao 2; fifty tasks a batch where there is one."""
    assert {name: get_provider(name).polling for name in GATEWAYS} == {
        "apimart": PollingPolicy(3.0, 10.0, 50),
        "gccai": PollingPolicy(3.0, 10.0, 50),
        "evolink": PollingPolicy(3.0, 3.0, 50),
        "xingchao": PollingPolicy(2.0, 2.0, 0),
    }


def test_the_wire_paths_are_the_documents() -> None:
    """Where each gateway is asked to make pictures, and where it is asked for a task."""
    paths = {name: (get_provider(name).submit_path, get_provider(name).task_call("task_1").path) for name in GATEWAYS}
    assert paths == {
        "apimart": ("/v1/images/generations", "/v1/tasks/task_1"),
        "gccai": ("/v1/images/generations", "/v1/tasks/task_1"),
        "evolink": ("/v1/images/generations", "/v1/tasks/task_1"),
        "xingchao": ("/v1/image2/images", "/v1/result/task_1"),
    }
