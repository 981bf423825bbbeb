"""Models that a service describes itself: fetched once a day, kept, and never in the way of a request."""

from __future__ import annotations

import json
import os
import time
from typing import Any

import pytest
from shells import a_shell
from test_synchronous import Direct, pictures
from webserver import web

from imagegen_magic import ImageRequest, generate, run
from imagegen_magic.engine import api
from imagegen_magic.engine.settings import load
from imagegen_magic.errors import UnknownProvider, UnsupportedOption
from imagegen_magic.notebook.panel.state import PanelState
from imagegen_magic.providers import registry
from imagegen_magic.providers.base import Call, Model
from imagegen_magic.providers.parameters import Parameter


class Describing(Direct):
    """A service that lists its models, and describes any other by its name."""

    def models_call(self) -> Call:
        """Return the request for the list."""
        return Call("GET", "/models")

    def read_models(self, answer: Any) -> tuple[Model, ...]:
        """Read the list: name and steps."""
        return tuple(self._model(name, steps) for name, steps in answer["models"].items())

    def schema_call(self, name: str) -> Call | None:
        """Return the request for one model's description."""
        return Call("GET", f"/models/{name}") if "/" in name else None

    def read_schema(self, name: str, answer: Any) -> Model | None:
        """Read it."""
        return self._model(name, answer["steps"])

    def _model(self, name: str, steps: int) -> Model:
        return Model(
            name=name,
            sizes={"1:1": {"1k": (64, 64)}},
            parameters={"steps": Parameter("integer", minimum=1, maximum=steps)},
            checked="2026-11-30",
            document="the service",
        )


@pytest.fixture(autouse=True)
def service(own_world, monkeypatch):
    """The service, which answers GET with descriptions and POST with a picture."""

    def respond(seen):
        if seen.method == "POST":
            return 200, {}, pictures(1)
        if server.broken:
            return 500, {}, b"{}"
        return 200, {}, json.dumps({"models": {"learnt-1": 50}} if seen.path == "/models" else {"steps": 8}).encode()

    known = registry._built_in()
    monkeypatch.setattr(registry, "_built_in", lambda: {**known, "direct": Describing()})
    monkeypatch.setenv("DIRECT_API_KEY", "a-key-of-direct")
    with web(respond) as server:
        server.broken = False
        monkeypatch.setenv("DIRECT_BASE_URL", server.origin)
        yield server


def draw(**options):
    """Make a picture with the service."""
    return run(generate("a fox", provider="direct", **options))


def fetched(service):
    """Return the descriptions that were fetched."""
    return [seen.path for seen in service.seen if seen.method == "GET"]


def test_a_model_of_the_list_can_be_used(service):
    """Its parameters are checked by what the service says; the list is fetched once."""
    draw(model="learnt-1", parameters={"steps": 50})
    assert json.loads(service.seen[-1].body)["steps"] == 50
    with pytest.raises(UnsupportedOption, match="takes no steps 51") as refusal:
        draw(model="learnt-1", parameters={"steps": 51})
    assert (refusal.value.fix, fetched(service)) == ({"steps": 50}, ["/models"])


def test_any_other_model_is_described_by_its_name(service):
    """By the service's own schema."""
    with pytest.raises(UnsupportedOption, match="takes no steps 9"):
        draw(model="author/own", parameters={"steps": 9})
    assert fetched(service) == ["/models", "/models/author/own"]


def test_a_description_is_fetched_again_after_a_day(service):
    """Not earlier."""
    draw()
    draw()
    for file in (api.load().home / "models").iterdir():
        os.utime(file, (time.time() - 90_000,) * 2)
    draw()
    assert fetched(service) == ["/models"] * 2


def test_a_service_that_does_not_answer_leaves_what_is_known(service):
    """The request is made with the models of the data."""
    service.broken = True
    assert len(draw()) == 1
    with pytest.raises(UnknownProvider, match="no model"):
        draw(model="learnt-1")


def test_a_plan_fetches_nothing(service):
    """It sends nothing, and uses what was fetched before."""
    with pytest.raises(UnknownProvider):
        api.plan(ImageRequest("a fox", model="learnt-1"), provider="direct")
    assert service.seen == []
    draw()
    assert api.plan(ImageRequest("a fox", model="learnt-1"), provider="direct").model.name == "learnt-1"


def test_tab_offers_what_was_learnt(service):
    """After the first request; TAB itself requests nothing."""
    with a_shell() as shell:
        assert shell.tab("%%imagegen -p direct -m ") == ["direct-1"]
        assert fetched(service) == []
        draw(model="learnt-1")
        seen = len(service.seen)
        assert shell.tab("%%imagegen -p direct -m ") == ["direct-1", "learnt-1"]
        assert shell.tab("%%imagegen -p direct -m learnt-1 --set ") == ["steps="]
        assert len(service.seen) == seen


def test_the_panel_has_what_was_learnt(service):
    """Its models, and the parameters of the chosen one; the panel itself requests nothing."""
    assert [model.name for model in PanelState(load(), ImageRequest("a fox"), "direct", False).provider.models] == ["direct-1"]
    assert fetched(service) == []
    draw(model="learnt-1")
    seen = len(service.seen)
    state = PanelState(load(), ImageRequest("a fox"), "direct", False)
    assert [model.name for model in state.provider.models] == ["direct-1", "learnt-1"]
    state.choose("model", "learnt-1")
    state.choose("steps", "60")
    assert [(problem.option, problem.fix) for problem in state.validation.problems] == [("steps", 50)]
    assert len(service.seen) == seen
