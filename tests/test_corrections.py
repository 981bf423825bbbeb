"""A user's corrections of a built-in gateway in pyproject.toml, and how old the built-in data are."""

from __future__ import annotations

from decimal import Decimal

import pytest
from shells import a_shell

from imagegen_magic.engine.clock import CLOCK
from imagegen_magic.engine.endpoints import select_endpoint
from imagegen_magic.engine.settings import load
from imagegen_magic.errors import UnknownProvider, UnsupportedOption
from imagegen_magic.providers.registry import get_provider
from imagegen_magic.request import ImageRequest

CORRECTED = """
[tool.imagegen.providers.apimart]
idempotency = true

[tool.imagegen.providers.apimart.models."gpt-image-2-official"]
qualities = ["low", "ultra"]
max_n = 2
prices = {low = "0.02"}
sizes = {"1:1" = {"1k" = "1040x1040", "4k" = "2880x2880"}}
"""


@pytest.fixture
def project(own_world):
    """Write a pyproject.toml."""

    def write(text: str) -> None:
        (own_world / "pyproject.toml").write_text(text)

    return write


def test_corrected_fields_hold_and_the_others_stay(project):
    """They are checked like the page's, and named as the user's."""
    project(CORRECTED)
    provider = select_endpoint(load(), provider="apimart", planning=True).provider
    plan = provider.plan(ImageRequest("a fox", size="1:1", resolution="4k", quality="ultra", n=3))
    assert (plan.pixels, plan.images_per_call) == (((2880, 2880),), (2, 1))
    assert plan.model.moderations == ("auto", "low")
    assert provider.plan(ImageRequest("a fox", quality="low")).price.amount == Decimal("0.02")
    with pytest.raises(UnsupportedOption, match="has no quality"):
        provider.plan(ImageRequest("a fox", quality="high"))
    assert provider.idempotency
    assert not get_provider("apimart").idempotency


def test_models_shows_the_source(project):
    """`%imagegen models` names the file instead of a page."""
    project(CORRECTED)
    with a_shell() as shell:
        shell.run("%imagegen models gpt-image-2-official")
        assert any("your pyproject.toml" in text for text in shell.shown())


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("[tool.imagegen.providers.apimart]\nidempotency = 'yes'", "neither true nor false"),
        ("[tool.imagegen.providers.apimart]\ncolour = 'red'", "unknown keys colour"),
        ("[tool.imagegen.providers.apimart.models.nope]\nmax_n = 2", "does not have: nope"),
        ('[tool.imagegen.providers.apimart.models."gpt-image-2-official"]\nmax_n = 0', "a number from 1 to 1000"),
        ('[tool.imagegen.providers.apimart.models."gpt-image-2-official"]\nqualities = "low"', "a list of texts"),
        ('[tool.imagegen.providers.apimart.models."gpt-image-2-official"]\nname = "x"', "which cannot be corrected"),
        ('[tool.imagegen.providers.apimart.models."gpt-image-2-official"]\nsizes = {"1:1" = {"1k" = "big"}}', "pixels as text"),
        ('[tool.imagegen.providers.apimart.models."gpt-image-2-official"]\nprices = {low = -1}', "dollars a picture"),
        ('[tool.imagegen.providers.apimart.models."gpt-image-2-official"]\nprices = 1', "dollars a picture"),
        ('[tool.imagegen.providers.apimart.models."gpt-image-2-official"]\nsizes = {"1:1" = {"1k" = 1024}}', "pixels as text"),
        ('[tool.imagegen.providers.apimart.models."gpt-image-2-official"]\nsizes = {"1:1" = "1024x1024"}', "ratios with their tiers"),
        ('[tool.imagegen.providers.apimart.models."gpt-image-2-official"]\nsizes = ["1:1"]', "ratios with their tiers"),
        ('[tool.imagegen.providers.apimart]\nlike = "evolink"\nbase_url = "https://x.example"', "name of a gateway that is built in"),
    ],
)
def test_what_cannot_be_read_is_one_line(project, text, what):
    """With what it may be."""
    project(text)
    with pytest.raises(UnknownProvider, match=what):
        select_endpoint(load(), provider="apimart", planning=True)


def test_how_old_the_pages_are(monkeypatch):
    """`models` says it for each, `doctor` for the oldest, as information."""
    monkeypatch.setattr(type(CLOCK), "time", lambda self: 1_803_859_200.0)  # 2027-03-01
    with a_shell() as shell:
        shell.run("%imagegen models gpt-image-2-r")
        assert any("read 2026-11-20, 101 days ago" in text or "3 months ago" in text for text in shell.shown())
        shell.run("%imagegen doctor")
        (text,) = shell.shown()
    assert "the oldest page was read" in text
    assert "pip install -U imagegen_magic" in text
