"""The dialect of evolink: flat tasks, by its page for gpt-image-2."""

from __future__ import annotations

import uuid
import zlib
from collections.abc import Sequence
from datetime import datetime, timedelta, timezone
from typing import ClassVar

from imagegen_magic.formats import MIME_TYPES
from imagegen_magic.providers import urls
from imagegen_magic.providers.base import Model, Pixels
from imagegen_magic.sandbox import timing
from imagegen_magic.sandbox.dialects.base import (
    Dialect,
    Json,
    Refusal,
    Submission,
    TaskView,
    UploadedFile,
    choice,
    explicit_pixels,
    failure,
    listed_pixels,
    mask_of,
    number,
    prompt_of,
    references_of,
    text,
)
from imagegen_magic.sandbox.tasks import Task


class Evolink(Dialect):
    """Evolink's dialect: flat tasks (its page for gpt-image-2)."""

    upload_path: ClassVar[str | None] = "/api/v1/files/upload/stream"
    balance_path: ClassVar[str | None] = "/v1/credits"
    list_path: ClassVar[str | None] = "/v1/tasks"
    key_reused: ClassVar[str] = "idempotency_conflict"
    indeterminate: ClassVar[str] = "paid_outcome_unknown"
    _AUTO: ClassVar[tuple[Pixels, ...]] = ((1024, 1024), (1536, 1024), (1024, 1536))

    def new_id(self) -> str:
        """Return `task-unified-` and digits."""
        return f"task-unified-{uuid.uuid4().int % 10**10:010d}-{uuid.uuid4().hex[:8]}"

    def parse(self, body: Json) -> Submission:
        """Parse a body by page 003."""
        model = self.model(body)
        prompt = prompt_of(body, model)
        quality = choice(body, "quality", model.qualities, model.default_quality or "medium")
        pixels = self._pixels(body, model, prompt)
        n = number(body, "n", 1, model.max_n, 1)
        references = references_of(body, model)
        _callback(text(body, "callback_url"))
        mask = mask_of(body, references)
        form = choice(body, "output_format", model.formats, "png")
        alpha = choice(body, "background", model.backgrounds, "auto") == "transparent"
        cost = timing.credits_for(quality, pixels, n, model.name)
        file = (MIME_TYPES[form], alpha and form != "jpeg", None)
        return Submission(model.name, prompt, quality, pixels, n, *file, cost=cost, references=references, mask=mask)

    def _pixels(self, body: Json, model: Model, prompt: str) -> Pixels:
        size = text(body, "size", "auto").replace("×", "x")
        tier = text(body, "resolution", "1K").lower()
        if tier not in {one.lower() for one in model.resolutions}:
            raise Refusal(400, "invalid_parameter", f"resolution must be one of {', '.join(model.resolutions)}")
        if size == "auto":
            return self._AUTO[zlib.crc32(prompt.encode("utf-8", "replace")) % 3]
        try:
            if pixels := explicit_pixels(size, model):
                return pixels
        except Refusal as refusal:
            raise Refusal(400, "invalid_parameter", refusal.message) from None
        if size not in model.sizes:
            raise Refusal(400, "invalid_parameter", f"size '{size}' is neither a supported ratio, nor pixels, nor auto")
        return listed_pixels(model, size, tier, prompt)

    def upload_response(self, file: UploadedFile) -> Json:
        """Return the envelope of its page: times are written out, in China's zone."""
        record = {"file_id": f"file_{file.address[-12:]}", "file_name": file.name, "original_name": file.name, "file_size": file.size}
        record |= {"mime_type": file.mime_type, "file_url": file.address, "download_url": file.address}
        record |= {"upload_time": _written(file.created), "expires_at": _written(file.expires_at)}
        return {"success": True, "code": 200, "msg": "UploadedFile uploaded successfully", "data": record}

    def submit_response(self, task: Task, *, usual: float, as_object: bool = False) -> Json:
        """Return the flat task with its estimate in seconds and the credits reserved."""
        return self._flat(task) | {
            "status": "pending",
            "progress": 0,
            "task_info": {"can_cancel": True, "estimated_time": max(1, round(usual))},
            "usage": {"billing_rule": "per_call", "credits_reserved": task.cost, "user_group": "default"},
        }

    def _flat(self, task: Task) -> Json:
        return {"id": task.id, "object": "image.generation.task", "type": "image", "model": task.model, "created": int(task.created)}

    def balance_response(self, spent: float) -> Json:
        """Return the credits, of 1,000 at the start."""
        return {"success": True, "data": {"user": {"remaining_credits": round(1_000 - spent, 4), "used_credits": round(spent, 4)}}}

    def unknown_task(self) -> Refusal:
        """Return 400 `invalid_task_id`."""
        return Refusal(400, "invalid_task_id", "the task does not exist")

    def list_response(self, views: Sequence[TaskView]) -> Json:
        """Return the latest tasks, each with its prompt."""
        return {"object": "list", "data": [self.task_response(view) | {"input": {"prompt": view.task.prompt}} for view in views]}

    def task_response(self, view: TaskView) -> Json:
        """Return the flat task with `results` once completed, `error` once failed."""
        answer = self._flat(view.task) | {
            "status": self.status(view),
            "progress": int(view.fraction * 100),
            "task_info": {"can_cancel": False},
        }
        if view.stage == "completed":
            answer["results"] = list(view.addresses)
            answer["duration"] = round(view.task.seconds, 2)
            answer["usage"] = {"billing_rule": "per_call", "credits_reserved": view.task.cost, "credits_used": view.task.cost}
        if view.stage == "failed":
            code, message = failure(view)
            answer["error"] = {"code": code, "message": message, "type": "task_error"}
        return answer


def _written(moment: float) -> str:
    return datetime.fromtimestamp(moment, timezone(timedelta(hours=8))).isoformat(timespec="seconds")


def _callback(url: str) -> None:
    """Refuse a callback that is not public https within 2048 characters (page 003)."""
    parts = urls.split(url)
    if url and (parts is None or parts.scheme != "https" or len(url) > 2048 or not urls.is_public(parts.hostname or "")):
        words = "callback_url must be public https of at most 2048 characters, and no private address"
        raise Refusal(400, "invalid_callback_url", words)


DIALECT = Evolink("evolink")
