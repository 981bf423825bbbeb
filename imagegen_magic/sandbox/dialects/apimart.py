"""The dialect of apimart: an envelope of code and data, by its pages for gpt-image-2-official and GPT-Image 1 and 1.5."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from typing import ClassVar

from imagegen_magic.formats import MIME_TYPES
from imagegen_magic.providers.base import Model, Pixels
from imagegen_magic.sandbox import timing
from imagegen_magic.sandbox.dialects.base import (
    SAFETY,
    Dialect,
    Json,
    Refusal,
    Submission,
    TaskView,
    UploadedFile,
    choice,
    explicit_pixels,
    failure,
    is_absent,
    listed_pixels,
    mask_of,
    number,
    prompt_of,
    references_of,
    text,
)
from imagegen_magic.sandbox.tasks import Task

_CLAMPING = frozenset({"gpt-image-1-official", "gpt-image-1.5-official"})


class Apimart(Dialect):
    """The dialect of apimart and gccai: an envelope of code and data (their pages for gpt-image-2-official and GPT-Image 1 and 1.5)."""

    statuses: ClassVar[Mapping[str, str]] = {"queued": "pending", "running": "in_progress", "completed": "completed", "failed": "failed"}
    upload_path: ClassVar[str | None] = "/v1/uploads/images"
    request_id_header: ClassVar[str] = "X-Oneapi-Request-Id"
    balance_path: ClassVar[str | None] = "/v1/user/balance"

    def new_id(self) -> str:
        """Return `task_` and 26 letters and digits."""
        return f"task_01{uuid.uuid4().hex[:24].upper()}"

    def parse(self, body: Json) -> Submission:
        """Parse a body by pages 000, 001 and 004."""
        model = self.model(body)
        prompt = prompt_of(body, model)
        quality = choice(body, "quality", model.qualities, model.default_quality or "auto")
        pixels = self._pixels(body, model, prompt)
        choice(body, "moderation", model.moderations, "auto")
        references = references_of(body, model, data=False)
        mask = mask_of(body, references)
        n = self._count(body, model)
        cost = timing.dollars(model.name, quality, pixels, n)
        file = self._file(body, model)
        return Submission(model.name, prompt, quality, pixels, n, *file, cost=cost, references=references, mask=mask)

    def _file(self, body: Json, model: Model) -> tuple[str, bool, int | None]:
        """Return MIME type, alpha and compression; a background that the model cannot do becomes auto, silently, as page 000 says."""
        background = choice(body, "background", ("auto", "opaque", "transparent"), "auto")
        form = choice(body, "output_format", model.formats, "png")
        alpha = background == "transparent" and "transparent" in model.backgrounds
        if alpha and form == "jpeg":
            raise Refusal(400, "invalid_parameter", "a transparent background needs output_format png")
        compression = None if is_absent(body, "output_compression") else number(body, "output_compression", 0, 100, 100)
        return MIME_TYPES[form], alpha, compression if form in model.compressible else None

    def _count(self, body: Json, model: Model) -> int:
        if model.name in _CLAMPING:
            return min(max(number(body, "n", -(2**31), 2**31, 1), 1), model.max_n)
        return number(body, "n", 1, model.max_n, 1)

    def _pixels(self, body: Json, model: Model, prompt: str) -> Pixels:
        size = text(body, "size", model.default_size)
        tier = choice(body, "resolution", model.resolutions, "1k")
        if size == "auto" and not model.auto_size:  # its newer page has it
            size = "1:1"
        if pixels := explicit_pixels(size, model):
            return pixels
        ratio = "1:1" if size == "auto" and model.auto_size else size
        tiers = model.sizes.get(ratio)
        if tiers is None:
            raise Refusal(500, "build_request_failed", f"unsupported size '{size}'")
        tier = tier if model.resolutions else next(iter(tiers))
        if tier not in tiers:
            raise Refusal(400, "invalid_parameter", f"size '{size}' does not support resolution '{tier}': exceeds the pixel cap")
        return listed_pixels(model, ratio, tier, prompt)

    def submit_response(self, task: Task, *, usual: float, as_object: bool = False) -> Json:
        """Return the task's id in `data`, a list (pages 000, 004) or an object (newer revisions)."""
        if as_object:
            return {"code": 200, "data": {"id": task.id, "status": "submitted"}}
        return {"code": 200, "data": [{"status": "submitted", "task_id": task.id}]}

    def task_response(self, view: TaskView) -> Json:
        """Return `data` with status, progress and, once completed, result, cost and actual_time."""
        return {"code": 200, "data": self._task(view)}

    def batch_response(self, views: Sequence[TaskView]) -> Json:
        """Return the tasks as a list in `data`."""
        return {"code": 200, "data": [self._task(view) for view in views]}

    def _task(self, view: TaskView) -> Json:
        task = view.task
        answer: Json = {"id": task.id, "status": self.status(view), "progress": int(view.fraction * 100), "created": int(task.created)}
        if view.stage == "queued":
            answer["progress"] = 0
        if view.stage == "completed":
            answer |= {"actual_time": round(task.seconds), "completed": int(task.finished), "cost": task.cost, "credits_cost": task.cost}
            answer |= {"usage": {"images": len(view.addresses)}, "result": {"images": self._images(view)}}
        if view.stage == "failed":
            code, message = failure(view)
            answer |= {"error": {"code": code, "message": message, "type": "task_failed"}}
        return answer

    def _images(self, view: TaskView) -> list[Json]:
        expires = int(view.expires_at)
        if "url-list" in view.shapes:
            return [{"url": list(view.addresses), "expires_at": expires}] if view.addresses else []
        one = (lambda url: url) if "url-string" in view.shapes else (lambda url: [url])
        return [{"url": one(url), "expires_at": expires} for url in view.addresses]

    def balance_response(self, spent: float) -> Json:
        """Return the dollars, of 100 at the start."""
        return {"success": True, "remain_balance": round(100 - spent, 6), "used_balance": round(spent, 6), "unlimited_quota": False}

    def upload_response(self, file: UploadedFile) -> Json:
        """Return the flat answer of its page; it does not say when the address ends."""
        named = {"url": file.address, "filename": file.name, "content_type": file.mime_type}
        return {**named, "bytes": file.size, "created_at": int(file.created)}

    def error_response(self, refusal: Refusal, now: float, model: str | None = None) -> tuple[int, Json]:
        """Return `{"error": …}`; what the upstream refused arrives as HTTP 500 `build_request_failed: …`."""
        status, answer = super().error_response(refusal, now)
        if status == 401:
            words = f"{refusal.message} (request id: {uuid.uuid4().hex})"
            return status, {"error": {"code": "", "message": words, "param": "", "type": "apimart_error"}}
        if refusal.code == "build_request_failed":
            answer["error"] |= {"message": f"build_request_failed: {refusal.message}", "type": "api_error"}
        return status, answer

    def moderation_refusal(self) -> Refusal:
        """Return moderation's refusal, which arrives as HTTP 500."""
        return Refusal(500, "build_request_failed", f"{SAFETY} (moderation_blocked, sandbox)")


DIALECT = Apimart("apimart")
