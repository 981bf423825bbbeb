"""The HTTP response of each fault."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import AsyncIterator, Iterable
from typing import Any

from starlette.responses import JSONResponse, RedirectResponse, Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from imagegen_magic.formats import JPEG, PNG
from imagegen_magic.providers.responses import IDEMPOTENCY_IN_PROGRESS
from imagegen_magic.sandbox.dialects.base import Dialect, Refusal
from imagegen_magic.sandbox.images import ImageCache, ImageSpec, bomb, corrupted

PAGE = "<!doctype html><html><head><title>Attention required</title></head><body><h1>One more step</h1></body></html>"
_CHUNK = bytes(1024 * 1024)
_OVERSIZED = 80
_SILENCE = 600.0
_TRICKLE = 3.0
_CLOSED_PORT = 9


class BrokenResponse(Response):
    """A response whose connection breaks after `sent` of the `promised` bytes: ConnectionResetError in process."""

    def __init__(self, sent: bytes, promised: int, media_type: str = "application/json") -> None:
        super().__init__(b"", media_type=media_type)
        self.sent = sent
        self.raw_headers = [(b"content-type", media_type.encode()), (b"content-length", str(promised).encode())]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Promise, send a part, break."""
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        if self.sent:
            await send({"type": "http.response.body", "body": self.sent, "more_body": True})
        raise ConnectionResetError("the sandbox broke this connection on purpose")


class ShortResponse(BrokenResponse):
    """A response that ends properly after fewer bytes than Content-Length promised; a server then breaks the connection."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Promise more than is sent, and end."""
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        try:
            await send({"type": "http.response.body", "body": self.sent, "more_body": False})
        except Exception as error:  # each server has its own class for too few bytes, and closes the connection
            raise ConnectionResetError("the sandbox sent too few bytes on purpose") from error


class SilentResponse(Response):
    """No answer at all until the client goes, or ten minutes have passed."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Wait until the client disconnects."""
        try:
            async with asyncio.timeout(_SILENCE):
                while (await receive())["type"] != "http.disconnect":
                    pass
        except TimeoutError:
            pass
        raise ConnectionResetError("the sandbox never answered, on purpose")


def refuse(fault: str, dialect: Dialect, now: float) -> Response:
    """Return a refusal that leaves no task behind."""
    if fault == "html-error-page":
        return Response(PAGE, 403, media_type="text/html")
    if fault == "drop-before-accept":
        return BrokenResponse(b"", 100)
    refusals = {
        "rate-limited": Refusal(429, "rate_limit_exceeded", "too many requests", retry_after=1),
        "unavailable": Refusal(503, "service_unavailable", "the service is overloaded, try again later"),
        "unauthorized": Refusal(401, "invalid_api_key", "invalid or missing API key"),
        "no-balance": Refusal(402, "insufficient_balance", "the balance does not suffice for this request"),
        "moderation": dialect.moderation_refusal(),
        "unverified": Refusal(403, "", "Your organization must be verified to use this model. Please go to the settings and verify it."),
        "reference-gone": unreachable("its address answered 404"),
        "idempotency-unavailable": Refusal(503, "idempotency_unavailable", "the request was not executed"),
        "repeat-in-progress": Refusal(409, IDEMPOTENCY_IN_PROGRESS, "the first request is still being executed", retry_after=1),
        "repeat-indeterminate": Refusal(409, dialect.indeterminate, "the outcome of the first request is not known"),
    }
    return error(refusals[fault], dialect, now)


def error(refusal: Refusal, dialect: Dialect, now: float, model: str | None = None) -> Response:
    """Return the response to a refused request; `model` as the request named it."""
    status, answer = dialect.error_response(refusal, now, model)
    headers = {"retry-after": str(refusal.retry_after)} if refusal.retry_after is not None else {}
    if dialect.request_id_header:
        headers[dialect.request_id_header] = uuid.uuid4().hex
    return JSONResponse(answer, status_code=status, headers=headers)


def unreachable(which: str) -> Refusal:
    """Return the refusal of a submission whose reference or mask cannot be fetched."""
    return Refusal(400, "invalid_image_url", f"cannot fetch the reference image: {which}")


def upload(fault: str, dialect: Dialect, now: float) -> Response:
    """Return the response to an upload."""
    refusals = {
        "upload-refused": Refusal(400, "invalid_file", "the file was rejected"),
        "upload-500": Refusal(500, "internal_error", "the file storage is not available"),
        "upload-429": Refusal(429, "rate_limit_exceeded", "too many uploads", retry_after=1),
    }
    return error(refusals[fault], dialect, now)


def answer(fault: str, accepted: dict[str, Any]) -> Response:
    """Return the response to an accepted submission."""
    text = json.dumps(accepted).encode()
    if fault == "drop-after-accept":
        return BrokenResponse(b"", len(text))
    if fault == "hang-after-accept":
        return SilentResponse()
    if fault.endswith("-after-accept"):
        return Response(PAGE, int(fault[:3]), media_type="text/html")
    if fault == "truncated-json":
        return Response(text[: len(text) // 2], media_type="application/json")
    if fault == "html-answer":
        return Response(PAGE, media_type="text/html")
    if fault == "no-task-id":
        return JSONResponse(_without_id(accepted))
    return JSONResponse(accepted)


_IDENTIFYING = {"id", "task_id", "request_id", "status_url", "response_url", "cancel_url"}


def _without_id(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_id(inner) for key, inner in value.items() if key not in _IDENTIFYING}
    return [_without_id(inner) for inner in value] if isinstance(value, list) else value


def poll(fault: str, dialect: Dialect, now: float) -> Response:
    """Return the response to a poll, single or batch."""
    if fault.endswith("-garbage"):
        return Response(PAGE, media_type="text/html")
    refusals = {
        "look-500": Refusal(500, "internal_error", "something went wrong"),
        "look-rate-limited": Refusal(429, "rate_limit_exceeded", "too many requests", retry_after=1),
        "batch-400": Refusal(400, "invalid_request", "unknown parameter"),
    }
    return error(refusals[fault], dialect, now)


async def delivery(fault: str, spec: ImageSpec, images: ImageCache, url: str) -> Response:
    """Return the response to a download of `url`."""
    if simple := _without_picture(fault, url):
        return simple
    if fault == "bomb":
        return Response(await asyncio.to_thread(bomb), media_type=PNG.mime_type)
    if fault == "wrong-size":
        return Response(await images.fetch(spec.reshaped()), media_type=spec.mime_type)
    if fault == "wrong-format":
        other = spec.reformatted()
        return Response(await images.fetch(other), media_type=spec.mime_type)
    if fault == "truncated-jpeg":
        jpeg = spec if spec.mime_type == JPEG.mime_type else spec.reformatted()
        picture = await images.fetch(jpeg)
        return StreamingResponse(_parts(picture[: len(picture) * 3 // 5], 4), media_type=JPEG.mime_type)
    return _damaged(fault, await images.fetch(spec), spec.mime_type)


async def picture(fault: str, spec: ImageSpec, images: ImageCache) -> bytes:
    """Return the bytes of a picture that stands within an answer."""
    if fault in ("non-image", "bomb"):
        return PAGE.encode() if fault == "non-image" else await asyncio.to_thread(bomb)
    drawn = spec.reshaped() if fault == "wrong-size" else spec.reformatted() if fault == "wrong-format" else spec
    content = await images.fetch(drawn)
    return corrupted(content) if fault == "corrupt" else content


def body(fault: str, content: bytes, media_type: str) -> Response:
    """Return a response with this body, which `truncated`, `dropped-download` and `slow` damage on the way."""
    known = fault in ("truncated", "dropped-download", "slow")
    return _damaged(fault, content, media_type) if known else Response(content, media_type=media_type)


def _without_picture(fault: str, url: str) -> Response | None:
    if fault == "download-500":
        return Response(PAGE, 500, media_type="text/html")
    if fault == "non-image":
        return Response(PAGE, media_type="text/html")
    if fault.startswith("oversized"):
        headers = {"content-length": str(_OVERSIZED * len(_CHUNK))} if fault == "oversized" else None
        return StreamingResponse(_endless(), media_type=PNG.mime_type, headers=headers)
    targets = {
        "redirect": f"{url}&again=1",
        "redirect-loopback": f"http://127.0.0.1:{_CLOSED_PORT}/picture.png",
        "redirect-link-local": "http://169.254.169.254/latest/meta-data/",
    }
    return RedirectResponse(targets[fault], 302) if fault in targets else None


def _damaged(fault: str, picture: bytes, mime_type: str) -> Response:
    if fault == "truncated":
        return ShortResponse(picture[: len(picture) // 2], len(picture), mime_type)
    if fault == "dropped-download":
        return BrokenResponse(picture[: len(picture) // 2], len(picture), mime_type)
    if fault == "corrupt":
        return Response(corrupted(picture), media_type=mime_type)
    return StreamingResponse(_trickle(picture), media_type=mime_type, headers={"content-length": str(len(picture))})


def _parts(content: bytes, count: int) -> Iterable[bytes]:
    step = max(1, -(-len(content) // count))
    return (content[start : start + step] for start in range(0, len(content), step))


async def _trickle(content: bytes) -> AsyncIterator[bytes]:
    for part in _parts(content, 20):
        yield part
        await asyncio.sleep(_TRICKLE / 20)


async def _endless() -> AsyncIterator[bytes]:
    for _ in range(_OVERSIZED):
        yield _CHUNK
        await asyncio.sleep(0)
