"""The sandbox as an ASGI app: `/<dialect>` is a gateway's base URL, `/files` holds the pictures, `/_sandbox` the controls."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from imagegen_magic.providers.registry import get_provider, in_file
from imagegen_magic.sandbox import fault_responses, timing
from imagegen_magic.sandbox.dialects import DIALECTS
from imagegen_magic.sandbox.dialects.base import Dialect, Refusal, Submission, TaskView, UploadedFile
from imagegen_magic.sandbox.faults import KINDS, REFUSALS, Faults, UnknownFault, directives
from imagegen_magic.sandbox.images import ImageCache, ImageSpec, address, signed, signed_address
from imagegen_magic.sandbox.references import ReferenceStore
from imagegen_magic.sandbox.request_log import LogEntry, RequestLog
from imagegen_magic.sandbox.requests import check_key, json_or_text, origin_of, read_body
from imagegen_magic.sandbox.tasks import Task, TaskStore, digest
from imagegen_magic.sandbox.uploads import StoredFile, UploadStore, form, mime_type

_FORM_BYTES = 64 * 1024  # bytes of a form around its file
_UPLOADS_LIVE = 3  # times as long as a result: 72 hours against 24
_LISTED = 50  # tasks in a list
_MIN_LIFETIME = 0.001  # seconds that an address lives
_QUEUED = 0.1  # the part of its time a task waits in the queue


@dataclass(kw_only=True)
class Sandbox:
    """Everything behind the routes: tasks, faults, the request log, drawings and the model of waiting.

    `scale` multiplies realistic waiting times; `duration` (seconds) replaces them; `latency` (seconds) is added to each poll;
    `lifetime` (seconds) is how long an address lives; `plain` serves one drawing for all images of the same pixels. With a `home`, the
    tasks are kept when this process ends. Raises ValueError for seconds that are out of range.
    """

    scale: float = 0.05
    seed: int = 0
    home: Path | None = None
    clock: Callable[[], float] = time.time
    duration: float | None = None
    latency: float = 0.0
    lifetime: float = 86_400.0
    plain: bool = False

    def __post_init__(self) -> None:
        if not all(0 <= number < math.inf for number in (self.scale, self.duration or 0.0, self.latency)):
            raise ValueError("scale, duration and latency must be numbers of 0 and more")
        if not _MIN_LIFETIME <= self.lifetime < math.inf:
            raise ValueError(f"lifetime must be at least {_MIN_LIFETIME} seconds")
        self.faults, self.log = Faults(), RequestLog()
        self.store, self.uploads = TaskStore(self.home), UploadStore(self.home)
        self.images = ImageCache(plain=self.plain, find=lambda name: self.references.find(name))
        self.references = ReferenceStore(self.uploads, self.store, self.draw, self.clock)
        self._revoked: dict[str, int] = {}
        self._disarmed_at = -math.inf  # when the faults were last disarmed

    def draw(self, task: Task, index: int) -> bytes:
        """Return the bytes of one picture of a task."""
        return self.images.make(ImageSpec.of(task, index, self.seed))

    async def submit(self, request: Request) -> Response:
        """Answer a submission."""
        dialect = _dialect(request)
        entry = self.log.submission(LogEntry(dialect.name, self.clock(), "authorization" in request.headers))
        entry.idempotency_key = request.headers.get("idempotency-key", "")
        entry.json = json_or_text(await request.body())
        try:
            response = await self._submitted(request, dialect, entry)
        except Refusal as refusal:
            response = self._refusal(dialect, refusal, entry.json)
        entry.status = response.status_code
        return response

    async def _submitted(self, request: Request, dialect: Dialect, entry: LogEntry) -> Response:
        body = entry.json
        entry.prompt = str(body.get("prompt", "")) if isinstance(body, dict) else ""
        check_key(dialect, request)
        if not isinstance(body, dict):
            raise Refusal(400, "invalid_json", "the body must be a JSON object, in UTF-8 and with finite numbers")
        if entry.idempotency_key and (task := await self._by_idempotency_key(dialect.name, entry.idempotency_key)):
            return self._repeated(dialect, task, entry)
        entry.fault = self.fault("submit", dialect, entry.prompt, entry.idempotency_key or entry.prompt)
        if entry.fault in REFUSALS:
            return fault_responses.refuse(entry.fault, dialect, self.clock())
        submission = dialect.parse(body)
        sources_and_mask = (
            await asyncio.to_thread(self.references.of, submission, request.headers.get("host", "")) if submission.references else ((), "")
        )
        task = self.accept(dialect, submission, entry, *sources_and_mask)
        answer = self._accepted(dialect, task, as_object=entry.fault == "data-object")
        return fault_responses.answer(entry.fault, answer) if entry.fault else JSONResponse(answer)

    def _repeated(self, dialect: Dialect, task: Task, entry: LogEntry) -> Response:
        """Answer a submission whose Idempotency-Key was accepted before. Raises Refusal."""
        if task.body and task.body != digest(entry.json):
            raise Refusal(409, dialect.key_reused, "this Idempotency-Key was used with another body")
        if fault := self.fault("repeat", dialect, entry.prompt, entry.idempotency_key):
            return fault_responses.refuse(fault, dialect, self.clock())
        self.log.accept(entry, task.id, repeated=True)
        return JSONResponse(self._accepted(dialect, task), headers={"idempotency-replayed": "true"})

    async def _by_idempotency_key(self, provider: str, idempotency_key: str) -> Task | None:
        if (task := self.store.by_key(provider, idempotency_key)) is None:
            await asyncio.to_thread(self.store.refresh)
        return task or self.store.by_key(provider, idempotency_key)

    def fault(self, phase: Any, dialect: Dialect, prompt: str, owner: str) -> str | None:
        """Return the fault that this request meets, None if it meets none. Raises Refusal for an unknown one."""
        try:
            return self.faults.take(phase, dialect.name, prompt, owner)
        except UnknownFault as error:
            raise Refusal(400, "unknown_fault", str(error)) from None

    def accept(self, dialect: Dialect, submission: Submission, entry: LogEntry, sources: tuple[str, ...] = (), mask: str = "") -> Task:
        """Make and store the task of an accepted submission."""
        task_id = dialect.new_id()
        seconds = timing.seconds(submission.quality, submission.pixels, task_id) * self.scale
        task = Task(
            id=task_id,
            provider=dialect.name,
            model=submission.model,
            prompt=submission.prompt,
            quality=submission.quality,
            pixels=submission.pixels,
            n=submission.n,
            mime_type=submission.mime_type,
            alpha=submission.alpha,
            compression=submission.compression,
            cost=submission.cost,
            created=self.clock(),
            seconds=seconds if self.duration is None else self.duration,
            idempotency_key=entry.idempotency_key,
            take=self.store.times(submission.prompt),
            faults={name for name, _ in directives(submission.prompt) if KINDS[name].phase == "task"},
            sources=sources,
            mask=mask,
            body=digest(entry.json),
            seed=submission.seed,
        )
        self.store.add(task)
        self.log.accept(entry, task.id, repeated=False)
        return task

    def _accepted(self, dialect: Dialect, task: Task, *, as_object: bool = False) -> dict[str, Any]:
        usual = timing.median_seconds(task.quality, task.pixels) * self.scale if self.duration is None else self.duration
        return dialect.submit_response(task, usual=usual, as_object=as_object)

    def _refusal(self, dialect: Dialect, refusal: Refusal, body: Any = None) -> Response:
        return fault_responses.error(refusal, dialect, self.clock(), body.get("model") if isinstance(body, dict) else None)

    def refuse(self, request: Request, refusal: Exception) -> Response:
        """Answer a request whose handler raised a Refusal."""
        assert isinstance(refusal, Refusal)
        return self._refusal(_dialect(request), refusal)

    async def upload(self, request: Request) -> Response:
        """Answer an upload."""
        dialect = _dialect(request)
        self.log.count(dialect.name, "uploads")
        rule = get_provider(dialect.name).upload
        assert rule is not None
        body = await read_body(request, rule.max_bytes + _FORM_BYTES)
        check_key(dialect, request)
        if fault := self.faults.take("upload", dialect.name, "", ""):
            return fault_responses.upload(fault, dialect, self.clock())
        file = form(body, request.headers.get("content-type", "")).get("file") if body is not None else None
        if body is None or (file and len(file.content) > rule.max_bytes):
            raise Refusal(413, "file_too_large", f"the file must not exceed {rule.max_bytes // 1_000_000} MB")
        if file is None or not file.file_name:
            raise Refusal(400, "invalid_request", "file is required, as multipart/form-data")
        kept = await asyncio.to_thread(self.uploads.put, file.content)
        if kept is None or kept.mime_type not in rule.types:
            raise Refusal(415, "unsupported_file_type", f"only {', '.join(rule.types)} are supported")
        return JSONResponse(dialect.upload_response(self._file(request, dialect, kept, file.file_name, len(file.content))))

    def _file(self, request: Request, dialect: Dialect, kept: StoredFile, name: str, size: int) -> UploadedFile:
        now = self.clock()
        expires = now + _UPLOADS_LIVE * self.lifetime
        url = signed_address(origin_of(request), f"/files/{dialect.name}/uploads/{kept.name}", serial=0, expires=expires)
        return UploadedFile(url, expires, name, kept.mime_type, size, now)

    def _count_download(self, request: Request) -> Response | None:
        name, has_key = _dialect(request).name, "authorization" in request.headers
        self.log.count(name, "downloads")
        if has_key:
            self.log.count(name, "downloads_with_key")
        return Response("a key was sent to a file's address", 400) if has_key else None

    async def fetch_upload(self, request: Request) -> Response:
        """Serve an uploaded file. A request with a key is refused and counted."""
        if refused := self._count_download(request):
            return refused
        name = request.path_params["name"]
        content = await asyncio.to_thread(self.uploads.get, name)
        if content is None or not signed(request.url.path, request.query_params):
            return Response("no such file", 404)
        if float(request.query_params["expires"]) < self.clock():
            return Response("this address has expired", 403)
        return Response(content, media_type=mime_type(name))

    async def poll(self, request: Request) -> Response:
        """Answer a poll of one task."""
        dialect = _dialect(request)
        self.log.count(dialect.name, "looks")
        check_key(dialect, request)
        await asyncio.sleep(self.latency)
        task = await self.task(request.path_params["task_id"], dialect)
        if task is None:
            raise dialect.unknown_task()
        if fault := self.fault("look", dialect, task.prompt, task.id):
            return fault_responses.poll(fault, dialect, self.clock())
        return JSONResponse(dialect.task_response(self.view(task, origin_of(request))))

    async def balance(self, request: Request) -> Response:
        """Show what the account has."""
        dialect = _dialect(request)
        self.log.count(dialect.name, "balances")
        check_key(dialect, request)
        return JSONResponse(dialect.balance_response(self.store.spent(dialect.name)))

    async def list_tasks(self, request: Request) -> Response:
        """Show the latest tasks of the gateway, newest first."""
        dialect = _dialect(request)
        self.log.count(dialect.name, "lists")
        check_key(dialect, request)
        if self.store.home is not None:
            await asyncio.to_thread(self.store.refresh)
        views = [self.view(task, origin_of(request)) for task in self.store.latest(dialect.name, _LISTED)]
        return JSONResponse(dialect.list_response(views))

    async def poll_batch(self, request: Request) -> Response:
        """Answer a batch poll."""
        dialect = _dialect(request)
        self.log.count(dialect.name, "batch_looks")
        check_key(dialect, request)
        body = json_or_text(await request.body())
        ids = body.get("task_ids") if isinstance(body, dict) else None
        if not isinstance(ids, list) or not ids or len(ids) > dialect.batch_limit:
            raise Refusal(400, "invalid_request", f"task_ids must be an array of 1 to {dialect.batch_limit} ids")
        await asyncio.sleep(self.latency)
        tasks = [task for one in ids if (task := await self.task(str(one), dialect))]
        for task in tasks:
            if fault := self.fault("batch", dialect, task.prompt, task.id):
                return fault_responses.poll(fault, dialect, self.clock())
        origin = origin_of(request)
        return JSONResponse(dialect.batch_response([self.view(task, origin) for task in tasks]))

    async def task(self, task_id: str, dialect: Dialect) -> Task | None:
        """Return this gateway's task with the faults it has caught by now, None if it is unknown or forgotten."""
        task = self.store.get(task_id) or await asyncio.to_thread(self.store.find, task_id)
        if task is None or task.provider != dialect.name:
            return None
        if fresh := self.faults.clinging(dialect.name, task.prompt, task.faults):
            self.store.bind(task, fresh)
        return None if "task-forgotten" in task.faults else task

    def view(self, task: Task, origin: str) -> TaskView:
        """Return what a poll shows of a task now; its pictures' addresses begin with `origin`."""
        now = self.clock()
        shapes = frozenset(task.faults)
        held = "held" in shapes and task.created >= self._disarmed_at
        if now < task.finished or held or "never-finishes" in shapes:
            fraction = min(0.99, (now - task.created) / max(task.seconds, 1e-9))
            return TaskView(task, "queued" if fraction < _QUEUED else "running", max(0.0, fraction), shapes=shapes)
        if shapes & {"failed", "failed-by-moderation"}:
            return TaskView(task, "failed", 0.5, shapes=shapes)
        spent = int((now - task.finished) // self.lifetime)  # an address lives `lifetime` from the finish, and so does each renewal
        expires = task.finished + (spent + 1) * self.lifetime
        return TaskView(task, "completed", 1.0, self._addresses(task, origin, expires), expires, shapes)

    def _addresses(self, task: Task, origin: str, expires: float) -> tuple[str, ...]:
        count = 0 if "no-address" in task.faults else max(1, task.n - 1) if "fewer-pictures" in task.faults else task.n
        serial = self._revoked.get(task.id, 0)
        return tuple(address(origin, task, index, serial=serial, expires=expires) for index in range(count))

    async def download(self, request: Request) -> Response:
        """Serve a download. A request with a key is refused and counted."""
        if refused := self._count_download(request):
            return refused
        dialect = _dialect(request)
        task, number = await self.task(request.path_params["task_id"], dialect), request.path_params["index"]
        if task is None or number not in map(str, range(task.n)) or not signed(request.url.path, request.query_params):
            return Response("no such picture", 404)
        index = int(number)
        fault = self.faults.take("download", dialect.name, task.prompt, f"{task.id}/{index}")
        if fault in ("expired", "expired-403"):
            self._revoked[task.id] = int(request.query_params["serial"]) + 1
            return Response("this address has expired", 410 if fault == "expired" else 403)
        if self._stale(task, request):
            return Response("this address has expired", 403)
        drawing = ImageSpec.of(task, index, self.seed)
        if fault:
            url = f"{origin_of(request)}{request.url.path}?{request.url.query}"
            return await fault_responses.delivery(fault, drawing, self.images, url)
        return Response(await self.images.fetch(drawing), media_type=drawing.mime_type)

    def _stale(self, task: Task, request: Request) -> bool:
        query = request.query_params
        return float(query["expires"]) < self.clock() or int(query["serial"]) < self._revoked.get(task.id, 0)

    async def show_log(self, request: Request) -> Response:
        """Show the request log; of the submissions only those of `prompt`, if the query names one."""
        return JSONResponse(self.log.shown(request.query_params.get("prompt")))

    async def arm(self, request: Request) -> Response:
        """Arm a fault: `kind`, and optionally `times` (null: always), `provider` and `match`."""
        body = json_or_text(await request.body())
        try:
            self.faults.arm(str(body["kind"]), body.get("times", 1), body.get("provider"), body.get("match"))
        except (KeyError, TypeError, AttributeError, UnknownFault) as error:
            return JSONResponse({"error": str(error)}, 400)
        return JSONResponse(self.faults.shown())

    async def disarm(self, request: Request) -> Response:
        """Disarm every fault."""
        self.faults.clear()
        self._disarmed_at = self.clock()
        return JSONResponse([])

    async def armed(self, request: Request) -> Response:
        """Show the armed faults and every kind there is."""
        kinds = {kind.name: {"phase": kind.phase, "meaning": kind.meaning} for kind in KINDS.values()}
        return JSONResponse({"armed": self.faults.shown(), "kinds": kinds})

    async def index(self, request: Request) -> Response:
        """Show what this is, and the base URLs."""
        origin = origin_of(request)
        base_urls = {name: f"{origin}/{name}{in_file(name).version_segment}" for name in DIALECTS}
        return JSONResponse({"what": "imagegen_magic's sandbox: no service, no AI, no cost", "base_urls": base_urls})


async def _no_such_path(request: Request, error: Exception) -> Response:
    """Answer a path, or a method, that no route has. Clients read JSON from every path of a gateway."""
    return JSONResponse({"error": {"code": "not_found", "message": "no such path", "type": "invalid_request_error"}}, 404)


def _dialect(request: Request) -> Dialect:
    return DIALECTS[request.url.path.removeprefix("/files").split("/")[1]]


def create_app(*, faults: Sequence[str] = (), **options: Any) -> Starlette:
    """Return the app; `faults` are armed from the start (`KIND` or `KIND:TIMES`), the `options` are the fields of `Sandbox`.

    Raises UnknownFault, and ValueError for seconds that are out of range.
    """
    sandbox = Sandbox(**options)
    for fault in faults:
        sandbox.faults.arm_text(fault)
    app = Starlette(
        routes=[*_gateway_routes(sandbox), *_own_routes(sandbox)],
        exception_handlers={Refusal: sandbox.refuse, 404: _no_such_path, 405: _no_such_path},
    )
    app.state.sandbox = sandbox
    return app


def _gateway_routes(sandbox: Sandbox) -> list[Route]:
    routes = []
    for name, dialect in DIALECTS.items():
        if dialect.upload_path:
            routes.append(_route(f"/files/{name}/uploads/{{name}}", sandbox.fetch_upload, "GET"))  # before that of results, which fits too
        routes.append(_route(f"/files/{name}/{{task_id}}/{{index}}.{{suffix}}", sandbox.download, "GET"))
        if (own := dialect.own_routes(sandbox)) is not None:
            routes += [_route(f"/{name}{path}", endpoint, method) for method, path, endpoint in own]
            continue
        if dialect.batch_path:
            routes.append(_route(f"/{name}{dialect.batch_path}", sandbox.poll_batch, "POST"))
        if dialect.balance_path:
            routes.append(_route(f"/{name}{dialect.balance_path}", sandbox.balance, "GET"))
        if dialect.list_path:
            routes.append(_route(f"/{name}{dialect.list_path}", sandbox.list_tasks, "GET"))
        routes.append(_route(f"/{name}{dialect.task_path}", sandbox.poll, "GET"))
        routes.append(_route(f"/{name}{dialect.submit_path}", sandbox.submit, "POST"))
        if dialect.upload_path:
            routes.append(_route(f"/{name}{dialect.upload_path}", sandbox.upload, "POST"))
    return routes


def _own_routes(sandbox: Sandbox) -> list[Route]:
    return [
        _route("/_sandbox/log", sandbox.show_log, "GET"),
        _route("/_sandbox/faults", sandbox.armed, "GET"),
        _route("/_sandbox/faults", sandbox.arm, "POST"),
        _route("/_sandbox/faults", sandbox.disarm, "DELETE"),
        _route("/", sandbox.index, "GET"),
    ]


def _route(path: str, endpoint: Callable[[Request], Awaitable[Response]], method: str) -> Route:
    return Route(path, endpoint, methods=[method])
