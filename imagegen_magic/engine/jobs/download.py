"""The images of one finished task: fetch each, request a new address if the old one is gone, verify, save, record.

What cannot be read is fetched again. Once the same bytes came twice, they are what the gateway has, and they are kept.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import itertools
import math
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from imagegen_magic.engine import loop, threads
from imagegen_magic.engine.conformance import checks, mismatches
from imagegen_magic.engine.context import EngineContext
from imagegen_magic.engine.jobs.fetch import Download
from imagegen_magic.engine.jobs.submission import after_acceptance, with_task_id
from imagegen_magic.engine.jobs.task import Reporter, generated_image, known_seeds, sidecar
from imagegen_magic.engine.net.client import MAX_BYTES, HTTPStatusError, NotTrusted
from imagegen_magic.engine.net.retry import RetryDetails, attempts
from imagegen_magic.engine.net.transport import NotSent, OutcomeUnknown
from imagegen_magic.engine.storage import source_copies, spool, stores
from imagegen_magic.engine.storage.images import Saved
from imagegen_magic.engine.storage.parts import Part
from imagegen_magic.engine.storage.stores import Store, open_store
from imagegen_magic.engine.storage.unreadable import is_answer, suffix_of
from imagegen_magic.errors import APIError, DownloadError, ImageGenError, ImageInvalid, LedgerError
from imagegen_magic.paths import Location
from imagegen_magic.providers.base import Succeeded, TaskState
from imagegen_magic.records import PortableError
from imagegen_magic.result import Cost, file_fields

if TYPE_CHECKING:
    from pathlib import Path

    from imagegen_magic.imaging.preview import Preview
    from imagegen_magic.imaging.verify import ImageInfo

T = TypeVar("T")

_NETWORK_ATTEMPTS = 4  # to fetch an image over a bad network
_BUSY_ATTEMPTS = 8  # to fetch it from a file host that asks to wait
_PAUSE = 0.5  # seconds until what cannot be read is fetched again
_COPIES = 3  # times that what cannot be read is fetched


class Verified(NamedTuple):
    """An image that is verified and on the disk."""

    info: ImageInfo
    preview: Preview | None
    saved: Saved
    mismatches: tuple[str, ...]


class Unreadable(NamedTuple):
    """A file that came in place of an image: the reason, its path (None: it was empty), and whether it is `settled`.

    An `answer` is a page or message, and is never settled.
    """

    reason: str
    path: Location | None
    answer: bool
    settled: bool


class Unavailable(PortableError):
    """Not available at the moment, to be fetched again; `pause` is the Retry-After value in seconds."""

    def __init__(self, what: str, pause: float | None = None) -> None:
        super().__init__(what)
        self.pause = pause


def expired_again(error: HTTPStatusError) -> DownloadError:
    """Return the error of an image whose renewed address has expired too."""
    return DownloadError(f"The picture's address has expired, and so has the new one ({error})", blame="gateway")


class ImageDownloader:
    """Brings the images of one task to disk; its owner sets `deadline` (engine clock, monotonic) and calls `run` once."""

    def __init__(self, context: EngineContext, reporter: Reporter, preview_edge: int | None) -> None:
        self._context, self._reporter, self._preview_edge = context, reporter, preview_edge
        self._after_saving: Callable[[], Awaitable[None]] = _nothing
        self._spec, self._task, self._endpoint = reporter.spec, reporter.task, reporter.spec.endpoint
        self._renewing = asyncio.Lock()
        self._saved: set[int] = set()  # the ledger's ids of images that are on the disk and recorded
        self._saving = 0
        self.deadline = math.inf
        self.last_poll = 0.0  # epoch seconds
        self.unreadable: dict[int, Unreadable] = {}  # settled files by the ledger's id
        self.unreadable_is_final = False  # whether nothing more will come of this task, and some of it cannot be read

    @property
    def saving(self) -> bool:
        """Whether something is being written to disk."""
        return self._saving > 0

    @property
    def complete(self) -> bool:
        """Whether all that the task made is on the disk."""
        return bool(self._task.numbers) and self._task.addresses.keys() <= self._saved

    async def record_addresses(self, state: Succeeded, *, task_id: str = "") -> None:
        """Record the addresses of a finished task, and its id if that is new. Raises LedgerError, and nothing is downloaded then."""
        task = self._task
        costs = (self._endpoint.label_cost(state.cost), self._endpoint.label_cost(task.cost), self._endpoint.label_cost(self._spec.price))
        task.cost = next((cost for cost in costs if cost.amount is not None), Cost())
        task.text = state.text or task.text
        task.kept_until = state.expires_at or self._context.clock.time() + self._endpoint.provider.keeps_seconds
        task.seeds = known_seeds(task, state.seeds) or task.seeds
        try:
            ids = await self._context.ledger.record_result(
                task.row,
                state.image_urls,
                expires_at=state.expires_at,
                cost=task.cost,
                seconds=state.seconds,
                answer=None,
                task_id=task_id,
                seeds=[seed for _, seed in sorted(task.seeds.items())],
                text=task.text,
            )
        except LedgerError as error:
            raise LedgerError(with_task_id(error, task.task_id), charge="yes", hint=error.hint) from error
        # a later poll may name fewer images than are being fetched, and some that are saved
        wanted = {image for image in ids if image in task.addresses or image not in task.numbers}
        task.numbers |= {image: number for number, image in enumerate(ids)}
        task.addresses |= {image: url for image, url in zip(ids, state.image_urls, strict=False) if image in wanted}

    async def run(self, after_saving: Callable[[], Awaitable[None]]) -> None:
        """Bring all images to disk. Raises the first error if some could not be fetched, else ImageInvalid if some cannot be read.

        `after_saving`, a method of the owner, is awaited each time that nothing is being written any longer. It is not kept: a cycle of
        references would keep all that the task had in memory until the garbage collector's next full pass.
        """
        self._reporter.progress("fetching")
        self._after_saving = after_saving
        try:
            outcomes = await asyncio.gather(*map(self._download, list(self._task.addresses)), return_exceptions=True)
        finally:
            self._after_saving = _nothing
        errors = [outcome for outcome in outcomes if outcome is not None]
        unreadable = self.unreadable_error()
        if errors:
            self._reporter.side_errors += [unreadable] if unreadable else []
            raise errors[0]
        if unreadable:
            self.unreadable_is_final = True
            raise unreadable

    def unreadable_error(self) -> ImageInvalid | None:
        """Return the error that names each file that cannot be read, with the reason; None if there is none."""
        if not self.unreadable:
            return None
        files = "; ".join(f"{each.path} ({each.reason})" for each in self.unreadable.values())
        one = len(self.unreadable) == 1
        them = "it" if one else "them"
        return ImageInvalid(
            f"{'The picture' if one else f'{len(self.unreadable)} pictures'} came and cannot be read here: kept as {files}",
            hint=f"open {them} with another program; %imagegen resume {self._task.row} fetches {them} again",
        )

    async def _download(self, image: int) -> None:
        """Bring one image to disk; what cannot be read is fetched again, until the same bytes came twice."""
        if self._task.resumed and await self._uninterrupted(self._find_saved(image)):
            return
        doubt: ImageInvalid | None = None
        for copy in range(1, _COPIES + 1):
            try:
                url, download = await self._fetch(image, pause=0.0 if doubt is None else _PAUSE)
            except (ImageGenError, TimeoutError):
                if doubt is not None:
                    raise doubt from None
                raise
            unreadable = await self._uninterrupted(self._store(image, url, download))
            if unreadable is None:
                return
            doubt = self._doubt(unreadable)
            if unreadable.answer and copy > 1:
                break
        if doubt is not None:
            raise doubt

    def _doubt(self, file: Unreadable) -> ImageInvalid:
        """Return the error of a file that may not be what the gateway has."""
        kept = f"; the {'answer' if file.answer else 'file'} is kept as {file.path}" if file.path else ""
        what = f"What came is no picture that can be read here ({file.reason}){kept}"
        hint = "%imagegen resume asks again, without paying again"
        return ImageInvalid(what, hint=hint, rows=(self._task.row,))

    async def _uninterrupted(self, saving: Awaitable[T]) -> T:
        """Await a save that neither the deadline nor a cancellation interrupts."""

        after_saving = self._after_saving

        async def counted() -> T:
            self._saving += 1
            try:
                return await saving
            finally:
                self._saving -= 1
                if not self._saving:
                    await after_saving()

        return await loop.uninterrupted(counted())

    # fetching

    async def _fetch(self, image: int, *, pause: float) -> tuple[str, Download]:
        """Return the address and answer of an image, retried until the deadline. Raises DownloadError or TimeoutError."""
        return await self._persistently(lambda: self._fetch_once(image), pause)

    async def _persistently(self, call: Callable[[], Awaitable[T]], pause: float = 0.0) -> T:
        """Return what a call returns, retried until the deadline; the first one after a pause. Raises DownloadError or TimeoutError."""
        obstacles: list[Unavailable] = []
        clock = self._context.clock
        try:
            async with clock.timeout_at(self.deadline):
                await clock.sleep(pause)
                return await attempts(
                    call,
                    (NotSent, OutcomeUnknown, Unavailable),
                    is_enough=self._is_enough,
                    before_pause=partial(self._report_pause, obstacles),
                    clock=clock,
                )
        except (NotSent, OutcomeUnknown) as error:
            raise DownloadError(f"The picture was made but could not be fetched ({error})") from None
        except (Unavailable, TimeoutError) as error:
            if isinstance(error, TimeoutError) and not obstacles:
                raise
            obstacle = error if isinstance(error, Unavailable) else obstacles[-1]
            what = f"The picture was made, and its file host does not give it out just now ({obstacle})"
            raise DownloadError(what, blame="gateway") from None

    def _is_enough(self, failed: RetryDetails) -> bool:
        if not isinstance(failed.error, Unavailable):
            return failed.attempt >= _NETWORK_ATTEMPTS
        return failed.attempt >= _BUSY_ATTEMPTS or self._context.clock.monotonic() + failed.retry_after > self.deadline

    def _report_pause(self, obstacles: list[Unavailable], failed: RetryDetails) -> None:
        if isinstance(failed.error, Unavailable):
            obstacles.append(failed.error)
            self._reporter.progress("fetching", f"{failed.error}, again in {math.ceil(failed.pause) or 1} s")

    async def _fetch_once(self, image: int) -> tuple[str, Download]:
        """Return the address and answer of an image; an address that is gone, or answers with a page, is requested again."""
        url = self._task.addresses.get(image, "")
        try:
            download = await self._answer_of(url)
        except HTTPStatusError as error:
            return await self._fetch_renewed(await self._renew_expired(image, url, error))
        except NotTrusted as error:
            if not self._task.resumed:  # the gateway has just named it
                raise
            return await self._fetch_renewed(await self._renew(image, url, error, "the address is not allowed, requesting a new one"))
        if not is_answer(download.part.head):
            return url, download
        try:
            same = DownloadError("The picture's address answers with a page or a message", blame="gateway")
            renewed = await self._renew(image, url, same, "the address answers with a page or a message, requesting a new one")
        except DownloadError:
            return url, download
        except BaseException:
            download.close()
            raise
        download.close()
        return await self._fetch_renewed(renewed)

    async def _fetch_renewed(self, url: str) -> tuple[str, Download]:
        try:
            return url, await self._answer_of(url)
        except HTTPStatusError as error:
            raise expired_again(error) from None

    @property
    def _arrival_folder(self) -> Path:
        return stores.arrival_folder(self._spec.save_dir, self._context.home)

    async def _answer_of(self, url: str) -> Download:
        """Return the answer of an address. Raises HTTPStatusError if it is gone, Unavailable if it may be available later."""
        try:
            kept_until = self._task.kept_until
            return await self._context.fetcher.fetch(url, self._endpoint.base_url, self._arrival_folder, kept_until=kept_until)
        except HTTPStatusError as error:
            if error.temporary:
                raise Unavailable(f"the file host answered {error.status}", error.retry_after) from None
            raise

    async def _renew_expired(self, image: int, url: str, error: HTTPStatusError) -> str:
        """Return a new address of an image whose address has expired. Raises DownloadError."""
        gone = DownloadError(f"The picture's address has expired ({error}), and the service gives no new one", blame="gateway")
        return await self._renew(image, url, gone, "the address had expired, requesting a new one")

    async def _renew(self, image: int, url: str, failure: DownloadError, note: str) -> str:
        """Return a new address of an image; raises `failure` if the gateway names the same again, or keeps nothing to ask for."""
        if self._endpoint.provider.synchronous:
            raise failure
        async with self._renewing:
            if self._task.addresses.get(image, url) == url:
                self._reporter.progress("fetching", note)
                state = await self._poll_again()
                if isinstance(state, Succeeded):
                    await self.record_addresses(state)
        renewed = self._task.addresses.get(image, url)
        if renewed == url:
            raise failure
        return renewed

    async def _poll_again(self) -> TaskState:
        try:
            return await self._context.poller(self._endpoint).poll_once(self._task.task_id, last_poll=self.last_poll)
        except APIError as error:
            if error.status >= 500 or error.status == 429:
                raise Unavailable(f"{self._endpoint.provider.title} answers {error.status}") from None
            if not error.refused:  # an answer that cannot be read, as of a page in between
                raise Unavailable(error.what) from None
            raise after_acceptance(error) from None
        finally:
            self.last_poll = self._context.clock.time()

    # verifying, saving and recording

    async def _store(self, image: int, url: str, download: Download) -> Unreadable | None:
        """Verify and save an answer, then record it; return it if it cannot be read and is to be fetched again."""
        try:
            outcome = await threads.saving(self._verify_and_save, download, self._number(image))
        finally:
            download.close()
        if isinstance(outcome, Verified):
            await self._record_and_emit(image, url, outcome)
            return None
        if not outcome.settled:
            return outcome
        await self._settle(image, outcome)
        return None

    @property
    def _stem(self) -> str:
        """The name of its files, without number and suffix."""
        return self._spec.filename_stem

    @property
    def _worker_stem(self) -> str:
        """The name of its files with workers: it is the same on every try, and no other task's, so that none is saved twice."""
        stem, row = self._spec.filename_stem, f"-{self._task.row}"
        return stem if stem.endswith(row) else stem + row

    def _number(self, image: int) -> int:
        return self._task.first + self._task.numbers[image]

    def _verify_and_save(self, download: Download, number: int) -> Verified | Unreadable:
        part, spec = download.part, self._spec
        if part.size > MAX_BYTES:
            reason = f"it has {part.size / 2**20:.0f} MiB, more than the {MAX_BYTES // 2**20} MiB that are read"
            return self._keep_unreadable(download, number, reason, certain=True)
        try:
            info, preview = _verify(part.content(), self._preview_edge)
        except ImageInvalid as error:
            return self._keep_unreadable(download, number, error.what[:1].lower() + error.what[1:])
        store = open_store(spec.save_dir)
        verified = self._save(store, part, self._stem, number, info, preview)
        store.remove_unsettled(self._stem, number, self._task.task_id)
        return verified

    def _save(self, store: Store, data: bytes | Part, stem: str, number: int, info: ImageInfo, preview: Preview | None) -> Verified:
        facts, different = {"width": info.width, "height": info.height, "mime_type": info.mime_type}, self._mismatches(info)
        notes = sidecar(self._spec, self._task, number, facts, different)
        return Verified(info, preview, store.save(data, stem, number, info.suffix, notes), different)

    def _keep_unreadable(self, download: Download, number: int, reason: str, *, certain: bool = False) -> Unreadable:
        part, spec = download.part, self._spec
        if not part.size:
            return Unreadable(reason, None, answer=True, settled=False)
        suffix, answer = suffix_of(part.head, download.content_type), not download.final and is_answer(part.head)
        notes = sidecar(spec, self._task, number, {}, ()) | {"reason": reason, "size": part.size, "content_type": download.content_type}
        path, settled = open_store(spec.save_dir).keep_unreadable(
            part, self._stem, number, suffix, notes, certain=certain or download.final, answer=answer
        )
        return Unreadable(reason, path, answer=answer, settled=settled)

    def _mismatches(self, info: ImageInfo) -> tuple[str, ...]:
        return mismatches(self._spec.expected, self._spec.request.size or "", info) + self._missing()

    def _missing(self) -> tuple[str, ...]:
        asked, got = self._task.count, len(self._task.numbers)
        return () if got == asked else (f"asked {asked} pictures, got {got}",)

    async def _settle(self, image: int, file: Unreadable) -> None:
        """Record that an image came as a file that cannot be read; only a request for this task fetches it again."""
        self.unreadable[image] = file
        self._saved.add(image)
        try:
            await self._context.ledger.record_unreadable(image, path=str(file.path), error=self.unreadable_error() or self._doubt(file))
        except LedgerError as error:  # the file is on the disk, and the ledger records it as soon as it can
            self._reporter.ledger_error(error)

    async def _find_saved(self, image: int) -> bool:
        """Record an image that a killed process had saved before the ledger knew; False if there is none."""
        folders = [self._spec.save_dir, *self._spec.extra_folders]
        with contextlib.suppress(LedgerError):  # it only names further folders
            folders += await self._context.ledger.extra_folders(self._task.row)
        outcome = await threads.saving(self._verify_saved, folders, self._number(image))
        if outcome is None:
            return False
        await self._record_and_emit(image, self._task.addresses.get(image, ""), outcome)
        return True

    def _verify_saved(self, folders: Sequence[Location], number: int) -> Verified | None:
        task_id = self._task.task_id
        found = list({store.location: store for store in map(open_store, folders)}.values())
        for store, stem in itertools.product(found, (self._spec.filename_stem, self._worker_stem)):
            if path := store.saved_before(stem, number, task_id):
                with contextlib.suppress(OSError, ImageInvalid):
                    data = path.read_bytes()
                    info, preview = _verify(data, self._preview_edge)
                    for each in found:
                        each.remove_unsettled(stem, number, task_id)
                    saved = Saved(path, hashlib.sha256(data).hexdigest(), len(data), path.with_suffix(".json"))
                    return Verified(info, preview, saved, self._mismatches(info))
        over = self._task.kept_until <= self._context.clock.time()  # until then, if it is known, it comes again and gets its sidecar
        choices = itertools.product(found, (self._spec.filename_stem, self._worker_stem)) if over else ()
        return next(filter(None, (self._verify_undescribed(store, stem, number) for store, stem in choices)), None)

    def _verify_undescribed(self, store: Store, stem: str, number: int) -> Verified | None:
        """Describe and return a picture that is as requested, which a process saved and was killed before it wrote the sidecar."""
        with contextlib.suppress(OSError, ImageInvalid):
            if path := store.saved_without_sidecar(stem, number):
                data = path.read_bytes()
                info, preview = _verify(data, self._preview_edge)
                return None if self._mismatches(info) else self._save(store, data, stem, number, info, preview)
        return None

    async def _record_and_emit(self, image: int, url: str, outcome: Verified) -> None:
        info, preview, saved, different = outcome
        facts: dict[str, Any] = {"width": info.width, "height": info.height, "mime_type": info.mime_type, "differences": different}
        try:
            found = checks(self._spec.expected, info)
            await self._context.ledger.record_saved(image, path=saved.path, sha256=saved.sha256, size=saved.size, checks=found, **facts)
        except LedgerError as error:  # the image is on the disk, and the ledger records it as soon as it can
            self._reporter.ledger_error(error)
        self._saved.add(image)
        url = "" if url.startswith(("data:", spool.SCHEME)) else url
        seed = self._task.seeds.get(self._task.numbers[image])
        result = generated_image(self._spec, self._task, id=image, **file_fields(saved.path), url=url, preview=preview, seed=seed, **facts)
        if self._spec.protected is not None:
            result = replace(result, drift=await self._drift(image, saved.path, *self._spec.protected))
        self._reporter.emit(result)

    async def _drift(self, image: int, path: Location, before: str, mask: str) -> tuple[float, float] | None:
        """Return and record how much of what the mask protects was changed; None if that cannot be computed."""
        try:
            found = await threads.saving(lambda: source_copies.drift(self._context.home, path.read_bytes(), before, mask))
        except Exception:  # the image is saved and is shown, whatever a decoder or the disk raises
            return None
        if found is not None:
            with contextlib.suppress(LedgerError):  # the figure can be computed again
                await self._context.ledger.record_drift(image, *found)
        return found


def _verify(content: bytes, preview_edge: int | None) -> tuple[ImageInfo, Preview | None]:
    """Return what is known of an image, and its preview. Raises ImageInvalid for whatever no decoder can read."""
    from imagegen_magic.imaging.verify import verify  # imports Pillow, while or after the gateway works

    try:
        return verify(content, preview_edge=preview_edge)
    except ImageInvalid:
        raise
    except Exception as error:  # untrusted bytes in any decoder: the file is kept, whatever the decoder raises
        raise ImageInvalid(f"The decoder fails at it ({type(error).__name__}: {str(error)[:100]})") from error


async def _nothing() -> None:
    """Do nothing after a save."""
