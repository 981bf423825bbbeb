"""What travels between this process and its workers: plain values that the standard library's pickle takes, without key or settings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple, Protocol

from imagegen_magic.paths import Location

Reason = Literal["gone", "unavailable", "network", "here", "worker"]
"""Why a picture was not fetched.

`gone`: its address has expired, and only the client can request a new one. `unavailable`: its host may give it out later. `network`: the
network failed. `here`: the client's process is to fetch it, which knows what else can be done. `worker`: it ended the processes that
read it.
"""


class FetchTask(NamedTuple):
    """One picture to download, verify and save. It may run twice, also at the same time: the same name is given to the same bytes.

    `ticket` names it for the client. `folder` is a path, or the address of one in a store. `base_url` is the service's address, whose
    private hosts are allowed. `stem` and `number` make the file's name. `expected`, `size_asked` and `missing` (what is known to differ
    already) are compared with the picture. `sidecar` lacks what only the picture's bytes show. `preview_edge` is the longest edge of the
    preview in pixels, None for no preview. `version` is that of the client's package.
    """

    ticket: str
    url: str
    base_url: str
    folder: str
    stem: str
    number: int
    expected: Mapping[str, Any]
    size_asked: str
    missing: tuple[str, ...]
    sidecar: Mapping[str, Any]
    preview_edge: int | None
    version: str


class Fetched(NamedTuple):
    """A picture that is verified and saved: `size` in bytes, `width` and `height` in pixels, `sha256` in hexadecimal.

    `location` is its path, or its address in a store. `preview` has its bytes, MIME type, width and height.
    """

    ticket: str
    location: str
    sha256: str
    size: int
    width: int
    height: int
    mime_type: str
    suffix: str
    alpha: bool
    transparent: bool | None
    differences: tuple[str, ...]
    preview: tuple[bytes, str, int, int] | None = None


class Missed(NamedTuple):
    """A picture that was not fetched: the reason, `what` happened in words without an address, the HTTP status, the pause in seconds."""

    ticket: str
    reason: Reason
    what: str = ""
    status: int = 0
    pause: float | None = None


class FetchBackend(Protocol):
    """Where pictures are fetched. A failure of one picture is a `Missed`, and never says anything about what was paid."""

    async def check(self, folder: Location) -> None:
        """Raise UnsupportedOption if its workers cannot save in a folder that exists; before anything is sent."""

    async def fetch(self, task: FetchTask) -> Fetched | Missed:
        """Fetch one picture. Raises nothing but CancelledError."""

    async def close(self) -> None:
        """End what it started."""


class WorkerLost(Exception):
    """The processes that ran a batch ended; each of its pictures may be the reason."""


class BackendLost(Exception):
    """The workers cannot be reached or do not run this package; the message is for the user."""
