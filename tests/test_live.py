"""One cheapest picture at each real gateway whose key is in the environment: `scripts/test -m live`. It costs money; CI never runs it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from imagegen_magic import ImageRequest, generate, run
from imagegen_magic.engine import endpoints
from imagegen_magic.providers import registry

pytestmark = pytest.mark.slow

PROJECT = Path(__file__).resolve().parent.parent
# read while pytest collects, before the fixture that empties every test's environment
PROVIDERS = {one.name: one for one in registry.built_in() if not one.template}
KEYS = {one.name: (one.key_variable, *one.other_key_variables) for one in PROVIDERS.values()}
VARIABLES = {
    one.name: (*KEYS[one.name], endpoints.base_variable(one), *one.variables, *one.extra_headers.values()) for one in PROVIDERS.values()
}
KEPT = {name: os.environ.get(name, "") for names in VARIABLES.values() for name in names}


def cheapest(provider):
    """Return the request for the cheapest picture of a provider's first model: square, its least tier, low quality."""
    model = provider.models[0]
    quality = "low" if "low" in model.qualities else None
    size = "1:1" if "1:1" in model.sizes else None
    return ImageRequest(
        "A small red circle on white", model=model.name, size=size, resolution=next(iter(model.resolutions), None), quality=quality
    )


@pytest.mark.parametrize("provider", PROVIDERS.values(), ids=lambda one: one.name)
def test_the_cheapest_request_is_one(provider):
    """Each provider can do it: one picture, in one task, of its least pixels, nothing but low quality."""
    plan = provider.plan(cheapest(provider))
    assert plan.count == len(plan.calls) == 1
    assert plan.request.quality in ("low", None)
    assert plan.request.resolution in ("1k", "512", None)


def test_every_key_has_its_live_test():
    """Of each service that is built in, by any variable that its key may stand in, with its address and its further variables."""
    assert set(PROVIDERS) == {one.name for one in registry.all_providers()}
    needed = {"GEMINI_API_KEY", "GOOGLE_API_KEY", "OPENAI_ORG_ID", "AZURE_OPENAI_ENDPOINT", "AZURE_OPENAI_API_VERSION", "FAL_BASE_URL"}
    assert needed <= set(KEPT)


def _with_key(provider, monkeypatch):
    """Give a test the provider's key and address; without a key there is nothing to show."""
    if not any(KEPT[name] for name in KEYS[provider.name]):
        pytest.skip(f"{provider.key_variable} is not set")
    for name in VARIABLES[provider.name]:
        if KEPT[name]:
            monkeypatch.setenv(name, KEPT[name])


@pytest.mark.live
@pytest.mark.timeout(660)
@pytest.mark.parametrize("provider", PROVIDERS.values(), ids=lambda one: one.name)
def test_the_contract_still_holds(provider, monkeypatch):
    """The gateway accepts, makes and hands over a picture of the pixels that its page promises."""
    _with_key(provider, monkeypatch)
    generation = run(generate(cheapest(provider), provider=provider.name, timeout=600))
    (picture,) = generation
    with Image.open(picture.path) as opened:
        opened.load()
        assert opened.size == (picture.width, picture.height)
    assert picture.differences == ()
    assert not picture.sandbox
    print(f"{provider.name}: {picture.width}x{picture.height}, {generation.cost}, {generation.seconds:.0f} s, {picture.path}")


def _collected(*arguments):
    command = [sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider", __file__, *arguments]
    return subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False).stdout


@pytest.mark.slow
def test_live_tests_do_not_run_by_default():
    """Whoever runs the tests pays nothing: what costs money must be asked for by name."""
    default = _collected()
    assert "test_the_contract_still_holds" not in default
    assert "deselected" in default
    assert _collected("-m", "live").count("test_the_contract_still_holds") == len(PROVIDERS)


def test_ci_does_not_ask_for_them():
    """CI never selects the live tests."""
    assert "live" not in (PROJECT / ".ci" / "run").read_text()
