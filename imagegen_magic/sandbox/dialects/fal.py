"""The dialect of fal's queue, by its pages "Queue" and "Errors" and fal-client 1.0.3.

Status, result and cancelling are below the owner and the app, without the path of the endpoint.
"""

from __future__ import annotations

import uuid
import zlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from starlette.responses import JSONResponse, Response

from imagegen_magic.errors import UnknownProvider
from imagegen_magic.formats import MIME_TYPES, PNG
from imagegen_magic.providers.base import Model, Pixels
from imagegen_magic.providers.gateways.fal_models import EDITS
from imagegen_magic.providers.registry import get_provider
from imagegen_magic.sandbox import queued, requests
from imagegen_magic.sandbox.dialects.base import SAFETY, Dialect, Json, Refusal, Submission, TaskView, is_absent
from imagegen_magic.sandbox.tasks import Task

if TYPE_CHECKING:
    from starlette.requests import Request

    from imagegen_magic.sandbox.dialects.base import Handler

_SIZES = {
    **{"square_hd": (1024, 1024), "square": (512, 512), "portrait_4_3": (768, 1024), "portrait_16_9": (576, 1024)},
    **{"landscape_4_3": (1024, 768), "landscape_16_9": (1024, 576), "auto": (1024, 1024)},
}
_GENERATORS = {edit: model for model, edit in EDITS.items()}


class Invalid(Refusal):
    """A field that a model refuses: its type, its place and a message."""

    def __init__(self, kind: str, message: str, *place: str) -> None:
        super().__init__(422, kind, message)
        self.place = place


class Fal(Dialect):
    """fal's dialect: a queue of requests, each with a status and a result of its own."""

    key_header: ClassVar[tuple[str, str]] = ("authorization", "Key {}")
    request_id_header: ClassVar[str] = "x-fal-request-id"

    def own_routes(self, sandbox: Any) -> Sequence[tuple[str, str, Handler]]:
        """Return the routes of the queue."""

        async def submit(request: Request) -> Response:
            endpoint, origin = request.path_params["endpoint"], requests.origin_of(request)
            return await queued.submitted(
                sandbox, self, request, lambda body: self._parsed(endpoint, body), lambda task: self._accepted(task, origin)
            )

        async def status(request: Request) -> Response:
            view = await queued.polled(sandbox, self, request, request.path_params["task_id"])
            return view if isinstance(view, Response) else self._status(view, requests.origin_of(request))

        async def result(request: Request) -> Response:
            requests.check_key(self, request)
            task = await sandbox.task(request.path_params["task_id"], self)
            if task is None:
                raise self.unknown_task()
            return self._result(sandbox.view(task, requests.origin_of(request)))

        async def cancel(request: Request) -> Response:
            return _cancelled(await queued.cancelled(sandbox, self, request, request.path_params["task_id"]))

        one = "/{app:path}/requests/{task_id}"
        return [
            ("GET", f"{one}/status", status),
            ("PUT", f"{one}/cancel", cancel),
            ("GET", one, result),
            ("POST", "/{endpoint:path}", submit),
        ]

    def new_id(self) -> str:
        """Return a UUID."""
        return str(uuid.uuid4())

    def _parsed(self, endpoint: str, body: Json) -> Submission:
        """Return what a body asks for at an endpoint. Raises Refusal."""
        name = _GENERATORS.get(endpoint, endpoint)
        try:
            model = get_provider(self.name).model(name)
        except UnknownProvider:
            raise Refusal(404, "not_found", f'Application "{endpoint[:80]}" not found') from None
        prompt = body.get("prompt")
        if not isinstance(prompt, str) or not prompt.strip():
            raise Invalid("missing", "Field required", "body", "prompt")
        references = _references(endpoint, body)
        seed = body.get("seed")
        if not is_absent(body, "seed") and (not isinstance(seed, int) or isinstance(seed, bool)):
            raise Invalid("int_parsing", "Input should be a valid integer", "body", "seed")
        _check_parameters(model, body)
        quality = str(body.get("quality") or model.default_quality or "")
        mask = str(body.get("mask_url") or "")
        form = MIME_TYPES.get(str(body.get("output_format") or next(iter(model.formats), "png")), PNG.mime_type)
        pixels = _pixels(body, model)
        return Submission(endpoint, prompt, quality, pixels, mime_type=form, references=references, mask=mask, seed=seed)

    def _accepted(self, task: Task, origin: str) -> Json:
        return {"status": "IN_QUEUE", "request_id": task.id, "queue_position": 0, **self._addresses(task, origin)}

    def _addresses(self, task: Task, origin: str) -> Json:
        parts = task.model.split("/")
        app = "/".join(parts[: 3 if parts[0] in ("workflows", "comfy") else 2])
        own = f"{origin}/{self.name}/{app}/requests/{task.id}"
        return {"status_url": f"{own}/status", "response_url": own, "cancel_url": f"{own}/cancel"}

    def _status(self, view: TaskView, origin: str) -> Response:
        answer: Json = {"request_id": view.task.id, **self._addresses(view.task, origin), "logs": []}
        if queued.CANCELLED in view.shapes:
            return JSONResponse({**answer, "status": "COMPLETED", "error": "Request was cancelled", "error_type": "client_cancelled"})
        if view.stage == "queued":
            return JSONResponse({**answer, "status": "IN_QUEUE", "queue_position": 0}, 202)
        if view.stage == "running":
            status = "POLISHING" if "unknown-word" in view.shapes else "IN_PROGRESS"
            return JSONResponse({**answer, "status": status}, 202)
        answer |= {"status": "COMPLETED", "metrics": {"inference_time": view.task.seconds}}
        if "failed" in view.shapes:
            answer |= {"error": "The runner disconnected (sandbox)", "error_type": "runner_disconnected"}
        return JSONResponse(answer)

    def _result(self, view: TaskView) -> Response:
        """Return the result: of a request that is not finished an error, of one that moderation refused the reason."""
        if view.stage in ("queued", "running"):
            return JSONResponse({"detail": "Request is still in progress"}, 400)
        if queued.CANCELLED in view.shapes:
            return JSONResponse({"detail": "Request was cancelled", "error_type": "client_cancelled"}, 499)
        if "failed-by-moderation" in view.shapes:
            status, answer = self.error_response(self.moderation_refusal(), 0.0)
            return JSONResponse(answer, status, headers={"x-fal-retryable": "false"})
        if view.stage == "failed":
            return JSONResponse({"detail": "The runner disconnected (sandbox)", "error_type": "runner_disconnected"}, 503)
        task, (width, height) = view.task, view.task.pixels
        seed = zlib.crc32(task.id.encode()) if task.seed is None else task.seed
        images = [{"url": url, "width": width, "height": height, "content_type": task.mime_type} for url in view.addresses]
        timings = {"inference": task.seconds}
        return JSONResponse({"images": images, "timings": timings, "seed": seed, "has_nsfw_concepts": [False], "prompt": task.prompt})

    def wrong_key(self) -> Refusal:
        """Return the refusal of a key that is missing or wrong."""
        return Refusal(401, "unauthorized", "Cannot access application. Authentication is required to access this application.")

    def no_money(self) -> Refusal:
        """Return the refusal of an account without money."""
        return Refusal(403, "forbidden", "User is locked. Reason: Exhausted balance. Top up your balance at fal.ai/dashboard/billing.")

    def unknown_task(self) -> Refusal:
        """Return the refusal of a request that is not known."""
        return Refusal(404, "not_found", "Request not found")

    def moderation_refusal(self) -> Refusal:
        """Return moderation's refusal, which is the result of a request."""
        return Invalid("content_policy_violation", f"{SAFETY} (sandbox)", "body", "prompt")

    def error_response(self, refusal: Refusal, now: float, model: str | None = None) -> tuple[int, Json]:
        """Return HTTP status and body of a refusal: a list of what is wrong, or one sentence."""
        if isinstance(refusal, Invalid):
            item: Json = {"loc": list(refusal.place), "msg": refusal.message, "type": refusal.code}
            item["url"] = f"https://docs.fal.ai/errors/#{refusal.code}"
            if refusal.code == "content_policy_violation":
                item["ctx"] = {"categories": ["violence"]}
            return refusal.status, {"detail": [item]}
        if refusal.code == "insufficient_balance":
            refusal = self.no_money()
        return refusal.status, {"detail": refusal.message}


def _references(endpoint: str, body: Json) -> tuple[str, ...]:
    given = body.get("image_urls") or ([body["image_url"]] if body.get("image_url") else [])
    if not isinstance(given, list) or not all(isinstance(each, str) for each in given):
        raise Invalid("list_type", "Input should be a valid list", "body", "image_urls")
    if endpoint in _GENERATORS and not given:
        raise Invalid("missing", "Field required", "body", "image_urls")
    return tuple(given)


def _check_parameters(model: Model, body: Json) -> None:
    for name, parameter in model.parameters.items():
        field = parameter.path or name
        if is_absent(body, field):
            continue
        try:
            parameter.read(body[field])
        except (TypeError, ValueError, OverflowError):
            raise Invalid("value_error", f"Input should be {', '.join(parameter.allowed) or parameter.kind}", "body", field) from None


def _pixels(body: Json, model: Model) -> Pixels:
    size = body.get("image_size")
    if isinstance(size, dict):
        width, height = size.get("width"), size.get("height")
        if not all(isinstance(edge, int) and 0 < edge <= 14_142 for edge in (width, height)):
            raise Invalid("image_size", "width and height should be integers up to 14142", "body", "image_size")
        return int(str(width)), int(str(height))
    if size is not None and size not in _SIZES:
        raise Invalid("literal_error", f"Input should be {', '.join(_SIZES)}", "body", "image_size")
    if isinstance(size, str):
        return _SIZES[size]
    tiers = model.sizes.get(str(body.get("aspect_ratio")), next(iter(model.sizes.values())))
    return tiers.get(str(body.get("resolution") or "").lower(), next(iter(tiers.values())))


def _cancelled(view: TaskView) -> Response:
    if view.stage == "queued":
        return JSONResponse({"status": "OK"})
    if view.stage == "running":
        return JSONResponse({"status": "CANCELLATION_REQUESTED"}, 202)
    return JSONResponse({"status": "ALREADY_COMPLETED"}, 400)


DIALECT = Fal("fal")
