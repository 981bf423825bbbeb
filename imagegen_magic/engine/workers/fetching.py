"""The one function that runs on workers: it downloads pictures, verifies and saves them; all of it may run twice."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from imagegen_magic._version import __version__
from imagegen_magic.engine import loop, threads
from imagegen_magic.engine.clock import CLOCK
from imagegen_magic.engine.conformance import mismatches
from imagegen_magic.engine.jobs.fetch import Download, Fetcher
from imagegen_magic.engine.net.client import MAX_BYTES, GatewayClients, HTTPStatusError
from imagegen_magic.engine.net.transport import NotSent, OutcomeUnknown
from imagegen_magic.engine.storage.stores import arrival_folder, open_store
from imagegen_magic.engine.storage.unreadable import is_answer
from imagegen_magic.engine.workers.records import Fetched, FetchTask, Missed
from imagegen_magic.humanize import iso_time
from imagegen_magic.paths import located, text_of
from imagegen_magic.secret_patterns import without_queries

if TYPE_CHECKING:
    from imagegen_magic.imaging.preview import Preview

_fetchers: dict[asyncio.AbstractEventLoop, Fetcher] = {}


def fetch_all(tasks: Sequence[FetchTask]) -> list[Fetched | Missed]:
    """Return what came of each picture, in the same order; from a thread that is not the engine's. Raises nothing for a picture."""
    if any(task.version != __version__ for task in tasks):
        return [Missed(task.ticket, "here", f"this worker has imagegen_magic {__version__}") for task in tasks]
    return loop.run(_fetch_all(tasks))


def identify(probe: str | None) -> tuple[str, bool]:
    """Return this worker's version of the package, and whether it sees a file; of none it is not asked."""
    return __version__, probe is None or Path(probe).exists()


async def _fetch_all(tasks: Sequence[FetchTask]) -> list[Fetched | Missed]:
    fetcher = _fetcher()
    outcomes = await asyncio.gather(*(_fetch(fetcher, task) for task in tasks), return_exceptions=True)
    return [_missed(task, found) if isinstance(found, BaseException) else found for task, found in zip(tasks, outcomes, strict=True)]


def _fetcher() -> Fetcher:
    """Return the downloads of the engine's loop, whose connections end with it."""
    running = asyncio.get_running_loop()
    if running not in _fetchers:
        clients = GatewayClients()
        _fetchers.clear()  # of a loop that has ended
        _fetchers[running] = Fetcher(clients, Path())
        loop.at_stop(clients.close)
    return _fetchers[running]


async def _fetch(fetcher: Fetcher, task: FetchTask) -> Fetched | Missed:
    download = await fetcher.fetch(task.url, task.base_url, arrival_folder(located(task.folder), Path(tempfile.gettempdir())))
    try:
        if download.part.size > MAX_BYTES or is_answer(download.part.head):
            return Missed(task.ticket, "here", "what came is no picture that can be read")
        return await threads.saving(_save, task, download)
    finally:
        download.close()


def _missed(task: FetchTask, error: BaseException) -> Missed:
    """Return why a picture was not fetched; what this process cannot decide is left to the client's."""
    match error:
        case HTTPStatusError(temporary=True):
            return Missed(task.ticket, "unavailable", status=error.status, pause=error.retry_after)
        case HTTPStatusError():
            return Missed(task.ticket, "gone", status=error.status)
        case NotSent() | OutcomeUnknown():
            return Missed(task.ticket, "network", without_queries(str(error)))
    return Missed(task.ticket, "here", type(error).__name__)


def _save(task: FetchTask, download: Download) -> Fetched:
    """Verify and save a picture. Raises ImageInvalid, SaveError, and whatever a decoder raises for untrusted bytes."""
    from imagegen_magic.imaging.verify import verify

    part, store = download.part, open_store(task.folder)
    info, preview = verify(part.content(), preview_edge=task.preview_edge)
    differences = mismatches(task.expected, task.size_asked, info) + task.missing
    notes = {"width": info.width, "height": info.height, "mime_type": info.mime_type, "differences": list(differences)}
    notes["saved"] = iso_time(CLOCK.time()).replace("+00:00", "Z")
    saved = store.save(part, task.stem, task.number, info.suffix, {**task.sidecar, **notes})
    store.remove_unsettled(task.stem, task.number, task.sidecar["task_id"])
    facts = (info.width, info.height, info.mime_type, info.suffix, info.alpha, info.transparent)
    return Fetched(task.ticket, text_of(saved.path), saved.sha256, saved.size, *facts, differences, _plain(preview))


def _plain(preview: Preview | None) -> tuple[bytes, str, int, int] | None:
    return None if preview is None else (preview.data, preview.mime_type, preview.width, preview.height)
