"""The gateways' wire formats from their own side: what they accept, what they refuse and in which words.

Bodies are judged by the gateways' own pages, as the providers' tables hold them, with what each gateway does where a page
says so: gccai turns `transparent` into auto and clamps n for gpt-image-1, evolink reads `×`, xingchao's `size` beats ratio.
"""

from __future__ import annotations

import re
import uuid
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from typing import Any, ClassVar
from urllib.parse import urlsplit

from imagegen_magic.formats import MIME_TYPES, PNG
from imagegen_magic.providers import urls as addresses
from imagegen_magic.providers import validation
from imagegen_magic.providers.base import Model, Pixels
from imagegen_magic.providers.registry import get_provider
from imagegen_magic.records import PortableError
from imagegen_magic.sandbox import timing
from imagegen_magic.sandbox.tasks import Task

Json = dict[str, Any]

_RATIO = re.compile(r"\d{1,3}:\d{1,3}")
_PIXELS = re.compile(r"(\d{1,6})x(\d{1,6})")
_CLAMPING = frozenset({"gpt-image-1-official", "gpt-image-1.5-official"})
_SAFETY = "Your request was rejected by the safety system"


class Refusal(PortableError):
    """A submission that is not accepted: HTTP status, the gateway's code, its message, and seconds for Retry-After."""

    def __init__(self, status: int, code: str, message: str, retry_after: int | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.retry_after = retry_after


@dataclass(frozen=True, slots=True)
class Order:
    """What an accepted submission asks for; `cost` in the gateway's own unit, None where it tells none."""

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


@dataclass(frozen=True, slots=True)
class View:
    """What one look at a task shows: stage and fraction (0..1), addresses and their end (epoch seconds) once it is completed."""

    task: Task
    stage: str  # queued, running, completed, failed
    fraction: float = 0.0
    addresses: tuple[str, ...] = ()
    expires_at: float = 0.0
    shapes: frozenset[str] = field(default_factory=frozenset)


@dataclass(frozen=True, slots=True)
class File:
    """A file that was uploaded: its address and its end (epoch seconds), how it was called, what it is."""

    address: str
    expires_at: float
    name: str
    mime_type: str
    size: int
    created: float


def _absent(body: Json, name: str) -> bool:
    return body.get(name) is None


def _text(body: Json, name: str, default: str = "") -> str:
    value = default if _absent(body, name) else body[name]
    if not isinstance(value, str):
        raise Refusal(400, "invalid_request", f"{name} must be a string")
    return value


def _choice(body: Json, name: str, allowed: Sequence[str], default: str) -> str:
    value = _text(body, name, default)
    if allowed and value not in allowed:
        raise Refusal(400, "invalid_parameter", f"invalid {name} '{value}', must be one of: {', '.join(allowed)}")
    return value


def _number(body: Json, name: str, low: int, high: int, default: int) -> int:
    value = default if _absent(body, name) else body[name]
    if not isinstance(value, int) or isinstance(value, bool):
        raise Refusal(400, "invalid_request", f"{name} must be a number, without quotes")
    if not low <= value <= high:
        raise Refusal(400, "invalid_parameter", f"{name} must be between {low} and {high}")
    return value


def _prompt(body: Json, model: Model) -> str:
    prompt = _text(body, "prompt")
    if not prompt.strip():
        raise Refusal(400, "invalid_request", "prompt is required")
    if model.max_prompt is not None and len(prompt) > model.max_prompt:
        raise Refusal(400, "prompt_too_long", f"prompt must not exceed {model.max_prompt} characters, got {len(prompt)}")
    return prompt


def _references(body: Json, model: Model) -> tuple[str, ...]:
    urls = [] if _absent(body, "image_urls") else body["image_urls"]
    if not isinstance(urls, list) or not all(isinstance(url, str) for url in urls):
        raise Refusal(400, "invalid_request", "image_urls must be an array of strings")
    if len(urls) > model.max_references:
        raise Refusal(400, "too_many_images", f"image_urls holds {len(urls)} images, at most {model.max_references} are allowed")
    for url in urls:
        _fetchable(url)
        if ending := validation.wrong_kind(model, urlsplit(url).path):
            raise Refusal(400, "invalid_image_url", f"unsupported image type {ending}: {', '.join(model.reference_types)} are supported")
    return tuple(urls)


def _fetchable(url: str) -> None:
    parts = addresses.split(url)
    if not url.startswith("data:image/") and (parts is None or parts.scheme not in ("http", "https")):
        raise Refusal(400, "invalid_image_url", f"cannot fetch the reference image {url[:80]}")


def _mask(body: Json, references: Sequence[str]) -> str:
    if not _absent(body, "mask_url") and not references:
        raise Refusal(400, "invalid_request", "mask_url must be used together with image_urls")
    mask = _text(body, "mask_url")
    if mask:
        _fetchable(mask)
    return mask


def _explicit(size: str, model: Model) -> Pixels | None:
    """Return the pixels that a size spells out, None where it does not; raises Refusal."""
    match = _PIXELS.fullmatch(size)
    if match is None:
        return None
    pixels = int(match[1]), int(match[2])
    wrong = model.pixel_rule.violations(pixels) if model.pixel_rule else ["this model takes no pixels"]
    if wrong and pixels not in model.extra_sizes:
        raise Refusal(500, "build_request_failed", f"invalid size '{size}': {wrong[0]}")
    return pixels


def _drawn(model: Model, ratio: str, tier: str, prompt: str) -> Pixels:
    """Return the pixels of a listed ratio and tier; where the page lists two answers, the prompt decides which."""
    choices = (model.sizes[ratio][tier], *model.alternate_pixels.get((ratio, tier), ()))
    return choices[zlib.crc32(prompt.encode("utf-8", "replace")) % len(choices)]


class Dialect:
    """One gateway's side of the wire: paths, how a body becomes an `Order`, and the JSON of each answer."""

    submit_path: ClassVar[str] = "/v1/images/generations"
    task_path: ClassVar[str] = "/v1/tasks/{task_id}"
    batch_path: ClassVar[str | None] = "/v1/tasks/batch"
    batch_limit: ClassVar[int] = 50
    upload_path: ClassVar[str | None] = None

    def __init__(self, name: str) -> None:
        self.name = name

    def model(self, body: Json) -> Model:
        """Return the model a body names; raises Refusal."""
        models = get_provider(self.name).models
        name = _text(body, "model", models[0].name)
        for model in models:
            if model.name == name:
                return model
        raise Refusal(404, "model_not_found", f"model '{name}' not found")

    def new_id(self) -> str:
        """Return a fresh task id as this gateway writes them."""
        raise NotImplementedError

    def order(self, body: Json) -> Order:
        """Judge a submission's body; raises Refusal."""
        raise NotImplementedError

    def accepted(self, task: Task, *, usual: float, as_object: bool = False) -> Json:
        """Return the answer to an accepted submission; `usual` is the median of its seconds."""
        raise NotImplementedError

    def seen(self, view: View) -> Json:
        """Return the answer to a look."""
        raise NotImplementedError

    def uploaded(self, file: File) -> Json:
        """Return the answer to an upload."""
        raise NotImplementedError

    def seen_together(self, views: Sequence[View]) -> Json:
        """Return the answer to a batch look."""
        return {"code": 200, "data": [self.seen(view) for view in views]}

    def refused(self, refusal: Refusal, now: float, model: str | None = None) -> tuple[int, Json]:
        """Return HTTP status and body of a refusal; `now` in epoch seconds, `model` as the body named it."""
        kind = "server_error" if refusal.status >= 500 else "invalid_request_error"
        return refusal.status, {"error": {"code": refusal.code, "message": refusal.message, "type": kind}}

    def moderated(self) -> Refusal:
        """Return moderation's refusal of a prompt."""
        return Refusal(400, "content_policy_violation", f"{_SAFETY} (sandbox)")

    def word(self, view: View) -> str:
        """Return the status word of a view."""
        if "unknown-word" in view.shapes and view.stage in ("queued", "running"):
            return "polishing"
        return self.words[view.stage]

    words: ClassVar[Mapping[str, str]] = {"queued": "pending", "running": "processing", "completed": "completed", "failed": "failed"}


def _why(view: View) -> tuple[str, str]:
    """Return code and message of a failed task."""
    if "failed-by-moderation" in view.shapes:
        return "content_policy_violation", f"{_SAFETY}: the generated image was blocked (sandbox)"
    return "generation_failed", "the upstream could not finish this task (sandbox)"


class Apimart(Dialect):
    """The dialect of apimart and gccai: an envelope of code and data (their pages for gpt-image-2-official and GPT-Image 1 and 1.5)."""

    words: ClassVar[Mapping[str, str]] = {"queued": "submitted", "running": "in_progress", "completed": "completed", "failed": "failed"}
    upload_path: ClassVar[str | None] = "/v1/uploads/images"

    def new_id(self) -> str:
        """Return `task_` and 26 letters and digits."""
        return f"task_01{uuid.uuid4().hex[:24].upper()}"

    def order(self, body: Json) -> Order:
        """Judge a body by pages 000, 001 and 004."""
        model = self.model(body)
        prompt = _prompt(body, model)
        quality = _choice(body, "quality", model.qualities, model.default_quality or "auto")
        pixels = self._pixels(body, model, prompt)
        _choice(body, "moderation", model.moderations, "auto")
        references = _references(body, model)
        mask = _mask(body, references)
        n = self._count(body, model)
        cost = timing.dollars(model.name, quality, pixels, n)
        file = self._file(body, model)
        return Order(model.name, prompt, quality, pixels, n, *file, cost=cost, references=references, mask=mask)

    def _file(self, body: Json, model: Model) -> tuple[str, bool, int | None]:
        """Return MIME type, alpha and compression; a background that the model cannot do becomes auto, silently, as page 000 says."""
        background = _choice(body, "background", ("auto", "opaque", "transparent"), "auto")
        form = _choice(body, "output_format", model.formats, "png")
        alpha = background == "transparent" and "transparent" in model.backgrounds
        if alpha and form == "jpeg":
            raise Refusal(400, "invalid_parameter", "a transparent background needs output_format png")
        compression = None if _absent(body, "output_compression") else _number(body, "output_compression", 0, 100, 100)
        return MIME_TYPES[form], alpha, compression if form in model.compressible else None

    def _count(self, body: Json, model: Model) -> int:
        if model.name in _CLAMPING:
            return min(max(_number(body, "n", -(2**31), 2**31, 1), 1), model.max_n)
        return _number(body, "n", 1, model.max_n, 1)

    def _pixels(self, body: Json, model: Model, prompt: str) -> Pixels:
        size = _text(body, "size", model.default_size)
        tier = _choice(body, "resolution", model.resolutions, "1k")
        if pixels := _explicit(size, model):
            return pixels
        ratio = "1:1" if size == "auto" and model.auto_size else size
        tiers = model.sizes.get(ratio)
        if tiers is None:
            raise Refusal(500, "build_request_failed", f"unsupported size '{size}'")
        tier = tier if model.resolutions else next(iter(tiers))
        if tier not in tiers:
            raise Refusal(400, "invalid_parameter", f"size '{size}' does not support resolution '{tier}': exceeds the pixel cap")
        return _drawn(model, ratio, tier, prompt)

    def accepted(self, task: Task, *, usual: float, as_object: bool = False) -> Json:
        """Return the task's id in `data`, a list (pages 000, 004) or an object (newer revisions)."""
        if as_object:
            return {"code": 200, "data": {"id": task.id, "status": "submitted"}}
        return {"code": 200, "data": [{"status": "submitted", "task_id": task.id}]}

    def seen(self, view: View) -> Json:
        """Return `data` with status, progress and, once completed, result, cost and actual_time."""
        return {"code": 200, "data": self._task(view)}

    def seen_together(self, views: Sequence[View]) -> Json:
        """Return the tasks as a list in `data`."""
        return {"code": 200, "data": [self._task(view) for view in views]}

    def _task(self, view: View) -> Json:
        task = view.task
        answer: Json = {"id": task.id, "status": self.word(view), "progress": int(view.fraction * 100), "created": int(task.created)}
        if view.stage == "completed":
            answer |= {"actual_time": _duration(task.seconds), "cost": task.cost, "result": {"images": self._images(view)}}
        if view.stage == "failed":
            code, message = _why(view)
            answer |= {"error": {"code": code, "message": message, "type": "task_failed"}}
        return answer

    def _images(self, view: View) -> list[Json]:
        expires = int(view.expires_at)
        if "url-list" in view.shapes:
            return [{"url": list(view.addresses), "expires_at": expires}] if view.addresses else []
        one = (lambda url: url) if "url-string" in view.shapes else (lambda url: [url])
        return [{"url": one(url), "expires_at": expires} for url in view.addresses]

    def uploaded(self, file: File) -> Json:
        """Return the flat answer of its page; it does not say when the address ends."""
        named = {"url": file.address, "filename": file.name, "content_type": file.mime_type}
        return {**named, "bytes": file.size, "created_at": int(file.created)}

    def refused(self, refusal: Refusal, now: float, model: str | None = None) -> tuple[int, Json]:
        """Return `{"error": …}`; what the upstream refused arrives as HTTP 500 `build_request_failed: …`."""
        status, answer = super().refused(refusal, now)
        if refusal.code == "build_request_failed":
            answer["error"] |= {"message": f"build_request_failed: {refusal.message}", "type": "api_error"}
        return status, answer

    def moderated(self) -> Refusal:
        """Return moderation's refusal, which arrives as HTTP 500."""
        return Refusal(500, "build_request_failed", f"{_SAFETY} (moderation_blocked, sandbox)")


def _duration(seconds: float) -> float | int:
    return round(seconds) if seconds >= 10 else round(seconds, 2)


class Evolink(Dialect):
    """Evolink's dialect: flat tasks (its page for gpt-image-2)."""

    upload_path: ClassVar[str | None] = "/api/v1/files/upload/stream"
    _AUTO: ClassVar[tuple[Pixels, ...]] = ((1024, 1024), (1536, 1024), (1024, 1536))

    def new_id(self) -> str:
        """Return `task-unified-` and digits."""
        return f"task-unified-{uuid.uuid4().int % 10**10:010d}-{uuid.uuid4().hex[:8]}"

    def order(self, body: Json) -> Order:
        """Judge a body by page 003."""
        model = self.model(body)
        prompt = _prompt(body, model)
        quality = _choice(body, "quality", model.qualities, model.default_quality or "medium")
        pixels = self._pixels(body, model, prompt)
        n = _number(body, "n", 1, model.max_n, 1)
        references = _references(body, model)
        _callback(_text(body, "callback_url"))
        if not _absent(body, "mask_url"):  # a model that takes no mask would paint the whole picture anew, and charge for it
            raise Refusal(400, "invalid_request", "unknown parameter mask_url")
        return Order(model.name, prompt, quality, pixels, n, cost=timing.credits_for(quality, pixels, n), references=references)

    def _pixels(self, body: Json, model: Model, prompt: str) -> Pixels:
        size = _text(body, "size", "auto").replace("×", "x")
        tier = _text(body, "resolution", "1K").lower()
        if tier not in {one.lower() for one in model.resolutions}:
            raise Refusal(400, "invalid_parameter", f"resolution must be one of {', '.join(model.resolutions)}")
        if size == "auto":
            return self._AUTO[zlib.crc32(prompt.encode("utf-8", "replace")) % 3]
        try:
            if pixels := _explicit(size, model):
                return pixels
        except Refusal as refusal:
            raise Refusal(400, "invalid_parameter", refusal.message) from None
        if size not in model.sizes:
            raise Refusal(400, "invalid_parameter", f"size '{size}' is neither a supported ratio, nor pixels, nor auto")
        return _drawn(model, size, tier, prompt)

    def uploaded(self, file: File) -> Json:
        """Return the envelope of its page: times are written out, in China's zone."""
        told = {"file_id": f"file_{file.address[-12:]}", "file_name": file.name, "original_name": file.name, "file_size": file.size}
        told |= {"mime_type": file.mime_type, "file_url": file.address, "download_url": file.address}
        told |= {"upload_time": _written(file.created), "expires_at": _written(file.expires_at)}
        return {"success": True, "code": 200, "msg": "File uploaded successfully", "data": told}

    def accepted(self, task: Task, *, usual: float, as_object: bool = False) -> Json:
        """Return the flat task with its estimate in seconds and the credits reserved."""
        return self._flat(task) | {
            "status": "pending",
            "progress": 0,
            "task_info": {"can_cancel": True, "estimated_time": max(1, round(usual))},
            "usage": {"billing_rule": "per_call", "credits_reserved": task.cost, "user_group": "default"},
        }

    def _flat(self, task: Task) -> Json:
        return {"id": task.id, "object": "image.generation.task", "type": "image", "model": task.model, "created": int(task.created)}

    def seen(self, view: View) -> Json:
        """Return the flat task with `results` once completed, `error` once failed."""
        answer = self._flat(view.task) | {
            "status": self.word(view),
            "progress": int(view.fraction * 100),
            "task_info": {"can_cancel": False},
        }
        if view.stage == "completed":
            answer["results"] = list(view.addresses)
        if view.stage == "failed":
            code, message = _why(view)
            answer["error"] = {"code": code, "message": message, "type": "task_error"}
        return answer


def _written(moment: float) -> str:
    return datetime.fromtimestamp(moment, timezone(timedelta(hours=8))).isoformat(timespec="seconds")


def _callback(url: str) -> None:
    """Refuse a callback that is not public https within 2048 characters (page 003)."""
    parts = addresses.split(url)
    if url and (parts is None or parts.scheme != "https" or len(url) > 2048 or not addresses.is_public(parts.hostname or "")):
        words = "callback_url must be public https of at most 2048 characters, and no private address"
        raise Refusal(400, "invalid_callback_url", words)


class Xingchao(Dialect):
    """Xingchao's dialect: one picture a task, and refusals inside the normal envelope (its page for GPT Image 2)."""

    submit_path: ClassVar[str] = "/v1/image2/images"
    task_path: ClassVar[str] = "/v1/result/{task_id}"
    batch_path: ClassVar[str | None] = None
    words: ClassVar[Mapping[str, str]] = {"queued": "queued", "running": "processing", "completed": "completed", "failed": "failed"}

    def new_id(self) -> str:
        """Return `image_` and a UUID."""
        return f"image_{uuid.uuid4()}"

    def order(self, body: Json) -> Order:
        """Judge a body by page 002."""
        model = self.model(body)
        prompt = _prompt(body, model)
        quality = _choice(body, "quality", model.qualities, "low") if model.qualities else "low"
        references = _references(body, model)
        return Order(model.name, prompt, quality, self._pixels(body, model, prompt), references=references)

    def _pixels(self, body: Json, model: Model, prompt: str) -> Pixels:
        if not _absent(body, "size"):
            pixels = _explicit(_text(body, "size"), model)
            if pixels is None:
                raise Refusal(400, "invalid", "Invalid request: size must be {width}x{height}")
            return pixels
        if _absent(body, "ratio") and not _absent(body, "resolution"):
            raise Refusal(400, "invalid", "Invalid request: ratio is required when resolution is passed")
        ratio, tier = _text(body, "ratio", "1:1"), _text(body, "resolution", "1k")
        if ratio not in model.sizes:
            raise Refusal(400, "invalid", f"Invalid request: ratio '{ratio}' is not supported")
        if tier not in model.resolutions:
            raise Refusal(400, "invalid", f"Invalid request: resolution '{tier}' is not supported by {model.name}")
        if tier not in model.sizes[ratio]:
            raise Refusal(200, "invalid", f"Invalid request: resolution '{tier}' is not supported for ratio '{ratio}'")
        return _drawn(model, ratio, tier, prompt)

    def accepted(self, task: Task, *, usual: float, as_object: bool = False) -> Json:
        """Return the flat envelope, queued."""
        return self._envelope(task.id, "image", task.created, task.model) | {"status": "queued", "error": None}

    def _envelope(self, task_id: str, kind: str, created: float, model: str | None) -> Json:
        return {"id": task_id, "object": kind, "created": int(created), "model": model}

    def seen(self, view: View) -> Json:
        """Return the envelope with one `image_url`, or the error as a string."""
        task = view.task
        url = view.addresses[0] if view.addresses else None
        error = _why(view)[1] if view.stage == "failed" else None
        return self._envelope(task.id, "image.generation", task.created, task.model) | {
            "status": self.word(view),
            "image_url": url,
            "error": error,
        }

    def refused(self, refusal: Refusal, now: float, model: str | None = None) -> tuple[int, Json]:
        """Return the normal envelope with status failed and the error as a string (page 002)."""
        if refusal.status == 404 and refusal.code == "task_not_found":
            return 404, {"error": refusal.message}
        status = 400 if refusal.status == 500 and refusal.code == "build_request_failed" else refusal.status
        return status, self._envelope(self.new_id(), "image", now, model) | {"status": "failed", "error": refusal.message}

    def moderated(self) -> Refusal:
        """Return moderation's refusal inside a 200 envelope."""
        return Refusal(200, "moderation", f"{_SAFETY} (sandbox)")


DIALECTS: dict[str, Dialect] = {
    dialect.name: dialect for dialect in (Apimart("apimart"), Apimart("gccai"), Evolink("evolink"), Xingchao("xingchao"))
}
