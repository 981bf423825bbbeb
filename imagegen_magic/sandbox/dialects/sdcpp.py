"""The dialect of stable-diffusion.cpp's server: jobs without a key, with pictures as base64 in the job itself, by its api.md."""

from __future__ import annotations

import base64
import io
import time
import uuid
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from PIL import Image, ImageChops
from starlette.responses import JSONResponse, Response

from imagegen_magic.formats import MIME_TYPES, PNG
from imagegen_magic.sandbox import queued, synchronous
from imagegen_magic.sandbox.dialects.base import Dialect, Json, Refusal, Submission, TaskView, failure, is_absent, number, text
from imagegen_magic.sandbox.tasks import Task

if TYPE_CHECKING:
    from starlette.requests import Request

    from imagegen_magic.sandbox.app import Sandbox
    from imagegen_magic.sandbox.dialects.base import Handler

_STATUSES = {"queued": "queued", "running": "generating", "completed": "completed", "failed": "failed"}
_SAMPLERS, _SCHEDULERS = ["euler", "euler_a", "dpm++2m"], ["discrete", "karras"]


class StableDiffusionCpp(Dialect):
    """stable-diffusion.cpp's dialect."""

    needs_key: ClassVar[bool] = False

    def own_routes(self, sandbox: Any) -> Sequence[tuple[str, str, Handler]]:
        """Return the routes below /sdcpp/v1."""

        async def capabilities(request: Request) -> Response:
            return JSONResponse(_capabilities())

        async def submit(request: Request) -> Response:
            response = await queued.submitted(sandbox, self, request, self.parse, _accepted)
            response.status_code = 202 if response.status_code == 200 else response.status_code
            return response

        async def job(request: Request) -> Response:
            view = await queued.polled(sandbox, self, request, request.path_params["task_id"])
            return view if isinstance(view, Response) else JSONResponse(await _job(sandbox, view))

        async def cancel(request: Request) -> Response:
            return await self._cancelled(sandbox, request)

        base = "/sdcpp/v1"
        return [
            ("GET", f"{base}/capabilities", capabilities),
            ("POST", f"{base}/img_gen", submit),
            ("GET", f"{base}/jobs/{{task_id}}", job),
            ("POST", f"{base}/jobs/{{task_id}}/cancel", cancel),
        ]

    async def _cancelled(self, sandbox: Sandbox, request: Request) -> Response:
        """Cancel a job that is queued. Raises Refusal for one that is generating, and for an unknown one."""
        task = await sandbox.task(request.path_params["task_id"], self)
        if task is not None and sandbox.view(task, "").stage == "running":
            raise Refusal(409, "", "job is currently generating and cannot be interrupted yet")
        await queued.cancelled(sandbox, self, request, request.path_params["task_id"])
        assert task is not None
        return JSONResponse(await _job(sandbox, sandbox.view(task, "")))

    def new_id(self) -> str:
        """Return `job_`, the time and a number, in hexadecimal."""
        return f"job_{int(time.time()):x}_{uuid.uuid4().hex[:8]}"

    def parse(self, body: Json) -> Submission:
        """Parse a body. Raises Refusal."""
        prompt = text(body, "prompt")
        if not prompt.strip():
            raise Refusal(400, "", "invalid generation parameters")
        pixels = number(body, "width", 64, 4096, 512), number(body, "height", 64, 4096, 512)
        sampling = body.get("sample_params")
        method = sampling.get("sample_method") if isinstance(sampling, dict) else None
        form = text(body, "output_format", "png")
        if (method and method not in _SAMPLERS) or form not in ("png", "jpeg", "webp"):
            raise Refusal(400, "", "invalid generation parameters")
        compression = None if is_absent(body, "output_compression") else number(body, "output_compression", 0, 100, 100)
        seed = number(body, "seed", -1, 2**63, -1)
        return Submission(
            "sandbox-sd",
            prompt,
            "low",
            pixels,
            number(body, "batch_count", 1, 8, 1),
            MIME_TYPES[form],
            compression=compression if form != "png" else None,
            references=tuple(f"data:image/png;base64,{each}" for each in _pictures(body)),
            mask=_mask(body),
            seed=None if seed < 0 else seed,
        )

    def error_response(self, refusal: Refusal, now: float, model: str | None = None) -> tuple[int, Json]:
        """Return HTTP status and an error that is a text."""
        return refusal.status, {"error": refusal.message}

    def unknown_task(self) -> Refusal:
        """Return the refusal of a poll of an unknown job."""
        return Refusal(404, "", "job not found")


def _pictures(body: Json) -> list[str]:
    given = [body.get("init_image"), *(body.get("ref_images") or [])]
    return [each for each in given if isinstance(each, str)]


def _mask(body: Json) -> str:
    """Return the mask, white where it is to be repainted, as the sandbox paints: transparent there. Raises Refusal."""
    if is_absent(body, "mask_image"):
        return ""
    try:
        with Image.open(io.BytesIO(base64.b64decode(text(body, "mask_image"))), formats=("PNG",)) as white:
            grey = white.convert("L")
    except (ValueError, OSError) as error:
        raise Refusal(400, "", "invalid generation parameters") from error
    buffer = io.BytesIO()
    Image.merge("LA", (grey, ImageChops.invert(grey))).save(buffer, "PNG")
    return f"data:{PNG.mime_type};base64,{base64.b64encode(buffer.getvalue()).decode()}"


def _accepted(task: Task) -> Json:
    created = int(task.created)
    return {"id": task.id, "kind": "img_gen", "status": "queued", "created": created, "poll_url": f"/sdcpp/v1/jobs/{task.id}"}


async def _job(sandbox: Sandbox, view: TaskView) -> Json:
    task, cancelled = view.task, queued.CANCELLED in view.task.faults
    status = "cancelled" if cancelled else "polishing" if "unknown-word" in view.shapes else _STATUSES[view.stage]
    started, ended = view.stage != "queued", cancelled or view.stage in ("completed", "failed")
    answer: Json = {"id": task.id, "kind": "img_gen", "status": status, "created": int(task.created), "result": None, "error": None}
    answer |= {"started": int(task.created) if started else None, "completed": int(task.finished) if ended else None}
    answer["queue_position"] = 1 if status == "queued" else 0
    if cancelled:
        answer["error"] = {"code": "cancelled", "message": "job cancelled by client"}
    elif view.stage == "failed":
        answer["error"] = dict(zip(("code", "message"), failure(view), strict=True))
    elif view.stage == "completed":
        contents = await synchronous.pictures(sandbox, task, "")
        images = [{"index": number, "b64_json": base64.b64encode(content).decode()} for number, content in enumerate(contents)]
        answer["result"] = {"output_format": task.mime_type.removeprefix("image/"), "images": images}
    return answer


def _capabilities() -> Json:
    defaults = {"width": 512, "height": 512, "seed": -1, "batch_count": 1, "output_format": "png"}
    return {
        "model": {"name": "sandbox-sd.gguf", "stem": "sandbox-sd", "path": "/models/sandbox-sd.gguf"},
        "current_mode": "img_gen",
        "supported_modes": ["img_gen"],
        "defaults_by_mode": {"img_gen": defaults},
        "output_formats_by_mode": {"img_gen": ["png", "jpeg", "webp"]},
        "features_by_mode": {"img_gen": {"ref_images": True, "mask_image": True, "cancel_queued": True, "cancel_generating": False}},
        "samplers": _SAMPLERS,
        "schedulers": _SCHEDULERS,
        "limits": {"min_width": 64, "max_width": 4096, "min_height": 64, "max_height": 4096, "max_batch_count": 8, "max_queue_size": 16},
    }


DIALECT = StableDiffusionCpp("sdcpp")
