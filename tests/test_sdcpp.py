"""stable-diffusion.cpp's own interface: jobs without a key, their queue, and what the server says that it can do."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import httpx2
import pytest
from PIL import Image
from servers import Sandbox

from imagegen_magic import generate, run
from imagegen_magic.errors import APIError, NotFound, RateLimited, TaskFailed, UnsupportedOption
from imagegen_magic.imaging.masks import as_white, mask_box
from imagegen_magic.providers import registry
from imagegen_magic.providers.base import Failed, Pending, Plan, Provider, Succeeded
from imagegen_magic.request import ImageRequest, LocalImage
from imagegen_magic.result import Cost

pytestmark = pytest.mark.slow

PHOTO = LocalImage(b"photo", "image/png", 1024, 1024, "photo.png")
JOB = {"id": "job_6ad_00000001", "kind": "img_gen", "created": 1775401200, "started": None, "completed": None, "queue_position": 0}
JOB |= {"result": None, "error": None}


def lab(base_url: str = "http://192.168.1.20:8080/v1") -> Provider:
    """Return such a server, as a table of pyproject.toml makes it."""
    return registry.get_provider("lab", {"lab": {"like": "sdcpp", "base_url": base_url, "key_variable": ""}})


def plan(**options: Any) -> Plan:
    """Return a plan at such a server."""
    return lab().plan(ImageRequest("a red fox", **options))


def sent(**options: Any) -> dict[str, Any]:
    """Return the JSON of the first call."""
    return dict(plan(**options).calls[0].json or {})


@pytest.mark.parametrize("end", ["", "/", "/v1", "/sdcpp/v1", "/sdcpp/v1/"])
def test_an_address_is_taken_with_either_version(end: str) -> None:
    """The paths have their own."""
    server = lab(f"http://192.168.1.20:8080{end}")
    assert (server.base_url, server.version_segment, server.submit_path) == ("http://192.168.1.20:8080", "", "/sdcpp/v1/img_gen")
    assert (server.needs_key, server.chosen_by_key, server.synchronous, server.template) == (False, False, False, False)


def test_the_plain_request_has_the_servers_own_size() -> None:
    """And its own parameters; there is no model to name."""
    assert sent() == {"prompt": "a red fox", "output_format": "png", "batch_count": 1}
    assert plan().price == Cost()


def test_parameters_stand_where_the_server_has_them() -> None:
    """Nested; a seed counts up from job to job."""
    given = {"seed": 7, "negative_prompt": "rain", "steps": 28, "cfg_scale": 7, "sampler": "euler_a"}
    made = plan(size="16:9", n=2, output_format="webp", output_compression=80, parameters=given)
    first, second = (dict(call.json or {}) for call in made.calls)
    assert first == {
        "prompt": "a red fox",
        "width": 1536,
        "height": 864,
        "output_format": "webp",
        "output_compression": 80,
        "batch_count": 1,
        "seed": 7,
        "negative_prompt": "rain",
        "sample_params": {"sample_steps": 28, "guidance": {"txt_cfg": 7}, "sample_method": "euler_a"},
    }
    assert second == {**first, "seed": 8}
    assert made.pixels == ((1536, 864),)


def test_references_are_looked_at_or_started_from() -> None:
    """As base64; the plan says which."""
    assert sent(references=(PHOTO, PHOTO))["ref_images"] == [PHOTO.placeholder] * 2
    assert plan(references=(PHOTO,)).warnings[-1].endswith("--set start=true begins with the first one")
    started = sent(references=(PHOTO, PHOTO), parameters={"start": True, "strength": 0.6})
    assert (started["init_image"], started["ref_images"], started["strength"]) == (PHOTO.placeholder, [PHOTO.placeholder], 0.6)
    assert "start" not in started
    assert plan().model.references_as == "base64"


@pytest.mark.parametrize(
    ("options", "what"),
    [
        ({"quality": "high"}, "has no option quality"),
        ({"background": "transparent"}, "has no option background"),
        ({"size": "5000x512"}, "no edge may exceed 4096"),
        ({"parameters": {"steps": 0}}, "takes no steps 0"),
        ({"parameters": {"lora": "x"}}, "has no parameter lora"),
        ({"mask": PHOTO}, "takes a mask only with a reference picture"),
        ({"extra": {"init_image": "x"}}, "has its own field init_image"),
    ],
)
def test_what_its_interface_does_not_have_is_refused(options: dict[str, Any], what: str) -> None:
    """Before it is sent."""
    with pytest.raises(UnsupportedOption, match=what):
        plan(**options)


def test_further_fields_of_its_interface_can_be_given() -> None:
    """Such as a list of LoRAs."""
    assert sent(extra={"lora": [{"path": "a.gguf", "multiplier": 0.8}]})["lora"] == [{"path": "a.gguf", "multiplier": 0.8}]
    assert "resolution" not in sent(size="1:1", resolution="2k", unchecked=True)


def test_a_job_is_queued_then_generated() -> None:
    """One in the queue can be cancelled for nothing."""
    server = lab()
    assert server.read_submission({**JOB, "status": "queued", "poll_url": "/sdcpp/v1/jobs/x"}).task_id == "job_6ad_00000001"
    assert server.task_call("job_1").path == "/sdcpp/v1/jobs/job_1"
    assert server.read_task({**JOB, "status": "queued", "queue_position": 2}) == Pending("queued, position 2", queued=True)
    assert server.read_task({**JOB, "status": "generating"}) == Pending("generating")


def test_the_pictures_are_in_the_finished_job() -> None:
    """As data: addresses of its format."""
    images = [{"index": 0, "b64_json": "AAAA"}, {"index": 1, "b64_json": "BBBB"}]
    finished = lab().read_task({**JOB, "status": "completed", "result": {"output_format": "webp", "images": images}})
    assert isinstance(finished, Succeeded)
    assert finished.image_urls == ("data:image/webp;base64,AAAA", "data:image/webp;base64,BBBB")
    for result in (None, {}, {"images": None}, {"images": [{}]}):
        empty = lab().read_task({**JOB, "status": "completed", "result": result})
        assert isinstance(empty, Failed)


@pytest.mark.parametrize(("status", "code"), [("failed", "generation_failed"), ("cancelled", "cancelled")])
def test_a_failed_job_costs_nothing(status: str, code: str) -> None:
    """It is the server's own."""
    state = lab().read_task({**JOB, "status": status, "error": {"code": code, "message": "no results"}})
    assert isinstance(state, Failed)
    assert isinstance(state.error, TaskFailed)
    assert (state.error.charge, "no results" in state.error.what) == ("no", True)


@pytest.mark.parametrize(
    ("status", "answer", "kind"),
    [
        (404, {"error": "job not found"}, NotFound),
        (410, {"error": "job expired"}, APIError),
        (429, {"error": "job queue is full"}, RateLimited),
        (400, {"error": "invalid generation parameters"}, APIError),
    ],
)
def test_errors_are_texts(status: int, answer: Any, kind: type[APIError]) -> None:
    """Each was not accepted."""
    found = lab().read_error(status, answer)
    assert type(found) is kind
    assert isinstance(found, APIError)
    assert (found.refused, answer["error"] in found.what) == (True, True)


@pytest.mark.parametrize(
    ("answer", "state"),
    [
        ({**JOB, "status": "cancelled"}, "cancelled"),
        ({**JOB, "status": "completed"}, "finished"),
        ({"error": "job is currently generating and cannot be interrupted yet"}, "running"),
        ({"error": "job queue state changed before cancellation"}, "running"),
        ({"error": "job not found"}, "unknown"),
        (None, "unknown"),
    ],
)
def test_what_became_of_a_cancelled_job(answer: Any, state: str) -> None:
    """One that is generating goes on."""
    call = lab().cancel_call("job_1")
    assert call is not None
    assert (call.method, call.path) == ("POST", "/sdcpp/v1/jobs/job_1/cancel")
    assert lab().read_cancel(answer) == state


def test_the_loaded_model_is_learnt_from_the_server() -> None:
    """With its samplers, schedulers, formats, limits and usual size."""
    answer = {
        "model": {"stem": "flux1-schnell-q4"},
        "supported_modes": ["img_gen"],
        "defaults_by_mode": {"img_gen": {"width": 768, "height": 512}},
        "output_formats_by_mode": {"img_gen": ["png", "jpeg"]},
        "samplers": ["euler"],
        "schedulers": ["discrete"],
        "limits": {"min_width": 64, "max_width": 2048},
    }
    (model,) = lab().read_models(answer)
    assert (model.name, model.default_size, model.formats, model.compressible) == (
        "flux1-schnell-q4",
        "768x512",
        ("png", "jpeg"),
        ("jpeg",),
    )
    assert (model.parameters["sampler"].choices, model.parameters["scheduler"].choices) == (("euler",), ("discrete",))
    assert model.pixel_rule is not None
    assert model.pixel_rule.max_edge == 2048
    (bare,) = lab().read_models({"model": {"stem": "x"}, "supported_modes": ["img_gen"]})
    assert (bare.default_size, bare.parameters["sampler"].kind) == ("auto", "text")
    for nothing in (
        None,
        [],
        {},
        {"model": {"stem": "wan"}, "supported_modes": ["vid_gen"]},
        {"model": "x", "supported_modes": ["img_gen"]},
    ):
        assert lab().read_models(nothing) == ()


# a server


@pytest.fixture
def server(gateway: Sandbox, own_world: Path) -> Sandbox:
    """The sandbox as such a server, configured as `lab`."""
    text = f'[tool.imagegen.providers.lab]\nlike = "sdcpp"\nbase_url = "{gateway.origin}/sdcpp"\nkey_variable = ""\n'
    (own_world / "pyproject.toml").write_text(text, encoding="utf-8")
    return gateway


@pytest.mark.slow
def test_a_picture_is_made_and_edited_without_a_key(server: Sandbox, tmp_path: Path) -> None:
    """It comes within the job; a reference travels as base64."""
    (image,) = run(generate("sdcpp makes a fox", provider="lab", size="256x128", output_format="webp", parameters={"seed": 5, "steps": 4}))
    assert (image.width, image.height, image.path.suffix) == (256, 128, ".webp")
    (entry,) = server.accepted("sdcpp makes a fox")
    assert (entry["had_key"], entry["json"]["seed"], entry["json"]["sample_params"]) == (False, 5, {"sample_steps": 4})
    photo = tmp_path / "photo.png"
    Image.new("RGB", (64, 64), "teal").save(photo)
    (edited,) = run(generate("sdcpp edits a fox", provider="lab", size="64x64", references=[photo]))
    with Image.open(edited.path) as saved:
        assert saved.convert("RGB").getpixel((2, 2))[1] >= 64  # half of the reference is in it


@pytest.mark.slow
def test_a_mask_is_white_where_it_is_repainted(server: Sandbox, tmp_path: Path) -> None:
    """On the wire; what the mask protects stays as it was."""
    photo = Image.new("RGB", (64, 64), "teal")
    mask = mask_box(photo, 0, 0, 32, 64)
    (edited,) = run(generate("sdcpp repaints the left", provider="lab", size="64x64", references=[photo], mask=mask))
    (entry,) = server.accepted("sdcpp repaints the left")
    assert {"init_image", "mask_image"} <= entry["json"].keys()
    with Image.open(edited.path) as saved:
        half = saved.convert("RGB")
        assert half.getpixel((60, 32)) == (0, 128, 128)
        assert half.crop((0, 0, 32, 64)).getcolors() != [(32 * 64, (0, 128, 128))]
    with Image.open(io.BytesIO(as_white(_file_of(mask)))) as grey:
        assert (grey.mode, grey.getpixel((4, 4)), grey.getpixel((60, 4))) == ("L", 255, 0)


def _file_of(mask: Image.Image) -> bytes:
    buffer = io.BytesIO()
    mask.save(buffer, "PNG")
    return buffer.getvalue()


@pytest.mark.slow
def test_the_sandbox_answers_as_the_server_does(server: Sandbox) -> None:
    """A job that is queued is cancelled, an unknown one is not found, and what is wrong is refused."""
    base = f"{server.origin}/sdcpp/sdcpp/v1"
    (model,) = lab().read_models(httpx2.get(f"{base}/capabilities", timeout=20).json())
    assert (model.name, model.default_size) == ("sandbox-sd", "512x512")
    accepted = httpx2.post(f"{base}/img_gen", json={"prompt": "a held fox [[fault: never-finishes]]"}, timeout=20)
    job = accepted.json()
    assert (accepted.status_code, job["status"], job["poll_url"]) == (202, "queued", f"/sdcpp/v1/jobs/{job['id']}")
    assert httpx2.get(f"{server.origin}/sdcpp{job['poll_url']}", timeout=20).json()["status"] in ("queued", "generating")
    for path in ("jobs/nothing", "jobs/nothing/cancel"):
        answer = httpx2.request("POST" if path.endswith("cancel") else "GET", f"{base}/{path}", timeout=20)
        assert (answer.status_code, answer.json()) == (404, {"error": "job not found"})
    for body in ({}, {"prompt": "x", "width": 5000}, {"prompt": "x", "sample_params": {"sample_method": "none"}}):
        assert httpx2.post(f"{base}/img_gen", json=body, timeout=20).status_code == 400
