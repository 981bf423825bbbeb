"""The dialect of Replicate's HTTP API: predictions, files and the schemas of models, by its pages and replicate 1.0.7."""

from __future__ import annotations

import json
import uuid
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, ClassVar

from starlette.responses import JSONResponse, Response

from imagegen_magic.formats import MIME_TYPES, WEBP
from imagegen_magic.providers.base import Model, Pixels
from imagegen_magic.providers.gateways.replicate_models import REFERENCES
from imagegen_magic.providers.parameters import Parameter
from imagegen_magic.providers.registry import get_provider
from imagegen_magic.sandbox import fault_responses, queued, requests, synchronous, uploads
from imagegen_magic.sandbox.dialects.base import Dialect, Json, Refusal, Submission, TaskView
from imagegen_magic.sandbox.images import signed_address
from imagegen_magic.sandbox.tasks import Task

if TYPE_CHECKING:
    from starlette.requests import Request

    from imagegen_magic.sandbox.app import Sandbox
    from imagegen_magic.sandbox.dialects.base import Handler

_KEPT = 3600.0  # seconds after which a finished prediction's input, output and files are deleted
_LISTED = 100
_REFERENCE_FIELDS = {*REFERENCES.values(), "images"}
_SENSITIVE = "The input or output was flagged as sensitive. Please try again with different inputs. (E005)"
_USUAL = {  # parameters of a model that Replicate's data do not list
    "seed": Parameter("integer"),
    "steps": Parameter("integer", "num_inference_steps", 1, 50, default=28),
    "guidance": Parameter("number", "guidance_scale", 0, 20, default=3.5),
}
_TITLES = {
    400: "Bad request",
    401: "Unauthenticated",
    402: "Insufficient credit",
    404: "Not found",
    422: "Input validation failed",
    429: "Too many requests",
}
_MESSAGES = {  # of the sandbox's usual refusals, in Replicate's words
    "rate_limit_exceeded": "Request was throttled. Your rate limit resets in ~1s.",
    "insufficient_balance": "You have insufficient credit to run this model. Go to https://replicate.com/account/billing to add credit.",
    "invalid_api_key": "You did not pass a valid authentication token",
}


class Replicate(Dialect):
    """Replicate's dialect: predictions that are deleted an hour after they are completed."""

    key_header: ClassVar[tuple[str, str]] = ("authorization", "Bearer {}")

    def own_routes(self, sandbox: Any) -> Sequence[tuple[str, str, Handler]]:
        """Return the routes below /v1."""

        async def create(request: Request) -> Response:
            return await self._created(sandbox, request)

        async def get(request: Request) -> Response:
            view = await queued.polled(sandbox, self, request, request.path_params["task_id"])
            return view if isinstance(view, Response) else JSONResponse(self._prediction(view, request, sandbox.clock()))

        async def cancel(request: Request) -> Response:
            before = await queued.cancelled(sandbox, self, request, request.path_params["task_id"])
            view = sandbox.view(before.task, requests.origin_of(request))
            return JSONResponse(self._prediction(view, request, sandbox.clock()))

        async def listed(request: Request) -> Response:
            requests.check_key(self, request)
            sandbox.log.count(self.name, "lists")
            views = [sandbox.view(task, requests.origin_of(request)) for task in sandbox.store.latest(self.name, _LISTED)]
            results = [self._prediction(view, request, sandbox.clock()) for view in views]
            return JSONResponse({"previous": None, "next": None, "results": results})

        async def upload(request: Request) -> Response:
            return await self._uploaded(sandbox, request)

        async def model(request: Request) -> Response:
            requests.check_key(self, request)
            return JSONResponse(_described(request.path_params["owner"], request.path_params["name"]))

        async def version(request: Request) -> Response:
            requests.check_key(self, request)
            names = request.path_params
            return JSONResponse(_version(f"{names['owner']}/{names['name']}", names["version"]))

        return [
            ("GET", "/v1/models/{owner}/{name}/versions/{version}", version),
            ("POST", "/v1/models/{owner}/{name}/predictions", create),
            ("GET", "/v1/models/{owner}/{name}", model),
            ("POST", "/v1/predictions", create),
            ("GET", "/v1/predictions", listed),
            ("GET", "/v1/predictions/{task_id}", get),
            ("POST", "/v1/predictions/{task_id}/cancel", cancel),
            ("POST", "/v1/files", upload),
        ]

    def new_id(self) -> str:
        """Return 26 letters and digits."""
        return uuid.uuid4().hex[:26]

    async def _created(self, sandbox: Sandbox, request: Request) -> Response:
        """Answer a submission: at once, or with `Prefer: wait` when the prediction is finished."""
        made: list[Task] = []

        def answer(task: Task) -> Json:
            made.append(task)
            return self._prediction(sandbox.view(task, requests.origin_of(request)), request, sandbox.clock())

        owner, name = request.path_params.get("owner", ""), request.path_params.get("name", "")
        response = await queued.submitted(sandbox, self, request, lambda body: _parsed(f"{owner}/{name}", body), answer)
        if not made or not request.headers.get("prefer", "").startswith("wait") or response.status_code != 200:
            return response
        await synchronous.wait(sandbox, request, self, made[0])
        return JSONResponse(answer(made[0]), 201)

    def _prediction(self, view: TaskView, request: Request, now: float) -> Json:
        task, own = view.task, f"{requests.origin_of(request)}/{self.name}/v1/predictions/{view.task.id}"
        deleted = view.stage in ("completed", "failed") and now > task.finished + _KEPT
        begun = view.stage != "queued" and (queued.CANCELLED not in view.shapes or queued.BEGUN in view.shapes)
        answer: Json = {
            **{"id": task.id, "model": task.model, "version": "hidden", "source": "api", "data_removed": deleted},
            **{"input": {} if deleted else {"prompt": task.prompt}, "output": None, "error": None, "logs": "", "metrics": {}},
            **{"status": _status(view), "created_at": _time(task.created), "completed_at": None},
            "started_at": _time(task.created + 0.1 * task.seconds) if begun else None,
            "urls": {"get": own, "cancel": f"{own}/cancel", "web": f"https://replicate.com/p/{task.id}"},
        }
        if answer["status"] == "processing":
            steps = int(view.fraction * 4)
            answer["logs"] = f"Using seed: {task.seed or 7}\n{steps * 25:3d}%|{'█' * steps:4s}| {steps}/4 [00:01<00:00,  4.00it/s]\n"
        if answer["status"] == "failed":
            answer["error"] = _SENSITIVE if "failed-by-moderation" in view.shapes else "Prediction failed: CUDA error (sandbox)"
        if answer["status"] == "succeeded" and not deleted and view.addresses:
            answer["output"] = list(view.addresses)
        if answer["status"] in ("succeeded", "failed", "canceled"):
            answer |= {"completed_at": _time(task.finished), "metrics": {"predict_time": round(0.9 * task.seconds, 3)} if begun else {}}
        return answer

    async def _uploaded(self, sandbox: Sandbox, request: Request) -> Response:
        """Store a file; its address serves as a reference in the sandbox."""
        requests.check_key(self, request)
        sandbox.log.count(self.name, "uploads")
        if fault := sandbox.faults.take("upload", self.name, "", ""):
            return fault_responses.upload(fault, self, sandbox.clock())
        part = uploads.form(await request.body(), request.headers.get("content-type", "")).get("content")
        kept = sandbox.uploads.put(part.content) if part else None
        if part is None or kept is None:
            raise Refusal(400, "bad_request", "content is required, as multipart/form-data")
        now, path = sandbox.clock(), f"/files/{self.name}/uploads/{kept.name}"
        url = signed_address(requests.origin_of(request), path, serial=0, expires=now + 24 * _KEPT)
        return JSONResponse(
            {
                **{"id": kept.name, "name": part.file_name, "content_type": kept.mime_type, "size": len(part.content), "etag": kept.name},
                **{"checksums": {"sha256": kept.name.partition(".")[0]}, "metadata": {}, "urls": {"get": url}},
                **{"created_at": _time(now), "expires_at": _time(now + 24 * _KEPT)},
            },
            201,
        )

    def unknown_task(self) -> Refusal:
        """Return the refusal of a prediction that is not known."""
        return Refusal(404, "not_found", "The requested resource could not be found.")

    def error_response(self, refusal: Refusal, now: float, model: str | None = None) -> tuple[int, Json]:
        """Return HTTP status and a problem description, as RFC 7807 has it."""
        detail = _MESSAGES.get(refusal.code, refusal.message)
        return refusal.status, {"title": _TITLES.get(refusal.status, "Error"), "detail": detail, "status": refusal.status}


def _parsed(name: str, body: Json) -> Submission:
    """Return what a submission asks for. Raises Refusal."""
    fields = body.get("input")
    if not isinstance(fields, dict):
        raise Refusal(422, "invalid", "- input is required\n")
    prompt = fields.get("prompt")
    if not isinstance(prompt, str) or not prompt.strip():
        raise Refusal(422, "invalid", "- input: prompt is required\n")
    model = get_provider("replicate").model(name if name.strip("/") else "sandbox/version")
    _check(model, fields)
    references: list[str] = next((fields[field] for field in sorted(_REFERENCE_FIELDS) if fields.get(field)), [])
    form = {"jpg": "jpeg"}.get(str(fields.get("output_format")), str(fields.get("output_format", "")))
    mime_type, quality = MIME_TYPES.get(form, WEBP.mime_type), str(fields.get("quality") or "")
    seed = fields.get("seed")
    return Submission(model.name, prompt, quality, _pixels(fields, model), mime_type=mime_type, references=tuple(references), seed=seed)


def _check(model: Model, fields: Json) -> None:
    for name, parameter in model.parameters.items():
        field = parameter.path or name
        if fields.get(field) is None:
            continue
        try:
            parameter.read(fields[field])
        except (TypeError, ValueError, OverflowError):
            allowed = ", ".join(parameter.allowed) or parameter.kind
            raise Refusal(422, "invalid", f"- input.{field}: Must be {allowed}, and is {json.dumps(fields[field])[:80]}\n") from None


def _pixels(fields: Json, model: Model) -> Pixels:
    width, height = fields.get("width"), fields.get("height")
    if isinstance(width, int) and isinstance(height, int) and 0 < min(width, height) <= max(width, height) <= 4096:
        return width, height
    for field in ("size", "resolution"):
        across, _, down = str(fields.get(field) or "").partition("x")
        if across.isdecimal() and down.isdecimal() and len(across + down) <= 8:
            return int(across), int(down)
    tiers = model.sizes.get(str(fields.get("aspect_ratio")), next(iter(model.sizes.values())))
    return tiers.get(str(fields.get("size") or "").lower(), next(iter(tiers.values())))


def _status(view: TaskView) -> str:
    if queued.CANCELLED in view.shapes:
        return "canceled"
    if view.stage == "running" and "unknown-word" in view.shapes:
        return "polishing"
    return {"queued": "starting", "running": "processing", "completed": "succeeded", "failed": "failed"}[view.stage]


def _time(epoch: float) -> str:
    return datetime.fromtimestamp(epoch, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _described(owner: str, name: str) -> Json:
    """Return a model with its latest version."""
    about = {"owner": owner, "name": name, "url": f"https://replicate.com/{owner}/{name}", "visibility": "public", "run_count": 0}
    return {**about, "description": None, "default_example": None, "latest_version": _version(f"{owner}/{name}", "0" * 64)}


def _version(name: str, version: str) -> Json:
    """Return a version of a model, with the schema of its input: as its data have it, or the usual one."""
    kinds = {"flag": "boolean", "text": "string", "choice": "string"}
    properties: Json = {"prompt": {"type": "string", "title": "Prompt"}}
    for option, each in (get_provider("replicate").model(name).parameters or _USUAL).items():
        limits = {"minimum": each.minimum, "maximum": each.maximum, "enum": list(each.choices) or None, "default": each.default}
        known = {key: value for key, value in limits.items() if value is not None}
        properties[each.path or option] = {"type": kinds.get(each.kind, each.kind), **known}
    schema = {"components": {"schemas": {"Input": {"type": "object", "properties": properties}}}}
    return {"id": version, "created_at": _time(0), "cog_version": "0.9.0", "openapi_schema": schema}


DIALECT = Replicate("replicate")
