"""The images of one task, fetched by workers: this process renews addresses and records; what a worker cannot decide it fetches itself."""

from __future__ import annotations

from pathlib import Path
from typing import TypeGuard

from imagegen_magic._version import __version__
from imagegen_magic.engine import threads
from imagegen_magic.engine.context import EngineContext
from imagegen_magic.engine.endpoints import SANDBOX_ORIGIN
from imagegen_magic.engine.jobs.download import ImageDownloader, Unavailable, Verified, expired_again
from imagegen_magic.engine.jobs.task import JobChannel, Reporter, sidecar
from imagegen_magic.engine.net.client import HTTPStatusError
from imagegen_magic.engine.net.transport import OutcomeUnknown
from imagegen_magic.engine.storage.images import Saved
from imagegen_magic.engine.workers.records import FetchBackend, Fetched, FetchTask, Missed
from imagegen_magic.errors import DownloadError
from imagegen_magic.notebook_folder import followed
from imagegen_magic.paths import StorePath, located, text_of
from imagegen_magic.secret_patterns import Address

_NO_FACTS = {"width": 0, "height": 0, "mime_type": ""}  # a worker replaces them, so that they keep their place in the sidecar


def downloader(context: EngineContext, reporter: Reporter, channel: JobChannel) -> ImageDownloader:
    """Return what brings the images of a task to disk: over the workers that the settings name, else in this process."""
    backend = context.workers.of(channel.settings.get("workers"))
    if backend is None:
        return ImageDownloader(context, reporter, channel.preview_edge)
    return WorkerImageDownloader(context, reporter, channel.preview_edge, backend)


class WorkerImageDownloader(ImageDownloader):
    """Has workers fetch what has an address on the network; everything else, and what they leave, is fetched here."""

    def __init__(self, context: EngineContext, reporter: Reporter, preview_edge: int | None, backend: FetchBackend) -> None:
        super().__init__(context, reporter, preview_edge)
        self._backend = backend

    @property
    def _stem(self) -> str:
        return self._worker_stem

    async def _download(self, image: int) -> None:
        if not _is_reachable(self._task.addresses.get(image, "")):
            return await super()._download(image)
        if self._task.resumed and await self._uninterrupted(self._find_saved(image)):
            return None
        outcome = await self._persistently(lambda: self._fetch_by_worker(image))
        if isinstance(outcome, Fetched) and await threads.writing(_is_there, outcome):
            return await self._uninterrupted(self._record_and_emit(image, self._task.addresses[image], _verified(outcome)))
        return await super()._download(image)

    async def _fetch_by_worker(self, image: int) -> Fetched | Missed:
        """Return what came of one attempt. Raises what `_persistently` retries, and DownloadError."""
        url = self._task.addresses[image]
        outcome = await self._backend.fetch(await self._fetch_task(image, url))
        if _is_gone(outcome):
            renewed = await self._renew_expired(image, url, HTTPStatusError(outcome.status))
            outcome = await self._backend.fetch(await self._fetch_task(image, renewed))
            if _is_gone(outcome):
                raise expired_again(HTTPStatusError(outcome.status))
        if isinstance(outcome, Missed):
            self._raise_if_missed(outcome)
        return outcome

    def _raise_if_missed(self, missed: Missed) -> None:
        """Raise the error of a picture that may come later, or that no process can read."""
        match missed.reason:
            case "unavailable":
                raise Unavailable(f"the file host answered {missed.status}", missed.pause)
            case "network":
                raise OutcomeUnknown(missed.what)
            case "worker":
                what = f"The picture was made, and the worker that read it ended, several times ({missed.what})"
                raise DownloadError(what, blame="you", hint=f"%imagegen resume {self._task.row} fetches it again")

    async def _fetch_task(self, image: int, url: str) -> FetchTask:
        spec, task, number = self._spec, self._task, self._number(image)
        folder = spec.save_dir
        if isinstance(folder, Path):
            folder = (await threads.writing(followed, folder)).absolute()
        return FetchTask(
            ticket=f"{task.row}-{image}",
            url=Address(url),
            base_url=self._endpoint.base_url,
            folder=text_of(folder),
            stem=self._stem,
            number=number,
            expected=dict(spec.expected),
            size_asked=spec.request.size or "",
            missing=self._missing(),
            sidecar=sidecar(spec, task, number, _NO_FACTS, ()),
            preview_edge=self._preview_edge,
            version=__version__,
        )


def _is_reachable(url: str) -> bool:
    """Return whether another process can fetch an address: not what an answer held, nor the sandbox within this process."""
    return url.startswith(("http://", "https://")) and not url.startswith(SANDBOX_ORIGIN + "/")


def _is_gone(outcome: Fetched | Missed) -> TypeGuard[Missed]:
    return isinstance(outcome, Missed) and outcome.reason == "gone"


def _is_there(outcome: Fetched) -> bool:
    """Return whether this process sees the file: a worker on another machine may have saved to a disk of its own.

    What stands in a store was read back by the worker.
    """
    path = located(outcome.location)
    return isinstance(path, StorePath) or (path.is_file() and path.stat().st_size == outcome.size)


def _verified(outcome: Fetched) -> Verified:
    from imagegen_magic.imaging.preview import Preview
    from imagegen_magic.imaging.verify import ImageInfo

    path = located(outcome.location)
    info = ImageInfo(outcome.width, outcome.height, outcome.mime_type, outcome.suffix, outcome.alpha, outcome.transparent)
    saved = Saved(path, outcome.sha256, outcome.size, path.with_suffix(".json"))
    return Verified(info, Preview(*outcome.preview) if outcome.preview else None, saved, outcome.differences)
