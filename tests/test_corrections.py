"""A user's corrections of a built-in gateway in pyproject.toml, and how old the built-in data are."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import pytest
from shells import a_shell

from imagegen_magic.engine.clock import CLOCK
from imagegen_magic.engine.endpoints import select_endpoint
from imagegen_magic.engine.settings import load
from imagegen_magic.errors import UnknownProvider, UnsupportedOption
from imagegen_magic.humanize import seconds_of
from imagegen_magic.notebook.commands.gateways import page_time
from imagegen_magic.providers import registry
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
        ('[tool.imagegen.providers.apimart]\nlike = "evolink"\nbase_url = "https://x.example"', "name of a service that is built in"),
    ],
)
def test_what_cannot_be_read_is_one_line(project, text, what):
    """With what it may be."""
    project(text)
    with pytest.raises(UnknownProvider, match=what):
        select_endpoint(load(), provider="apimart", planning=True)


@pytest.mark.parametrize(
    ("day", "ages", "oldest"),
    [
        ("2026-11-20", {"2026-11-20": "today", "2026-11-30": "today"}, "today"),
        ("2026-12-01", {"2026-11-20": "11 days ago", "2026-11-30": "1 day ago"}, "11 days ago"),
        ("2027-03-01", {"2026-11-20": "3 months ago", "2026-11-30": "3 months ago"}, "3 months ago"),
        ("2036-12-01", {"2026-11-20": "10 years ago", "2026-11-30": "10 years ago"}, "10 years ago"),
    ],
)
def test_how_old_the_pages_are(monkeypatch, day, ages, oldest):
    """`models` has the age of each model's page; `doctor` that of the oldest, as information, with the way to a newer version."""
    with a_shell() as shell:
        shell.run("%imagegen doctor")
        (before,) = shell.shown()
        monkeypatch.setattr(type(CLOCK), "time", lambda self: seconds_of(f"{day}T12:00:00+00:00"))
        for provider in registry.all_providers():
            shell.run(f"%imagegen models {provider.name}")
            (text,) = shell.shown()
            for model in provider.models:
                assert f"{model.document}, read {model.checked}, {ages[model.checked]}\n" in f"{text}\n", (provider.name, model.name)
        shell.run("%imagegen doctor")
        (text,) = shell.shown()
    (line,) = [line.strip() for line in text.splitlines() if line.startswith("model data")]
    assert line.endswith(f"the oldest page was read {oldest}; newer data come with a newer version: pip install -U imagegen_magic")
    assert text.splitlines()[0] == before.splitlines()[0]  # the number of problems


def test_a_page_without_a_date_has_no_age():
    """As a plug-in's may be; the others are shown."""
    (model, *_) = get_provider("evolink").models
    assert page_time(replace(model, checked="")) is None
    assert replace(model, checked="").source == model.document
