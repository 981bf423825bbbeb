"""What the model's page refuses can be sent on request; what it costs, keys and private addresses are never part of that."""

from __future__ import annotations

from typing import Any

import pytest

from imagegen_magic.errors import UnsupportedOption
from imagegen_magic.providers.base import Plan
from imagegen_magic.providers.registry import get_provider
from imagegen_magic.request import ImageRequest

A = "https://pictures.example.com/a.png"


def plan(provider: str, **options: Any) -> Plan:
    """Return the plan of an unchecked request."""
    return get_provider(provider).plan(ImageRequest("a fox", unchecked=True, **options))


@pytest.mark.parametrize(
    ("provider", "options", "field", "value"),
    [
        ("apimart", {"size": "1:1", "resolution": "4k"}, "resolution", "4k"),
        ("apimart", {"size": "7:5"}, "size", "7:5"),
        ("apimart", {"size": "auto"}, "size", "auto"),
        ("apimart", {"size": "512x512"}, "size", "512x512"),
        ("apimart", {"quality": "ultra"}, "quality", "ultra"),
        ("apimart", {"background": "transparent"}, "background", "transparent"),
        ("apimart", {"output_format": "avif"}, "output_format", "avif"),
        ("xingchao", {"background": "opaque"}, "background", "opaque"),
        ("xingchao", {"mask": A, "references": (A,)}, "mask_url", A),
        ("xingchao", {"references": (A,) * 7}, "image_urls", [A] * 7),
        ("evolink", {"resolution": "8k", "size": "1:1"}, "resolution", "8K"),
    ],
)
def test_what_the_page_refuses_goes_out(provider: str, options: dict[str, Any], field: str, value: Any) -> None:
    """With one warning that names the page, its date and what it says; checked, the same request is refused."""
    with pytest.raises(UnsupportedOption):
        get_provider(provider).plan(ImageRequest("a fox", **options))
    made = plan(provider, **options)
    assert (made.calls[0].json or {})[field] == value
    model = get_provider(provider).model()
    (warning,) = [line for line in made.warnings if line.startswith("not checked")]
    assert model.checked in warning
    assert model.document in warning


def test_what_comes_back_is_compared_with_what_was_requested() -> None:
    """Explicit pixels exactly; of a ratio that the page does not have, the shape."""
    assert plan("apimart", size="512x512").pixels == ((512, 512),)
    made = plan("apimart", size="1:1", resolution="4k")
    assert (made.pixels, made.request.size, made.request.resolution) == ((), "1:1", "4k")
    assert plan("apimart", background="transparent").alpha is True


@pytest.mark.parametrize(
    "options",
    [
        {"n": 0},
        {"n": 10_001},
        {"references": ("http://169.254.169.254/x.png",)},
        {"references": ("file:///etc/passwd",)},
        {"background": "transparent", "output_format": "jpeg"},
        {"extra": {"prompt": "another"}},
    ],
)
def test_what_is_refused_all_the_same(options: dict[str, Any]) -> None:
    """Numbers of pictures, addresses that no service may fetch, and what contradicts itself."""
    with pytest.raises(UnsupportedOption):
        plan("apimart", **options)


def test_a_request_that_the_page_allows_has_no_warning_and_the_same_body() -> None:
    """So that its fingerprint is that of the checked request."""
    checked = get_provider("evolink").plan(ImageRequest("a fox", quality="high"))
    made = plan("evolink", quality="high")
    assert (made.calls, made.warnings) == (checked.calls, checked.warnings)
    assert made.request == checked.request
    assert plan("apimart", size="7:5").request.unchecked
