"""A gateway that another package wrote for version 0.1.0 works with this one, and Python warns of each name that changed."""

from __future__ import annotations

import importlib
import io
import json
import re
import sys
import warnings
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from webserver import Seen, web

from imagegen_magic import generate, providers, run
from imagegen_magic.errors import APIError
from imagegen_magic.providers import registry
from imagegen_magic.providers.base import Failed, Pending, Submission, Succeeded
from imagegen_magic.request import ImageRequest

PLUGIN = Path(__file__).parent / "data" / "0.1.0" / "plugin"
WARNINGS = (
    "imagegen_magic.providers.answers is now imagegen_magic.providers.responses",
    "imagegen_magic.providers.evolink is now imagegen_magic.providers.gateways.evolink",
    "imagegen_magic.providers.base: Cadence is now PollingPolicy",
    "imagegen_magic.providers.base: Done is now Succeeded",
    "imagegen_magic.providers.base: Waiting is now Pending",
    "imagegen_magic.providers.base: wire_fields is now standard_field_names",
    "imagegen_magic.providers.model: table is now parse_sizes",
    "OutOfOil: charged is now charge",
    "OutOfOil: whose is now blame",
    "PollingPolicy: least is now min_interval",
    "PollingPolicy: first is now initial_delay",
    "PollingPolicy: batch is now batch_size",
    "UploadRule: where is now host",
    "UploadRule: most_bytes is now max_bytes",
    "PixelRule: longest is now max_edge",
    "PixelRule: ratio is now max_ratio",
    "PixelRule: least_area is now min_area",
    "PixelRule: most_area is now max_area",
    "Model: also is now alternate_pixels",
    "Model: odd_pixels is now extra_sizes",
    "Model: pixels_promised is now pixels_documented",
    "Lantern: cadence is now polling",
    "Lantern: wire is now field_names",
    "Lantern: wire_also is now reserved_fields",
    "Lantern: refusals is now refusal_phrases",
    "Provider: cadence is now polling",
    "Provider: wire is now field_names",
)


@pytest.fixture
def plugin(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The plug-in's module as pip would leave it on the path, imported afresh; `module.warned` are the warnings of that."""
    monkeypatch.syspath_prepend(PLUGIN)
    for name in ("lantern_gateway", "imagegen_magic.providers.answers", "imagegen_magic.providers.evolink"):
        monkeypatch.delitem(sys.modules, name, raising=False)
        monkeypatch.delattr(providers, name.rpartition(".")[2], raising=False)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        module: Any = importlib.import_module("lantern_gateway")
    module.warned = [str(each.message) for each in caught if each.category is DeprecationWarning]
    module.files = {each.filename for each in caught}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        yield module


def test_each_old_name_warns(plugin: Any) -> None:
    """The warning names the current name, and points at the plug-in's own line."""
    assert [name for name in WARNINGS if name not in plugin.warned] == []
    assert plugin.files == {str(PLUGIN / "lantern_gateway" / "__init__.py")}


class LanternServer:
    """The plug-in's service: two pictures a submission, burning for two polls."""

    def __init__(self) -> None:
        self.origin, self.polls = "", 0
        memory = io.BytesIO()
        Image.new("RGB", (96, 64), "orange").save(memory, "PNG")
        self.image = memory.getvalue()

    def __call__(self, request: Seen) -> tuple[int, dict[str, str], bytes]:
        """Answer a request."""
        if request.path.startswith("/files/"):
            return 200, {"Content-Type": "image/png"}, self.image
        body = json.loads(request.body) if request.body else {}
        if request.path == "/paint" and "oil" in body["text"]:
            return 400, {}, b'{"error": {"code": "no_oil", "message": "the can is empty"}}'
        if request.path == "/paint":
            return 200, {}, b'{"tickets": [{"ticket": "t-1", "price": "0.02", "minutes": 0.01}, {"ticket": "t-2"}]}'
        tickets = body.get("tickets") or [request.path.rpartition("/")[2]]
        answers = [self.ticket(name) for name in tickets]
        return 200, {}, json.dumps({"tickets": answers} if body else answers[0]).encode()

    def ticket(self, name: str) -> dict[str, Any]:
        """Return a ticket as the service shows it."""
        self.polls += 1
        if self.polls < 3:
            return {"ticket": name, "state": "Burning", "percent": 40}
        return {"ticket": name, "state": "lit", "price": "0.02", "images": [f"{self.origin}/files/{number}.png" for number in (1, 2)]}


@pytest.fixture
def service(plugin: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The plug-in's service on a loopback address, with a key."""
    service = LanternServer()
    with web(service) as server:
        service.origin = server.origin
        monkeypatch.setenv("LANTERN_BASE_URL", server.origin)
        monkeypatch.setenv("LANTERN_API_KEY", "a-key-of-the-tests")
        yield server


def test_it_makes_pictures(service: Any, own_world: Path) -> None:
    """Found by its entry point, asked through its own hooks: two whole pictures on disk, with the cost that it measured."""
    with pytest.warns(UserWarning, match="t-2"):
        result = run(generate("a lantern", provider="lantern", size="3:2", n=2, quality="high"))
    assert [(image.width, image.height, image.path.is_file()) for image in result] == [(96, 64, True)] * 2
    assert (result.provider, result.cost.amount, result.cost.kind) == ("lantern", Decimal("0.02"), "measured")
    sent = json.loads(next(each.body for each in service.seen if each.path == "/paint"))
    assert sent == {
        "model": "lantern-1",
        "text": "a lantern",
        "size": "3:2",
        "aspect": "3:2",
        "quality": "high",
        "count": 2,
    }


def test_its_own_error_is_shown(service: Any, plugin: Any) -> None:
    """Who has to act, whether it was charged and the next step are those that the plug-in named by their old names."""
    with pytest.raises(plugin.OutOfOil) as caught:
        run(generate("no oil", provider="lantern"))
    error = caught.value
    assert (error.what, error.blame, error.charge) == ("Lantern refused: the can is empty", "you", "no")
    assert error.hint == error.next_step == "refill the lantern, then run the cell again"


def test_its_hooks_return_current_records(plugin: Any) -> None:
    """What it makes by the old names is what the engine reads by the current ones."""
    lantern = registry.get_provider("lantern")
    assert lantern.read_submission({"tickets": [{"ticket": "a"}, {"ticket": "b"}]}) == Submission(
        "a", estimated_seconds=0.0, extra_task_ids=("b",)
    )
    assert lantern.read_task({"state": "kindled", "percent": 10}) == Pending("kindled", 0.1)
    assert lantern.read_task({"state": "lit", "images": ["https://x.example/1.png"]}) == Succeeded(("https://x.example/1.png",))
    failed = lantern.read_task({"state": "out", "why": "the wind"})
    assert isinstance(failed, Failed)
    assert failed.error.charge == "no"
    with pytest.raises(APIError) as caught:
        lantern.read_task({})
    assert (caught.value.blame, caught.value.charge, caught.value.refused) == ("gateway", "unknown", False)
    refused = lantern.read_error(500, {"error": {"message": "no_oil_today"}})
    assert isinstance(refused, APIError)
    assert refused.refused


def test_its_records_have_both_names(plugin: Any) -> None:
    """Code that reads a record by an old name gets the same value."""
    lantern = registry.get_provider("lantern")
    model, plan = lantern.model(), lantern.plan(ImageRequest("a lantern", size="100x50", n=3))
    assert (model.also, model.odd_pixels, model.pixels_promised) == (model.alternate_pixels, ((100, 50),), True)  # type: ignore[attr-defined]
    assert (model.pixel_rule.longest, model.pixel_rule.broken((64, 64))) == (128, [])  # type: ignore[union-attr]
    assert (lantern.cadence.least, lantern.cadence.batch, lantern.wire) == (0.05, 2, lantern.field_names)  # type: ignore[attr-defined]
    assert (plan.pictures, plan.warnings) == ((2, 1), ("100x50 flickers",))  # type: ignore[attr-defined]
    assert (Pending("x").word, Succeeded(("u",)).pictures) == ("x", ("u",))  # type: ignore[attr-defined]


def test_a_dialect_that_it_borrows_is_changed_as_it_asks(plugin: Any) -> None:
    """What a subclass of a built-in gateway reads and sets by the old names."""
    lamp = plugin.Lamp()
    assert (lamp.polling.min_interval, lamp.polling.batch_size) == (3.0, 0)
    assert "callback_url" not in lamp.field_names
    assert lamp.field_names["references"] == "image_urls"
    assert lamp.batch_call(["a"]) is None


def test_every_name_that_it_uses_is_of_0_1_0() -> None:
    """The plug-in stays as it was written: none of its names is a current one of the contract."""
    text = (PLUGIN / "lantern_gateway" / "__init__.py").read_text()
    current = {warning.rpartition(" ")[2].rpartition(".")[2] for warning in WARNINGS} | {"hint"}
    assert {name for name in re.findall(r"\w+", text) if name in current} <= {"ratio", "host", "evolink", "charge"}
