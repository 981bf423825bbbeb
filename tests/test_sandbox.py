"""The sandbox speaks each gateway's dialect as the gateway's own page has it."""

from __future__ import annotations

import asyncio
import hashlib
import io
import json
from pathlib import Path
from typing import Any

import httpx2
import pytest
from gateway_table import BATCHING, GATEWAYS, POLL, SUBMIT
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from waiting import Overlay

from imagegen_magic.errors import NotFound
from imagegen_magic.providers.registry import get_provider, in_file
from imagegen_magic.request import ImageRequest
from imagegen_magic.result import Cost
from imagegen_magic.sandbox import timing
from imagegen_magic.sandbox.app import create_app
from imagegen_magic.sandbox.dialects import DIALECTS
from imagegen_magic.sandbox.tasks import TaskStore


class Clock:
    """Epoch seconds that a test sets."""

    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def __call__(self) -> float:
        """Return the time."""
        return self.now


class Box:
    """A sandbox in process, asked over httpx2, each request on an event loop of its own."""

    def __init__(self, **options: Any) -> None:
        self.clock = Clock()
        self.app = create_app(**({"duration": 10.0, "clock": self.clock} | options))

    def ask(
        self, method: str, path: str, *, key: str | None = "sk-test", headers: dict[str, str] | None = None, **more: Any
    ) -> httpx2.Response:
        """Send one request; `key` None sends none."""
        sent = ({"authorization": f"Bearer {key}"} if key is not None else {}) | (headers or {})

        async def send() -> httpx2.Response:
            transport = httpx2.ASGITransport(self.app)
            async with httpx2.AsyncClient(transport=transport, base_url="http://sandbox.invalid") as client:
                return await client.request(method, path, headers=sent, **more)

        return asyncio.run(send())

    def submit(self, gateway: str, key: str | None = "sk-test", idempotency: str | None = None, **body: Any) -> httpx2.Response:
        """Submit; the prompt is a red fox unless the body has another."""
        headers = {"idempotency-key": idempotency} if idempotency else None
        return self.ask("POST", SUBMIT[gateway], key=key, headers=headers, json={"prompt": "a red fox"} | body)

    def accepted(self, gateway: str, **body: Any) -> str:
        """Submit and return the task's id as the gateway's provider reads it."""
        response = self.submit(gateway, **body)
        assert response.status_code == 200, response.text
        return get_provider(gateway).read_submission(response.json()).task_id

    def look(self, gateway: str, task_id: str) -> dict[str, Any]:
        """Look at a task."""
        answer: dict[str, Any] = self.ask("GET", POLL[gateway] + task_id).json()
        return answer

    def finished(self, gateway: str, task_id: str) -> list[str]:
        """Let the task finish, and return the addresses as the provider reads them."""
        self.clock.now += 60
        return list(get_provider(gateway).read_task(self.look(gateway, task_id)).image_urls)  # type: ignore[union-attr]

    def download(self, url: str, key: str | None = None) -> httpx2.Response:
        """Fetch a result address."""
        return self.ask("GET", url, key=key)

    def picture(self, gateway: str, **body: Any) -> Image.Image:
        """Return the first picture of a submission."""
        image = Image.open(io.BytesIO(self.download(self.finished(gateway, self.accepted(gateway, **body))[0]).content))
        image.load()
        return image

    def log(self) -> dict[str, Any]:
        """Return the sandbox's journal."""
        answer: dict[str, Any] = self.ask("GET", "/_sandbox/log", key=None).json()
        return answer


@pytest.fixture
def box() -> Box:
    """Return a sandbox whose tasks take ten seconds of a clock that the test moves."""
    return Box()


def test_a_front_page_names_every_base_url(box: Box) -> None:
    """The root says what this is and where each dialect lives."""
    base_urls = box.ask("GET", "/").json()["base_urls"]
    assert base_urls == {name: f"http://sandbox.invalid/{name}{in_file(name).version_segment}" for name in DIALECTS}
    assert set(base_urls) >= set(GATEWAYS)


@pytest.mark.parametrize("gateway", ["apimart", "gccai"])
def test_apimarts_submission_has_the_pages_shape(box: Box, gateway: str) -> None:
    """`data` is a list of one status and task_id, as pages 000 and 004 show."""
    answer = box.submit(gateway).json()
    assert answer == {"code": 200, "data": [{"status": "submitted", "task_id": answer["data"][0]["task_id"]}]}
    assert answer["data"][0]["task_id"].startswith("task_01")


def test_apimarts_look_goes_from_pending_over_in_progress_to_completed(box: Box) -> None:
    """The words, progress, cost, actual_time and the list of urls are those of the page's example."""
    task = box.accepted("apimart", quality="medium")
    assert (box.look("apimart", task)["data"]["status"], box.look("apimart", task)["data"]["progress"]) == ("pending", 0)
    box.clock.now += 5
    assert (box.look("apimart", task)["data"]["status"], box.look("apimart", task)["data"]["progress"]) == ("in_progress", 50)
    box.clock.now += 5
    done = box.look("apimart", task)["data"]
    image = done["result"]["images"][0]
    assert (done["id"], done["status"], done["progress"], done["actual_time"]) == (task, "completed", 100, 10)
    assert done["cost"] == pytest.approx(1756 * 24 / 1_000_000, abs=1e-5)
    assert image["url"][0].startswith(f"http://sandbox.invalid/files/apimart/{task}/0.png?")
    assert image["expires_at"] == int(box.clock.now + 86_400)


def test_evolinks_submission_is_flat_and_reserves_credits(box: Box) -> None:
    """The flat task carries object, estimate and the credits that are reserved."""
    answer = box.submit("evolink", n=2, size="1:1").json()
    assert (answer["object"], answer["status"], answer["progress"], answer["model"]) == (
        "image.generation.task",
        "pending",
        0,
        "gpt-image-2",
    )
    assert answer["usage"]["credits_reserved"] == 8.0
    assert answer["task_info"]["estimated_time"] == 10
    assert answer["id"].startswith("task-unified-")


def test_evolinks_look_goes_from_pending_over_processing_to_completed(box: Box) -> None:
    """`results` is a list of strings, one a picture."""
    task = box.accepted("evolink", n=3)
    assert box.look("evolink", task)["status"] == "pending"
    box.clock.now += 4
    assert (box.look("evolink", task)["status"], box.look("evolink", task)["progress"]) == ("processing", 40)
    box.clock.now += 6
    done = box.look("evolink", task)
    assert (done["status"], len(done["results"]), all(isinstance(url, str) for url in done["results"])) == ("completed", 3, True)


def test_xingchaos_look_goes_from_queued_over_processing_to_one_image_url(box: Box) -> None:
    """The envelope has no progress, one `image_url` and a null error."""
    answer = box.submit("xingchao").json()
    assert answer == answer | {"object": "image", "model": "gpt-image-2", "status": "queued", "error": None}
    task = answer["id"]
    assert task.startswith("image_")
    assert box.look("xingchao", task)["status"] == "queued"
    box.clock.now += 5
    running = box.look("xingchao", task)
    assert (running["object"], running["status"], running["image_url"], "progress" in running) == (
        "image.generation",
        "processing",
        None,
        False,
    )
    box.clock.now += 5
    done = box.look("xingchao", task)
    assert (done["status"], done["error"], isinstance(done["image_url"], str)) == ("completed", None, True)


@pytest.mark.parametrize("gateway", GATEWAYS)
def test_a_missing_or_bad_key_is_401(box: Box, gateway: str) -> None:
    """No key, an empty one, and one beginning with `bad` are refused at the submission and at the look."""
    assert [box.submit(gateway, key=key).status_code for key in (None, "", "bad-key")] == [401, 401, 401]
    assert box.ask("GET", POLL[gateway] + "x", key=None).status_code == 401


@pytest.mark.parametrize("gateway", GATEWAYS)
def test_a_poor_key_is_402(box: Box, gateway: str) -> None:
    """A key beginning with `poor` has no balance."""
    assert box.submit(gateway, key="poor-key").status_code == 402


@pytest.mark.parametrize("gateway", GATEWAYS)
def test_an_unknown_task_is_not_found(box: Box, gateway: str) -> None:
    """An unknown task, and one of another gateway: 404, at evolink 400, and its provider reads NotFound."""
    other = "evolink" if gateway != "evolink" else "apimart"
    task = box.accepted(other)
    for unknown in ("nothing", task):
        response = box.ask("GET", POLL[gateway] + unknown)
        assert response.status_code == (400 if gateway == "evolink" else 404)
        assert isinstance(get_provider(gateway).read_error(response.status_code, response.json()), NotFound)


@pytest.mark.parametrize(
    ("gateway", "body", "status", "words"),
    [
        ("apimart", {"size": "1:1", "resolution": "4k"}, 400, "does not support resolution '4k'"),
        ("apimart", {"size": "4:3", "resolution": "4k"}, 400, "exceeds the pixel cap"),
        ("apimart", {"size": "3:1"}, 500, "build_request_failed: unsupported size '3:1'"),
        ("apimart", {"size": "1881x836"}, 500, "multiples of 16"),
        ("apimart", {"size": "512x512"}, 500, "655360"),
        ("apimart", {"size": "3840x3840"}, 500, "8294400"),
        ("apimart", {"size": "3200x1024"}, 500, "3:1"),
        ("apimart", {"size": "4096x2048"}, 500, "3840"),
        ("apimart", {"resolution": "8k"}, 400, "resolution"),
        ("apimart", {"resolution": "2K"}, 400, "resolution"),
        ("apimart", {"n": "1"}, 400, "without quotes"),
        ("apimart", {"n": True}, 400, "without quotes"),
        ("apimart", {"n": 5}, 400, "between 1 and 4"),
        ("apimart", {"n": 0}, 400, "between 1 and 4"),
        ("apimart", {"quality": "ultra"}, 400, "quality"),
        ("apimart", {"moderation": "none"}, 400, "moderation"),
        ("apimart", {"background": "green"}, 400, "background"),
        ("apimart", {"output_format": "gif"}, 400, "output_format"),
        ("apimart", {"output_compression": 101}, 400, "output_compression"),
        ("apimart", {"mask_url": "https://x.example/m.png"}, 400, "image_urls"),
        ("apimart", {"image_urls": ["https://x.example/r.png"] * 17}, 400, "at most 16"),
        ("apimart", {"image_urls": "https://x.example/r.png"}, 400, "array"),
        ("apimart", {"image_urls": ["/etc/passwd"]}, 400, "cannot fetch"),
        ("apimart", {"prompt": "  "}, 400, "prompt is required"),
        ("apimart", {"prompt": 7}, 400, "prompt must be a string"),
        ("apimart", {"model": "gpt-image-9"}, 404, "not found"),
        ("gccai", {"model": "gpt-image-1.5-official", "size": "16:9"}, 500, "build_request_failed"),
        ("gccai", {"model": "gpt-image-1.5-official", "size": "1024x1024"}, 500, "no pixels"),
        ("gccai", {"model": "gpt-image-1.5-official", "output_format": "webp"}, 400, "output_format"),
        ("gccai", {"model": "gpt-image-1.5-official", "background": "transparent", "output_format": "jpeg"}, 400, "png"),
        ("gccai", {"model": "gpt-image-1-official", "image_urls": ["https://x.example/r.png"] * 16}, 400, "at most 15"),
        ("evolink", {"quality": "auto"}, 400, "quality"),
        ("evolink", {"n": 11}, 400, "between 1 and 10"),
        ("evolink", {"size": "7:1"}, 400, "neither"),
        ("evolink", {"size": "100x100"}, 400, "multiples of 16"),
        ("evolink", {"size": "16:9", "resolution": "8K"}, 400, "resolution"),
        ("evolink", {"prompt": "宫" * 32_001}, 400, "32000"),
        ("evolink", {"image_urls": ["https://x.example/r.png"] * 17}, 400, "at most 16"),
        ("evolink", {"callback_url": "http://x.example/hook"}, 400, "https"),
        ("evolink", {"callback_url": "https://127.0.0.1/hook"}, 400, "private"),
        ("evolink", {"callback_url": "https://localhost/hook"}, 400, "https"),
        ("evolink", {"callback_url": "https://x.example/" + "h" * 2048}, 400, "2048"),
        ("evolink", {"callback_url": "https://localhost./hook"}, 400, "private"),
        ("evolink", {"callback_url": "https://127.1/hook"}, 400, "private"),
        ("evolink", {"callback_url": "https://server/hook"}, 400, "private"),
        ("evolink", {"callback_url": "https://printer.local/hook"}, 400, "private"),
        ("evolink", {"callback_url": "https://[64:ff9b::a00:1]/hook"}, 400, "private"),
        ("evolink", {"callback_url": "https://x.example:0/hook"}, 400, "callback_url"),
        ("evolink", {"callback_url": "https://[::1/hook"}, 400, "callback_url"),
        ("evolink", {"image_urls": ["https://x.example/r.GIF?v=1"]}, 400, "jpeg, jpg, png, webp"),
        ("evolink", {"mask_url": "https://x.example/m.png"}, 400, "image_urls"),
        ("evolink", {"background": "transparent"}, 400, "background"),
        ("evolink", {"output_format": "gif"}, 400, "output_format"),
        ("evolink", {"image_urls": ["https://[::1/r.png"]}, 400, "cannot fetch"),
        ("apimart", {"image_urls": ["https://[::1/r.png"]}, 400, "cannot fetch"),
        ("apimart", {"image_urls": ["http://sandbox.invalid/r.png?signature=\u00e9"]}, 400, "cannot fetch"),
        ("apimart", {"image_urls": ["https://x.example/r.gif"], "mask_url": "https://[::1/m.png"}, 400, "cannot fetch"),
        ("apimart", {"prompt": f"[[fault: failed:{'9' * 5000}]]"}, 400, "at most 9 digits"),
    ],
)
def test_a_body_against_the_page_is_refused_in_the_gateways_shape(
    box: Box, gateway: str, body: dict[str, Any], status: int, words: str
) -> None:
    """The HTTP status is the gateway's, the error an object of code, message and type, and no task is made."""
    response = box.submit(gateway, **body)
    error = response.json()["error"]
    assert (response.status_code, set(error), words in error["message"]) == (status, {"code", "message", "type"}, True), response.text
    assert box.log()["accepted"] == 0


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"ratio": "4:3", "resolution": "4k"}, "Invalid request: resolution '4k' is not supported for ratio '4:3'"),
        ({"model": "gpt-image-2-r", "ratio": "1:1", "resolution": "2k"}, "resolution '2k'"),
        ({"resolution": "2k"}, "ratio is required"),
        ({"ratio": "3:1"}, "ratio '3:1'"),
        ({"size": "16:9"}, "{width}x{height}"),
        ({"size": "1000x1000"}, "multiples of 16"),
        ({"quality": "auto"}, "quality"),
        ({"image_urls": ["https://x.example/r.png"] * 7}, "at most 6"),
        ({"model": "nope"}, "not found"),
    ],
)
def test_xingchao_refuses_inside_its_normal_envelope(box: Box, body: dict[str, Any], words: str) -> None:
    """Status failed, the error a string, and the model as it was named: page 002's failure response."""
    answer = box.submit("xingchao", **body).json()
    assert (answer["object"], answer["status"], answer["model"]) == ("image", "failed", body.get("model"))
    assert words in answer["error"]
    assert box.log()["accepted"] == 0


def test_xingchaos_combination_refusal_comes_at_200_and_other_refusals_at_4xx(box: Box) -> None:
    """The page does not say which status a failed envelope has, so the sandbox uses both."""
    assert box.submit("xingchao", ratio="4:3", resolution="4k").status_code == 200
    assert box.submit("xingchao", quality="auto").status_code == 400


@pytest.mark.parametrize(
    ("gateway", "body", "pixels"),
    [
        ("apimart", {}, (1024, 1024)),
        ("apimart", {"size": "16:9"}, (1536, 864)),
        ("apimart", {"size": "1536x1024", "resolution": "4k"}, (1536, 1024)),
        ("gccai", {"size": "auto"}, (1024, 1024)),
        ("gccai", {"size": "1881x836"}, (1881, 836)),
        ("gccai", {"size": "4:3"}, (1024, 768)),
        ("gccai", {"model": "gpt-image-1-official", "size": "2:3"}, (1024, 1536)),
        ("evolink", {"size": "16:9"}, (1824, 1024)),
        ("evolink", {"size": "2:1", "resolution": "2k"}, (2048, 1024)),
        ("evolink", {"size": "1024×1536"}, (1024, 1536)),
        ("evolink", {"size": "1024x1536", "resolution": "4K"}, (1024, 1536)),
        ("xingchao", {"size": "1536x1024", "ratio": "4:3", "resolution": "4k"}, (1536, 1024)),
        ("xingchao", {"model": "gpt-image-2-r", "quality": "whatever"}, (1024, 1024)),
    ],
)
def test_the_picture_measures_what_the_page_promises(box: Box, gateway: str, body: dict[str, Any], pixels: tuple[int, int]) -> None:
    """Pixels follow the gateway's table, explicit pixels beat the tier, and xingchao's size beats its ratio."""
    assert box.picture(gateway, **body).size == pixels


def test_gccais_three_to_one_measures_either_of_its_two_answers(box: Box) -> None:
    """Page 000 lists two pixel pairs for 3:1 at 1k, and both occur."""
    store = box.app.state.sandbox.store
    sizes = {store.get(box.accepted("gccai", size="3:1", prompt=f"banner {n}")).pixels for n in range(20)}
    assert sizes == {(1881, 836), (1536, 512)}


def test_evolinks_auto_size_is_the_models_own_choice(box: Box) -> None:
    """With `auto`, resolution does not apply, and different prompts get different shapes."""
    store = box.app.state.sandbox.store
    sizes = {store.get(box.accepted("evolink", prompt=f"anything {n}", resolution="4K")).pixels for n in range(20)}
    assert sizes == {(1024, 1024), (1536, 1024), (1024, 1536)}


@pytest.mark.parametrize(("asked", "form"), [("png", "PNG"), ("jpeg", "JPEG"), ("webp", "WEBP")])
def test_the_picture_has_the_format_asked_for(box: Box, asked: str, form: str) -> None:
    """apimart's three formats, by their bytes."""
    assert box.picture("apimart", output_format=asked).format == form


def test_gpt_image_1_is_transparent_and_gpt_image_2_silently_is_not(box: Box) -> None:
    """Page 000: transparent is downgraded to auto without a word; page 001: it is supported with png."""
    assert box.picture("gccai", model="gpt-image-1.5-official", background="transparent").getchannel("A").getextrema() == (0, 255)
    assert box.picture("gccai", background="transparent").mode == "RGB"


@pytest.mark.parametrize(("asked", "made"), [(9, 4), (0, 1), (-3, 1), (2, 2)])
def test_gpt_image_1_clamps_n(box: Box, asked: int, made: int) -> None:
    """Page 001: values up to 0 are treated as 1, values above 4 as 4."""
    assert len(box.finished("gccai", box.accepted("gccai", model="gpt-image-1-official", n=asked))) == made


@pytest.mark.parametrize(
    "body",
    [
        b'{"prompt": "half \\ud83e"}',
        b'{"prompt": "x", "size": "\\ud83e"}',
        b'{"prompt": "x", "model": "\\ud83e"}',
        b'{"prompt": "x", "\\ud83e": 1}',
        b'{"prompt": "x", "n": NaN}',
        b'{"prompt": "x", "n": [1e999, -Infinity]}',
        b"[" * 100_000,
        b'{"prompt": "x", "n": ' + b"9" * 5000 + b"}",
        b"\xff\xfe\x00",
    ],
    ids=lambda body: repr(body[:30]),
)
@pytest.mark.parametrize("gateway", GATEWAYS)
def test_a_body_that_cannot_be_told_again_is_refused_and_breaks_no_log(box: Box, gateway: str, body: bytes) -> None:
    """Half characters, numbers that are none and endless nesting are 400, and the journal shows the text that came."""
    assert box.ask("POST", SUBMIT[gateway], content=body).status_code == 400
    assert box.log()["submissions"][0]["json"] == body.decode("utf-8", "replace")


_wild = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()) | st.sampled_from(["1:1", "https://[", "auto"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=4,
)
_shaping = st.sampled_from(["model", "prompt", "size", "ratio", "resolution", "quality", "n", "background", "moderation"])
_fields = _shaping | st.sampled_from(["output_format", "output_compression", "image_urls", "mask_url", "callback_url", "seed"])


@given(gateway=st.sampled_from(GATEWAYS), body=st.dictionaries(_fields, _wild, max_size=4))
def test_no_body_breaks_the_sandbox(gateway: str, body: dict[str, Any]) -> None:
    """Whatever is submitted is accepted or refused in the gateway's own shape, and the log can be read afterwards."""
    box = Box()
    response = box.ask("POST", SUBMIT[gateway], content=json.dumps({"prompt": "a red fox", **body}).encode())
    assert response.status_code < 500 or response.json()["error"]["code"] == "build_request_failed"
    assert len(box.log()["submissions"]) == 1


def test_a_body_that_is_no_object_is_refused(box: Box) -> None:
    """A list and broken JSON are 400, and the journal keeps what came."""
    assert box.ask("POST", SUBMIT["evolink"], content=b"[1]").status_code == 400
    assert box.ask("POST", SUBMIT["evolink"], content=b"{half").status_code == 400
    assert [entry["json"] for entry in box.log()["submissions"]] == [[1], "{half"]


@pytest.mark.parametrize("gateway", BATCHING)
def test_a_batch_look_shows_known_tasks_and_leaves_out_the_others(box: Box, gateway: str) -> None:
    """`{"task_ids": […]}` answers a list in `data`."""
    tasks = [box.accepted(gateway, prompt=f"p{n}") for n in range(3)]
    answer = box.ask("POST", f"/{gateway}/v1/tasks/batch", json={"task_ids": [*tasks, "unknown"]}).json()
    assert [task["id"] for task in answer["data"]] == tasks
    assert set(get_provider(gateway).read_batch(answer)) == set(tasks)
    assert box.log()["batch_looks"] == 1


def test_a_batch_look_takes_fifty_tasks_and_no_more(box: Box) -> None:
    """51 ids, none, and no list at all are 400; without a key it is 401."""
    for ids in (["x"] * 51, [], "x"):
        assert box.ask("POST", "/evolink/v1/tasks/batch", json={"task_ids": ids}).status_code == 400
    assert box.ask("POST", "/evolink/v1/tasks/batch", json={"task_ids": ["x"]}, key=None).status_code == 401
    assert box.ask("POST", "/evolink/v1/tasks/batch", json={"task_ids": ["x"] * 50}).json()["data"] == []


def test_xingchao_has_no_batch_look(box: Box) -> None:
    """Its page names none."""
    assert box.ask("POST", "/xingchao/v1/tasks/batch", json={"task_ids": ["x"]}).status_code == 404


@pytest.mark.parametrize("gateway", GATEWAYS)
def test_the_same_idempotency_key_gives_the_same_task(box: Box, gateway: str) -> None:
    """A repeated submission makes no second task, and is counted as repeated."""
    first, second = (box.submit(gateway, idempotency="once") for _ in range(2))
    third = box.submit(gateway, idempotency="twice")
    ids = [get_provider(gateway).read_submission(response.json()).task_id for response in (first, second, third)]
    assert (ids[0] == ids[1], ids[0] == ids[2]) == (True, False)
    log = box.log()
    assert (log["accepted"], log["repeated"], log["providers"][gateway]["submissions"]) == (2, 1, 3)
    assert [entry["repeated"] for entry in log["submissions"]] == [False, True, False]


def test_the_log_tells_all_but_the_key(box: Box) -> None:
    """Provider, prompt, idempotency key, task id, that there was a key, and the body; the key itself is nowhere."""
    response = box.submit("evolink", key="sk-very-secret", idempotency="k1", prompt="a quiet lake")
    task = response.json()["id"]
    box.look("evolink", task)
    log = box.log()
    (entry,) = log["submissions"]
    assert (entry["provider"], entry["prompt"], entry["idempotency_key"], entry["task_id"]) == ("evolink", "a quiet lake", "k1", task)
    assert (entry["had_key"], entry["json"], entry["status"], entry["accepted"]) == (True, {"prompt": "a quiet lake"}, 200, True)
    assert (log["looks"], log["providers"]["evolink"]["looks"]) == (1, 1)
    assert "very-secret" not in json.dumps(log)


def test_a_key_sent_to_a_result_address_is_refused_and_logged(box: Box) -> None:
    """400, counted, and without the key the same address answers."""
    url = box.finished("evolink", box.accepted("evolink"))[0]
    assert box.download(url, key="sk-test").status_code == 400
    assert box.download(url).status_code == 200
    log = box.log()
    assert (log["downloads"], log["downloads_with_key"]) == (2, 1)


def test_an_address_expires_and_a_new_look_renews_it() -> None:
    """After its lifetime the address is 403; the task, asked again, names another that works."""
    box = Box(lifetime=100.0)
    task = box.accepted("apimart")
    box.clock.now += 10
    old = box.look("apimart", task)["data"]["result"]["images"][0]
    assert old["expires_at"] == int(box.clock.now + 100)
    assert box.look("apimart", task)["data"]["result"]["images"][0] == old
    box.clock.now += 101
    assert box.download(old["url"][0]).status_code == 403
    new = box.look("apimart", task)["data"]["result"]["images"][0]
    assert new["url"] != old["url"]
    assert box.download(new["url"][0]).status_code == 200


@pytest.mark.parametrize("wrong", [{"lifetime": 0}, {"lifetime": float("nan")}, {"scale": -1}, {"duration": float("inf")}])
def test_times_that_cannot_be_are_refused_at_the_start(wrong: dict[str, float]) -> None:
    """An address lives for some time, and nothing takes less than none."""
    with pytest.raises(ValueError, match=next(iter(wrong))):
        create_app(**wrong)  # type: ignore[arg-type]  # the one wrong number


def test_a_changed_address_is_no_address(box: Box) -> None:
    """The signature covers path and expiry; a picture beyond n does not exist."""
    url = box.finished("evolink", box.accepted("evolink"))[0]
    assert box.download(url.replace("serial=0", "serial=1")).status_code == 404
    assert box.download(url.replace("/0.png", "/1.png")).status_code == 404
    assert box.download(url[:-1]).status_code == 404
    assert box.download(url.replace("/0.png", f"/{'9' * 5000}.png")).status_code == 404
    assert box.download(url[:-1] + "é").status_code == 404


def test_result_addresses_stand_on_the_origin_that_was_asked(box: Box) -> None:
    """The Host header decides, so the same app serves a socket and a process."""
    task = box.accepted("evolink")
    box.clock.now += 60
    answer = box.ask("GET", POLL["evolink"] + task, headers={"host": "127.0.0.1:8001"}).json()
    assert answer["results"][0].startswith("http://127.0.0.1:8001/files/evolink/")


def test_each_picture_of_a_task_is_another_one_and_comes_back_the_same(box: Box) -> None:
    """Different for every index, deterministic for prompt and seed, other for another seed."""
    urls = box.finished("evolink", box.accepted("evolink", n=2, size="1:1"))
    first, second = (box.download(url).content for url in urls)
    again, other = Box(), Box(seed=1)
    same = again.download(again.finished("evolink", again.accepted("evolink", size="1:1"))[0]).content
    different = other.download(other.finished("evolink", other.accepted("evolink", size="1:1"))[0]).content
    digests = [hashlib.sha256(picture).hexdigest() for picture in (first, second, same, different)]
    assert (digests[0] == digests[2], len(set(digests))) == (True, 3)


def test_plain_serves_one_drawing_for_all_pictures_of_the_same_pixels() -> None:
    """For measuring: what is drawn once is not drawn again."""
    box = Box(plain=True)
    urls = [box.finished("evolink", box.accepted("evolink", prompt=prompt, size="1:1"))[0] for prompt in ("one", "two")]
    assert box.download(urls[0]).content == box.download(urls[1]).content


def test_drawings_are_remembered_within_bounds() -> None:
    """The memory of drawings never outgrows its room by more than the last one."""
    box = Box()
    box.app.state.sandbox.images.room = 1
    for url in box.finished("evolink", box.accepted("evolink", n=4, size="1:1")):
        assert box.download(url).status_code == 200
    assert len(box.app.state.sandbox.images._kept) == 1


def test_a_new_process_knows_the_tasks_of_a_dead_one(tmp_path: Path) -> None:
    """With a home, tasks, their pictures, idempotency keys and faults that cling to them outlive the app."""
    first = Box(home=tmp_path)
    task = first.submit("evolink", idempotency="k1", size="1:1").json()["id"]
    broken = first.accepted("evolink", prompt="broken")
    first.ask("POST", "/_sandbox/faults", json={"kind": "failed", "match": "broken"})
    first.look("evolink", broken)
    before = first.download(first.finished("evolink", task)[0]).content
    second = Box(home=tmp_path)
    assert second.download(second.finished("evolink", task)[0]).content == before
    assert second.look("evolink", broken)["status"] == "failed"
    third = Box(home=tmp_path)
    assert third.submit("evolink", idempotency="k1", size="1:1").json()["id"] == task
    assert third.log()["repeated"] == 1


def test_two_processes_share_a_home(tmp_path: Path) -> None:
    """What one accepts, the other finds, at once and after it has read before."""
    one, other = Box(home=tmp_path), Box(home=tmp_path)
    for prompt in ("first", "second"):
        task = one.accepted("gccai", prompt=prompt)
        assert other.look("gccai", task)["data"]["id"] == task


def test_a_line_cut_by_a_kill_spoils_nothing(tmp_path: Path) -> None:
    """A half-written line is passed over, whether or not others follow it."""
    task = Box(home=tmp_path).accepted("evolink")
    (path,) = tmp_path.glob("tasks-*.jsonl")
    whole = path.read_bytes()
    path.write_bytes(whole[:40] + b"\n" + whole + whole[:50])
    assert Box(home=tmp_path).look("evolink", task)["id"] == task


def test_days_long_gone_are_swept_away(tmp_path: Path) -> None:
    """A file older than any gateway keeps pictures is deleted when the home is read."""
    (tmp_path / "tasks-2001-01-01.jsonl").write_text("")
    TaskStore(tmp_path).refresh()
    assert not list(tmp_path.glob("*.jsonl"))


def test_without_a_home_nothing_is_written_and_the_dead_are_forgotten() -> None:
    """A new app knows nothing of an old one."""
    task = Box().accepted("evolink")
    assert Box().ask("GET", POLL["evolink"] + task).status_code == 400
    assert not list(Path.cwd().iterdir())


def test_waiting_times_are_realistic_scaled_and_the_same_for_the_same_task() -> None:
    """Medians grow with quality and pixels as published; the same id takes the same time."""
    seconds = {quality: timing.median_seconds(quality, (1024, 1024)) for quality in ("low", "medium", "high")}
    assert seconds == {"low": 20.0, "medium": 46.0, "high": 115.0}
    assert 185 < timing.median_seconds("high", (3840, 2160)) < 205
    drawn = sorted(timing.seconds("medium", (1024, 1024), f"task_{n}") for n in range(400))
    assert 42 < drawn[200] < 50
    assert 75 < drawn[380] < 100
    assert timing.seconds("auto", (1024, 1024), "x") == timing.seconds("low", (1024, 1024), "x")


def test_scale_multiplies_the_waiting_and_duration_replaces_it() -> None:
    """`scale` is a factor on the model, `duration` fixed seconds."""
    task = (scaled := Box(scale=0.1, duration=None)).accepted("apimart", quality="high")
    took = scaled.app.state.sandbox.store.get(task).seconds
    assert took == pytest.approx(0.1 * timing.seconds("high", (1024, 1024), task))
    assert (fixed := Box(duration=3.0)).app.state.sandbox.store.get(fixed.accepted("apimart")).seconds == 3.0


def test_latency_delays_each_look_in_the_loops_own_time(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    """`latency` seconds are slept before a look is answered, and not before a submission."""
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    box = Box(latency=0.7)
    task = box.accepted("evolink")
    with monkeypatch.context() as patched:
        patched.setattr("imagegen_magic.sandbox.app.asyncio", Overlay(asyncio, sleep=sleep))
        box.look("evolink", task)
    assert slept == [0.7]


@pytest.mark.parametrize(
    ("model", "quality", "pixels", "price"),
    [
        ("gpt-image-2-official", "auto", (1024, 1024), 196 * 24),
        ("gpt-image-2-official", "high", (1024, 1024), 7024 * 24),
        ("gpt-image-1-official", "medium", (1024, 1024), 1056 * 40),
        ("gpt-image-1-official", "high", (1024, 1536), 6240 * 40),
        ("gpt-image-1.5-official", "auto", (1536, 1024), 400 * 32),
    ],
)
def test_dollars_follow_tokens(model: str, quality: str, pixels: tuple[int, int], price: int) -> None:
    """Output tokens times the price of a million, for each picture."""
    assert timing.dollars(model, quality, pixels, 2) == pytest.approx(2 * price / 1_000_000, abs=1e-5)


REQUESTS = [
    ("apimart", {}),
    ("apimart", {"size": "21:9", "resolution": "4k", "quality": "high", "n": 4, "output_format": "webp", "output_compression": 80}),
    ("gccai", {"size": "1:3", "resolution": "4k"}),
    ("gccai", {"model": "gpt-image-1.5-official", "background": "transparent", "size": "3:2"}),
    ("evolink", {"size": "16:9", "resolution": "2k", "n": 3, "callback_url": "https://example.com/hook"}),
    ("evolink", {"size": "auto"}),
    ("xingchao", {"size": "9:21", "resolution": "4k"}),
    ("xingchao", {"size": "1536x1024"}),
    ("xingchao", {"model": "gpt-image-2-r", "references": ("https://example.com/a.png",)}),
]


@pytest.mark.parametrize(("gateway", "options"), REQUESTS)
def test_what_a_plan_sends_is_accepted_and_its_answers_are_read(box: Box, gateway: str, options: dict[str, Any]) -> None:
    """The provider's own calls go through the sandbox, and the picture is what the plan expects."""
    provider = get_provider(gateway)
    plan = provider.plan(ImageRequest("a castle by the sea", **options))
    call = plan.calls[0]
    submission = provider.read_submission(box.ask(call.method, f"/{gateway}{call.path}", json=dict(call.json or {})).json())
    box.clock.now += 60
    look = provider.task_call(submission.task_id)
    done = provider.read_task(box.ask(look.method, f"/{gateway}{look.path}").json())
    assert len(done.image_urls) == plan.images_per_call[0]  # type: ignore[union-attr]
    assert (gateway == "evolink") == (submission.cost != Cost())
    image = Image.open(io.BytesIO(box.download(done.image_urls[0]).content))  # type: ignore[union-attr]
    assert not plan.pixels or image.size in plan.pixels
    assert plan.mime_type in (None, Image.MIME[image.format or ""])
