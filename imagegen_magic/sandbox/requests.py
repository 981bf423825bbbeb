"""What every dialect reads of a request: its key, its body, and the origin that it came to."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from imagegen_magic.providers.describe import is_json
from imagegen_magic.sandbox.dialects.base import Dialect

if TYPE_CHECKING:
    from starlette.requests import Request


def json_or_text(body: bytes) -> Any:
    """Return a body's JSON; its text if it is not valid JSON."""
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        return body.decode("utf-8", "replace")
    return value if is_json(value) else body.decode("utf-8", "replace")


async def read_body(request: Request, limit: int) -> bytes | None:
    """Read a body to its end; None if it is larger than the limit."""
    pieces: list[bytes] = []
    size = 0
    async for piece in request.stream():
        size += len(piece)
        if size <= limit:
            pieces.append(piece)
    return b"".join(pieces) if size <= limit else None


def check_key(dialect: Dialect, request: Request) -> None:
    """Raise Refusal for a missing or wrong key, and for the key of an account without money (`poor…`)."""
    if not dialect.needs_key:
        return
    name, form = dialect.key_header
    key = request.headers.get(name, "")
    scheme = form.removesuffix("{}")
    if not key.lower().startswith(scheme.lower()) or not key[len(scheme) :].strip() or key[len(scheme) :].startswith("bad"):
        raise dialect.wrong_key()
    if key[len(scheme) :].startswith("poor"):
        raise dialect.no_money()


def origin_of(request: Request) -> str:
    """Return scheme and host that a request came to."""
    return f"{request.url.scheme}://{request.headers.get('host', request.url.netloc)}"
