"""Which services can make a request, and for how much."""

from __future__ import annotations

from decimal import Decimal

import pytest
from shells import a_shell

from imagegen_magic import ImageRequest
from imagegen_magic.engine.offers import offers
from imagegen_magic.engine.settings import load
from imagegen_magic.providers import registry
from imagegen_magic.providers.base import Model, Provider
from imagegen_magic.result import Cost


def a_service(service_name: str, amount: str | None, unit: str = "USD", *, pixels: tuple[int, int] = (1024, 1024)) -> Provider:
    """Return a service with one square, at that price."""

    class Service(Provider):
        name, title = service_name, service_name.title()
        base_url, key_variable = f"https://{service_name}.example", f"{service_name.upper()}_API_KEY"
        models = (Model(name=f"{service_name}-1", sizes={"1:1": {"1k": pixels}}, checked="2026-11-30", document="its page"),)

        def price(self, request, pixels):
            return Cost() if amount is None else Cost(Decimal(amount), unit, "estimated", "its page", "2026-11-30")

    return Service()


@pytest.fixture(autouse=True)
def services(own_world, monkeypatch):
    """Five services; all but `keyless` have a key."""
    made = [a_service("dear", "0.2"), a_service("cheap", "0.01"), a_service("credits", "3", "credits"), a_service("unknown", None)]
    made += [a_service("keyless", "0.001")]
    monkeypatch.setattr(registry, "_built_in", lambda: {each.name: each for each in made})
    for each in made[:-1]:
        monkeypatch.setenv(each.key_variable, "a-key-of-this-service")


def names(request, **options):
    """Return the services of the offers."""
    return [offer.provider.name for offer in offers(request, load(), **options)]


def test_the_cheapest_first_within_a_unit(own_world):
    """Units apart, and unknown prices last."""
    assert names(ImageRequest("a fox")) == ["cheap", "dear", "credits", "unknown"]


def test_those_without_a_key_on_request():
    """In their place by price."""
    assert names(ImageRequest("a fox"), without_key=True)[0] == "keyless"


def test_only_those_that_can_make_exactly_this():
    """Neither another size nor another model."""
    assert names(ImageRequest("a fox", size="16:9")) == []
    assert names(ImageRequest("a fox", model="DEAR-1")) == ["dear"]


def test_the_command_shows_them():
    """Pixels, price with its source, and time."""
    with a_shell() as shell:
        shell.run("%imagegen plan -n 2 --all")
        (text,) = shell.shown()
    rows = [line.split() for line in text.splitlines()]
    assert [row[0] for row in rows if "1024×1024" in row] == ["keyless", "cheap", "dear", "credits", "unknown"]
    assert "about $0.02 (its page, 2026-11-30)" in text
    assert "keyless (no key)" in text


def test_a_prompt_that_begins_with_plan_is_a_prompt(monkeypatch):
    """The name is a subcommand only with options."""
    prompts = []
    monkeypatch.setattr("imagegen_magic.notebook.magic.cell._generate", lambda context, parsed, prompt, *more: prompts.append(prompt))
    with a_shell() as shell:
        shell.run("%imagegen plan of a garden")
        shell.run("%imagegen plan -s 1:1 of a garden")
        shell.run("%imagegen plan")
    assert prompts == ["plan of a garden", "plan of a garden"]


def test_where_nothing_can_be_offered_it_says_so():
    """With the way to see those without a key."""
    with a_shell() as shell:
        shell.run("%imagegen plan -s 16:9")
        assert shell.shown() == ["No service with a key can make this. %imagegen plan --all shows those without a key."]
