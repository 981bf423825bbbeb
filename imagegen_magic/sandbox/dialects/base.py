"""What the sandbox's dialects share: the contract of a dialect, and the readers of a submission's body.

Bodies are checked by the services' own pages, as the providers' models hold them.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar
from urllib.parse import urlsplit

from imagegen_magic.formats import PNG
from imagegen_magic.providers import urls as addresses
from imagegen_magic.providers import validation
from imagegen_magic.providers.base import Model, Pixels
from imagegen_magic.providers.registry import get_provider
from imagegen_magic.records import PortableError
from imagegen_magic.sandbox.tasks import Task

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

    Handler = Callable[[Request], Awaitable[Response]]

Json = dict[str, Any]

_RATIO = re.compile(r"\d{1,3}:\d{1,3}")
_PIXELS = re.compile(r"(\d{1,6})x(\d{1,6})")
SAFETY = "Your request was rejected by the safety system"


class Refusal(PortableError):
    """A submission that is not accepted: HTTP status, the gateway's code, its message, and seconds for Retry-After."""

    def __init__(self, status: int, code: str, message: str, retry_after: int | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.retry_after = retry_after


@dataclass(frozen=True, slots=True)
class Submission:
    """What an accepted submission asks for; `cost` in the gateway's own unit, None if it names none."""

    model: str
    prompt: str
    quality: str
    pixels: Pixels
    n: int = 1
    mime_type: str = PNG.mime_type
    alpha: bool = False
    compression: int | None = None
    cost: float | None = None
    references: tuple[str, ...] = ()
    mask: str = ""
    seed: int | None = None


@dataclass(frozen=True, slots=True)
class TaskView:
    """What one poll of a task shows: stage and fraction (0..1), addresses and their end (epoch seconds) once it is completed."""

    task: Task
    stage: str  # queued, running, completed, failed
    fraction: float = 0.0
    addresses: tuple[str, ...] = ()
    expires_at: float = 0.0
    shapes: frozenset[str] = field(default_factory=frozenset)


@dataclass(frozen=True, slots=True)
class UploadedFile:
    """A file that was uploaded: its address and its end (epoch seconds), its name, type and size."""

    address: str
    expires_at: float
    name: str
    mime_type: str
    size: int
    created: float


def is_absent(body: Json, name: str) -> bool:
    """Return whether a body has no value of that name."""
    return body.get(name) is None


def text(body: Json, name: str, default: str = "") -> str:
    """Return a text of the body. Raises Refusal."""
    value = default if is_absent(body, name) else body[name]
    if not isinstance(value, str):
        raise Refusal(400, "invalid_request", f"{name} must be a string")
    return value


def choice(body: Json, name: str, allowed: Sequence[str], default: str) -> str:
    """Return one of the allowed texts. Raises Refusal."""
    value = text(body, name, default)
    if allowed and value not in allowed:
        raise Refusal(400, "invalid_parameter", f"invalid {name} '{value}', must be one of: {', '.join(allowed)}")
    return value


def number(body: Json, name: str, low: int, high: int, default: int) -> int:
    """Return a whole number within bounds. Raises Refusal."""
    value = default if is_absent(body, name) else body[name]
    if not isinstance(value, int) or isinstance(value, bool):
        raise Refusal(400, "invalid_request", f"{name} must be a number, without quotes")
    if not low <= value <= high:
        raise Refusal(400, "invalid_parameter", f"{name} must be between {low} and {high}")
    return value


def prompt_of(body: Json, model: Model) -> str:
    """Return the prompt. Raises Refusal if it is missing or too long."""
    prompt = text(body, "prompt")
    if not prompt.strip():
        raise Refusal(400, "invalid_request", "prompt is required")
    if model.max_prompt is not None and len(prompt) > model.max_prompt:
        raise Refusal(400, "prompt_too_long", f"prompt must not exceed {model.max_prompt} characters, got {len(prompt)}")
    return prompt


def references_of(body: Json, model: Model, *, data: bool = True) -> tuple[str, ...]:
    """Return the addresses of the references; without `data`, a data: address is none. Raises Refusal."""
    urls = [] if is_absent(body, "image_urls") else body["image_urls"]
    if not isinstance(urls, list) or not all(isinstance(url, str) for url in urls):
        raise Refusal(400, "invalid_request", "image_urls must be an array of strings")
    if len(urls) > model.max_references:
        raise Refusal(400, "too_many_images", f"image_urls holds {len(urls)} images, at most {model.max_references} are allowed")
    for url in urls:
        check_url(url)
        if url.startswith("data:") and not data:
            raise Refusal(400, "invalid_image_url", "image_urls takes no data: addresses: upload the image first")
        if ending := validation.wrong_kind(model, urlsplit(url).path):
            raise Refusal(400, "invalid_image_url", f"unsupported image type {ending}: {', '.join(model.reference_types)} are supported")
    return tuple(urls)


def check_url(url: str) -> None:
    """Raise Refusal for an address that is neither http nor data."""
    parts = addresses.split(url)
    if not url.startswith("data:image/") and (parts is None or parts.scheme not in ("http", "https")):
        raise Refusal(400, "invalid_image_url", f"cannot fetch the reference image {url[:80]}")


def mask_of(body: Json, references: Sequence[str]) -> str:
    """Return the address of the mask, empty without one. Raises Refusal."""
    if not is_absent(body, "mask_url") and not references:
        raise Refusal(400, "invalid_request", "mask_url must be used together with image_urls")
    mask = text(body, "mask_url")
    if mask:
        check_url(mask)
    return mask


def explicit_pixels(size: str, model: Model) -> Pixels | None:
    """Return the pixels of a size like 1024x768, None for any other size. Raises Refusal."""
    match = _PIXELS.fullmatch(size)
    if match is None:
        return None
    pixels = int(match[1]), int(match[2])
    wrong = model.pixel_rule.violations(pixels) if model.pixel_rule else ["this model takes no pixels"]
    if wrong and pixels not in model.extra_sizes:
        raise Refusal(500, "build_request_failed", f"invalid size '{size}': {wrong[0]}")
    return pixels


def listed_pixels(model: Model, ratio: str, tier: str, prompt: str) -> Pixels:
    """Return the pixels of a listed ratio and tier; if the page lists two answers, the prompt decides which."""
    choices = (model.sizes[ratio][tier], *model.alternate_pixels.get((ratio, tier), ()))
    return choices[zlib.crc32(prompt.encode("utf-8", "replace")) % len(choices)]


class Dialect:
    """One gateway's side of the wire: paths, how a body becomes a `Submission`, and the JSON of each response."""

    submit_path: ClassVar[str] = "/v1/images/generations"
    task_path: ClassVar[str] = "/v1/tasks/{task_id}"
    batch_path: ClassVar[str | None] = "/v1/tasks/batch"
    batch_limit: ClassVar[int] = 50
    upload_path: ClassVar[str | None] = None
    list_path: ClassVar[str | None] = None
    balance_path: ClassVar[str | None] = None
    key_header: ClassVar[tuple[str, str]] = ("authorization", "Bearer {}")
    needs_key: ClassVar[bool] = True
    request_id_header: ClassVar[str] = ""  # of each refusal
    key_reused: ClassVar[str] = "idempotency_key_reused"  # code for an Idempotency-Key with another body
    indeterminate: ClassVar[str] = "idempotency_result_indeterminate"

    def __init__(self, name: str) -> None:
        self.name = name

    def model(self, body: Json) -> Model:
        """Return the model a body names; raises Refusal."""
        models = get_provider(self.name).models
        name = text(body, "model", models[0].name)
        for model in models:
            if model.name == name:
                return model
        raise Refusal(404, "model_not_found", f"model '{name}' not found")

    def own_routes(self, sandbox: Any) -> Sequence[tuple[str, str, Handler]] | None:
        """Return method, path below the base URL and handler of each route; None for the paths above.

        A handler may use the `sandbox` (`sandbox.app.Sandbox`): its `fault`, `accept`, `draw`, `task`, `view` and `log`.
        """
        return None

    def wrong_key(self) -> Refusal:
        """Return the refusal of a key that is missing or wrong."""
        return Refusal(401, "invalid_api_key", "invalid or missing API key")

    def no_money(self) -> Refusal:
        """Return the refusal of an account without money."""
        return Refusal(402, "insufficient_balance", "the balance does not suffice for this request")

    def new_id(self) -> str:
        """Return a fresh task id as this gateway writes them."""
        raise NotImplementedError

    def parse(self, body: Json) -> Submission:
        """Return what a submission's body asks for. Raises Refusal."""
        raise NotImplementedError

    def submit_response(self, task: Task, *, usual: float, as_object: bool = False) -> Json:
        """Return the response to an accepted submission; `usual` is the median of its seconds."""
        raise NotImplementedError

    def task_response(self, view: TaskView) -> Json:
        """Return the response to a poll."""
        raise NotImplementedError

    def upload_response(self, file: UploadedFile) -> Json:
        """Return the response to an upload."""
        raise NotImplementedError

    def batch_response(self, views: Sequence[TaskView]) -> Json:
        """Return the response to a batch poll."""
        return {"code": 200, "data": [self.task_response(view) for view in views]}

    def balance_response(self, spent: float) -> Json:
        """Return what the account has, after so much was spent in the gateway's own unit."""
        raise NotImplementedError

    def list_response(self, views: Sequence[TaskView]) -> Json:
        """Return the list of the latest tasks."""
        return {"data": [self.task_response(view) for view in views]}

    def error_response(self, refusal: Refusal, now: float, model: str | None = None) -> tuple[int, Json]:
        """Return HTTP status and body of a refusal; `now` in epoch seconds, `model` as the body named it."""
        kind = "server_error" if refusal.status >= 500 else "invalid_request_error"
        return refusal.status, {"error": {"code": refusal.code, "message": refusal.message, "type": kind}}

    def unknown_task(self) -> Refusal:
        """Return the refusal of a poll of an unknown task."""
        return Refusal(404, "task_not_found", "task not found")

    def moderation_refusal(self) -> Refusal:
        """Return moderation's refusal of a prompt."""
        return Refusal(400, "content_policy_violation", f"{SAFETY} (sandbox)")

    def status(self, view: TaskView) -> str:
        """Return the status word of a view."""
        if "unknown-word" in view.shapes and view.stage in ("queued", "running"):
            return "polishing"
        return self.statuses[view.stage]

    statuses: ClassVar[Mapping[str, str]] = {"queued": "pending", "running": "processing", "completed": "completed", "failed": "failed"}


def failure(view: TaskView) -> tuple[str, str]:
    """Return code and message of a failed task."""
    if "failed-by-moderation" in view.shapes:
        return "content_policy_violation", f"{SAFETY}: the generated image was blocked (sandbox)"
    return "generation_failed", "the upstream could not finish this task (sandbox)"
