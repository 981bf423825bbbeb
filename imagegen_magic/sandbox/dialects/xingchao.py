"""The dialect of xingchao: one image a task, and refusals inside the normal envelope, by its page for GPT Image 2."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import ClassVar

from imagegen_magic.providers.base import Model, Pixels
from imagegen_magic.sandbox.dialects.base import (
    SAFETY,
    Dialect,
    Json,
    Refusal,
    Submission,
    TaskView,
    choice,
    explicit_pixels,
    failure,
    is_absent,
    listed_pixels,
    prompt_of,
    references_of,
    text,
)
from imagegen_magic.sandbox.tasks import Task


class Xingchao(Dialect):
    """Xingchao's dialect: one picture a task, and refusals inside the normal envelope (its page for GPT Image 2)."""

    submit_path: ClassVar[str] = "/v1/image2/images"
    task_path: ClassVar[str] = "/v1/result/{task_id}"
    batch_path: ClassVar[str | None] = None
    statuses: ClassVar[Mapping[str, str]] = {"queued": "queued", "running": "processing", "completed": "completed", "failed": "failed"}

    def new_id(self) -> str:
        """Return `image_` and a UUID."""
        return f"image_{uuid.uuid4()}"

    def parse(self, body: Json) -> Submission:
        """Parse a body by page 002."""
        model = self.model(body)
        prompt = prompt_of(body, model)
        quality = choice(body, "quality", model.qualities, "low") if model.qualities else "low"
        references = references_of(body, model)
        return Submission(model.name, prompt, quality, self._pixels(body, model, prompt), references=references)

    def _pixels(self, body: Json, model: Model, prompt: str) -> Pixels:
        if not is_absent(body, "size"):
            pixels = explicit_pixels(text(body, "size"), model)
            if pixels is None:
                raise Refusal(400, "invalid", "Invalid request: size must be {width}x{height}")
            return pixels
        if is_absent(body, "ratio") and not is_absent(body, "resolution"):
            raise Refusal(400, "invalid", "Invalid request: ratio is required when resolution is passed")
        ratio, tier = text(body, "ratio", "1:1"), text(body, "resolution", "1k")
        if ratio not in model.sizes:
            raise Refusal(400, "invalid", f"Invalid request: ratio '{ratio}' is not supported")
        if tier not in model.resolutions:
            raise Refusal(400, "invalid", f"Invalid request: resolution '{tier}' is not supported by {model.name}")
        if tier not in model.sizes[ratio]:
            raise Refusal(200, "invalid", f"Invalid request: resolution '{tier}' is not supported for ratio '{ratio}'")
        return listed_pixels(model, ratio, tier, prompt)

    def submit_response(self, task: Task, *, usual: float, as_object: bool = False) -> Json:
        """Return the flat envelope, queued."""
        return self._envelope(task.id, "image", task.created, task.model) | {"status": "queued", "error": None}

    def _envelope(self, task_id: str, kind: str, created: float, model: str | None) -> Json:
        return {"id": task_id, "object": kind, "created": int(created), "model": model}

    def task_response(self, view: TaskView) -> Json:
        """Return the envelope with one `image_url`, or the error as a string."""
        task = view.task
        url = view.addresses[0] if view.addresses else None
        error = failure(view)[1] if view.stage == "failed" else None
        return self._envelope(task.id, "image.generation", task.created, task.model) | {
            "status": self.status(view),
            "image_url": url,
            "error": error,
        }

    def error_response(self, refusal: Refusal, now: float, model: str | None = None) -> tuple[int, Json]:
        """Return the normal envelope with status failed and the error as a string (page 002)."""
        if refusal.status == 404 and refusal.code == "task_not_found":
            return 404, {"error": refusal.message}
        status = 400 if refusal.status == 500 and refusal.code == "build_request_failed" else refusal.status
        return status, self._envelope(self.new_id(), "image", now, model) | {"status": "failed", "error": refusal.message}

    def moderation_refusal(self) -> Refusal:
        """Return moderation's refusal inside a 200 envelope."""
        return Refusal(200, "moderation", f"{SAFETY} (sandbox)")


DIALECT = Xingchao("xingchao")
