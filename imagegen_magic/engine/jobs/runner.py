"""One task's way home: submit, wait, fetch, verify, save; each step in the ledger before the next one begins."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import hashlib
import importlib
import math
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from tenacity import RetryCallState, retry_if_exception_type, wait_random_exponential

from imagegen_magic import __version__
from imagegen_magic.engine import loop, threads
from imagegen_magic.engine.clock import CLOCK
from imagegen_magic.engine.conformance import differences
from imagegen_magic.engine.context import DurationHistory, EngineContext
from imagegen_magic.engine.endpoints import Endpoint
from imagegen_magic.engine.jobs.download import Download
from imagegen_magic.engine.jobs.submission import RetryableRefusal, after_acceptance, forgotten, read_submission, several
from imagegen_magic.engine.ledger.claims import Claims
from imagegen_magic.engine.net.client import MOST_BYTES, HTTPStatusError, NotTrusted
from imagegen_magic.engine.net.exchange import Lost, NotSent, ProxyFailed
from imagegen_magic.engine.net.retry import repeat
from imagegen_magic.engine.settings import Settings, load
from imagegen_magic.engine.storage import images
from imagegen_magic.engine.storage.unreadable import is_answer, suffix_of
from imagegen_magic.errors import (
    APIError,
    DownloadError,
    GatewayUnreachable,
    ImageGenError,
    ImageInvalid,
    LedgerError,
    NotFound,
    PictureMissing,
    ReferenceUnreachable,
    SubmissionUnknown,
    TaskTimeout,
    WaitingStopped,
)
from imagegen_magic.notebook_folder import followed
from imagegen_magic.providers.base import Call, Failed, Pending, Succeeded, TaskState
from imagegen_magic.records import PortableError, ProcessBound
from imagegen_magic.request import ImageRequest, LocalPicture
from imagegen_magic.result import Cost, GeneratedImage, Progress, Stage
from imagegen_magic.secret_patterns import bare

if TYPE_CHECKING:
    from imagegen_magic.imaging.preview import Preview
    from imagegen_magic.imaging.verify import ImageInfo

T = TypeVar("T")

_KNOCKS = 5  # tries to reach a gateway that cannot be connected to
_FETCHES = 4  # tries to download a picture over a bad network
_ASKED_TO_WAIT = 8  # tries where a file host says that it cannot just now
_AGAIN = 0.5  # seconds until what cannot be read is fetched again
_COPIES = 3  # times that what cannot be read is fetched: the same bytes twice are the gateway's own
_FORGOTTEN = 3 * 86400  # seconds after which "no such task" is believed for good
_backoff = wait_random_exponential(multiplier=0.5, max=20)


class TaskSpec(NamedTuple):
    """What the tasks of one request have in common.

    `expected` holds pixels, mime_type and alpha as the plan promised them; `price` is the estimate for one task; `earlier` is the
    latest picture (id, epoch seconds) that was asked for in the very same way; `protected` are the contents (SHA-256) of the picture
    to be changed and of its mask, where both are known; `uploads` are the pictures that were brought to the gateway for it.
    """

    job: int
    request: ImageRequest
    asked: Mapping[str, Any]
    model: str
    expected: Mapping[str, Any]
    size_asked: str
    price: Cost
    save_dir: Path
    stem: str
    tasks: int
    timeout: float
    submits_at_once: int = 8
    submit_timeout: float = 120.0
    preview_edge: int | None = None
    earlier: tuple[int, float] | None = None
    protected: tuple[str, str] | None = None
    uploads: tuple[LocalPicture, ...] = ()
    settings: Settings | None = None
    elsewhere: tuple[Path, ...] = ()  # folders where its pictures may be already, saved by a process that was killed


@dataclass(slots=True)
class RunningTask:
    """One task as it goes: its ledger row, what is sent, and what is known so far.

    `first` is the number of its first picture within the request, from 1.
    """

    row: int
    position: int
    first: int
    pictures: int
    sent: Mapping[str, Any]
    idempotency_key: str
    task_id: str = ""
    submitted: float = field(default_factory=CLOCK.time)
    cost: Cost = Cost()
    seconds: float | None = None
    addresses: dict[int, str] = field(default_factory=dict)  # ledger's picture id -> address, not yet saved
    numbers: dict[int, int] = field(default_factory=dict)  # ledger's picture id -> number within the task, from 0
    resumed: bool = False


class Verified(NamedTuple):
    """A picture that is verified and on the disk."""

    facts: ImageInfo
    preview: Preview | None
    saved: images.Saved
    unlike: tuple[str, ...]


class Unread(NamedTuple):
    """What came and is no picture that can be read: why, where it is kept (None: nothing came), and whether it is `settled`.

    An `answer` is a page or message in the picture's place, and is never settled.
    """

    reason: str
    path: Path | None
    answer: bool
    settled: bool


class _NotNow(PortableError):
    """Not there at the moment: to be asked for again; `pause` is the host's wish in seconds."""

    def __init__(self, what: str, pause: float | None = None) -> None:
        super().__init__(what)
        self.pause = pause


class TaskRunner(ProcessBound):
    """Carries one task home; the owner calls `carry()` once.

    `tell` hears of every step; `claims` has the task until it has come to an end here; `hopeless` returns the error that makes submitting
    pointless, if there is one by now.
    """

    def __init__(
        self,
        session: EngineContext,
        gateway: Endpoint,
        order: TaskSpec,
        task: RunningTask,
        history: DurationHistory,
        tell: Callable[[Progress | GeneratedImage], None],
        claims: Claims,
        hopeless: Callable[[], ImageGenError | None] = lambda: None,
    ) -> None:
        self.task, self.order = task, order
        self._claims, self._hopeless = claims, hopeless
        self._session, self.gateway, self._history, self._tell_it = session, gateway, history, tell
        self._ledger, self._clock = session.ledger, session.clock
        self._asking_anew = asyncio.Lock()
        self.sent = bool(task.task_id)  # whether the gateway may know of this task
        self.over = False  # whether the ledger knows that nothing more will come of it
        self.finished = False  # whether it has come to any end of its own: saved, failed, left
        self.abandoned = False  # whether nobody waits for it any more, though its submission may be on the wire
        self._renewed = False  # whether its pictures were uploaded a second time
        self._looked = 0.0  # when the gateway was last asked about it, in epoch seconds
        self._trouble = ""  # what is to be told of its submission
        self.beside: list[ImageGenError] = []  # what went wrong and held nothing up
        self._error: ImageGenError | None = None
        self._patience = math.inf  # when our patience ends, by the engine's monotonic clock
        self._saved: set[int] = set()  # the ledger's pictures that are on the disk, and were told
        self._unread: dict[int, Unread] = {}  # those that came as files which cannot be read
        self._saving = 0  # how many are being verified and saved just now

    @property
    def saving(self) -> bool:
        """Whether something of it is being written to disk."""
        return self._saving > 0

    def tell(self, stage: Stage, note: str = "", *, fraction: float | None = None, error: ImageGenError | None = None) -> None:
        """Say where this task stands."""
        task = self.task
        self._tell_it(
            Progress(stage, task.position, self.order.tasks, task.row, task.submitted, fraction, self._history.usual(), note, error)
        )

    async def carry(self) -> None:
        """Bring the task's pictures to disk. Raises the error that ended it; the ledger already knows."""
        if not self.task.task_id:
            await self._submit()
        self._patience = self._clock.monotonic() + self.order.timeout
        try:
            if not self.task.addresses:
                async with self._clock.timeout_at(self._patience):
                    await self._wait()
            await self._fetch_all()
        except TimeoutError as error:
            if isinstance(error, ImageGenError):
                raise
            what = f"{self.gateway.provider.title} was not finished after {self.order.timeout:.0f} s"
            if self.task.addresses:
                what = f"The picture was made, and was not fetched within {self.order.timeout:.0f} s"
            raise TaskTimeout(what) from None
        except asyncio.CancelledError:
            if self._is_home():  # it was stopped while the last of it was saved, which nothing stops
                self.beside += [unread] if (unread := self._unread_error()) else []
                self._come_home()
            raise
        self._come_home()

    def _is_home(self) -> bool:
        return bool(self.task.numbers) and not self._missing_pictures()

    def _missing_pictures(self) -> list[int]:
        return [picture for picture in self.task.addresses if picture not in self._saved]

    def _come_home(self) -> None:
        self.finished = True
        self._claims.release(self.task.row)
        self.tell("saved")

    @property
    def collectable(self) -> bool:
        """Whether the gateway has, or may yet make, a picture that can be fetched later."""
        return bool(self.task.task_id) and not self.over

    async def end(self, error: ImageGenError) -> None:
        """Put a task that ended in an error where it belongs: collectable, never sent, or nobody knows."""
        self.left(error)
        if self.collectable:
            await self._give_back(str(error))
        elif not self.sent and not self.over:
            await self._note("dropped")
        elif not self.over and not isinstance(error, SubmissionUnknown):
            await self._note("unknown", error=str(error))
        self._claims.release(self.task.row)

    def left(self, error: ImageGenError) -> None:
        """Take note of what ended it here."""
        self.finished, self._error = True, error

    async def _note(self, state: str, **columns: Any) -> None:
        """Record what became of the submission; what cannot be written now the ledger writes later, and the first error is told."""
        with contextlib.suppress(LedgerError):
            await self._ledger.set_state(self.task.row, state, **columns)

    async def _give_back(self, why: str) -> None:
        with contextlib.suppress(LedgerError):
            await self._ledger.release([self.task.row], why)

    @property
    def cost(self) -> Cost | None:
        """What is known of this task's cost; None where it certainly cost nothing."""
        if self.collectable or self._unread:
            return self.task.cost
        return Cost() if self.sent and self._error is not None and self._error.charge != "no" else None

    async def _submit(self) -> None:
        room = self._session.room(self.gateway, self.order.submits_at_once)
        async with room:
            if error := self._hopeless():
                raise error
            self._began = self.task.submitted = self._clock.time()
            self.tell("submitting")
            refused = retry_if_exception_type(RetryableRefusal)
            try:
                await repeat(
                    self._post_whole,
                    retry=refused,
                    wait=self._pause,
                    stop=self._enough,
                    before_sleep=self._say_pause,
                    sleep=self._clock.sleep,
                )
            except RetryableRefusal as refusal:
                await self._fail(refusal.error)
                raise refusal.error from None
        self.tell("waiting", self._trouble)

    def _enough(self, state: RetryCallState) -> bool:
        error = state.outcome.exception() if state.outcome else None
        waited = self._clock.time() - self._began
        if isinstance(error, RetryableRefusal) and isinstance(error.error, GatewayUnreachable):
            return state.attempt_number >= _KNOCKS
        pause = error.pause if isinstance(error, RetryableRefusal) and error.pause else 0.0
        return waited + pause > self.order.timeout

    def _pause(self, state: RetryCallState) -> float:
        error = state.outcome.exception() if state.outcome else None
        wish = error.pause if isinstance(error, RetryableRefusal) else None
        return max(wish or 0.0, float(_backoff(state)))  # a wish of 0 s is no leave to hammer

    def _say_pause(self, state: RetryCallState) -> None:
        error = state.outcome.exception() if state.outcome else None
        pause = state.next_action.sleep if state.next_action else 0.0
        self.tell("submitting", f"{getattr(error, 'note', '')}, again in {math.ceil(pause) or 1} s")

    async def _post_whole(self) -> None:
        await loop.to_the_end(self._post_even_if_left())

    async def _post_even_if_left(self) -> None:
        try:
            await self._post_and_record()
        finally:
            if self.abandoned:  # whoever waited has gone while it was on the wire
                await self._give_back("the waiting was stopped")
                self.finished = True
                self._claims.release(self.task.row)

    async def _post_and_record(self) -> None:
        task = self.task
        await self._ledger.set_state(task.row, "submitting")
        if self.finished or self.abandoned:  # while that was written, which may take long; and it was told already what was sent
            await self._note("dropped")
            raise WaitingStopped("It was left before it was sent", charge="no")
        self.sent = True
        task.submitted = self._clock.time()
        call = Call(task.sent["method"], task.sent["path"], task.sent["json"])
        try:
            answer = await self._session.submit(
                self.gateway, call, task.idempotency_key, at_once=self.order.submits_at_once, timeout=self.order.submit_timeout
            )
            submission = read_submission(self.gateway.provider, answer)
        except NotSent as error:
            await self._back_to_planned()
            raise self._unreachable(error) from None
        except RetryableRefusal:
            await self._back_to_planned()
            raise
        except Lost as error:
            unknown = SubmissionUnknown(f"The request went out to {self.gateway.provider.title}, and no whole answer came back ({error})")
            await self._note("unknown", error=str(unknown))
            raise unknown from None
        except SubmissionUnknown as error:
            await self._note("unknown", error=str(error))
            raise
        except ReferenceUnreachable as error:
            await self._with_new_addresses(error)
            return
        except ImageGenError as error:
            await self._fail(error)
            raise
        task.task_id, task.cost = submission.task_id, self.gateway.money(submission.cost)
        if submission.extra_task_ids:
            self.beside.append(several(self.gateway.provider, task.task_id, submission.extra_task_ids))
            self._trouble = self.beside[-1].what
        told = {"estimated_seconds": submission.estimated_seconds, "answer": answer.content}
        try:
            await self._ledger.set_state(task.row, "submitted", task_id=task.task_id, cost=task.cost, **told)
        except LedgerError as error:  # the picture is paid for: go on with what is in memory; the ledger writes it as soon as it can
            self._trouble = self._named(error)

    async def _with_new_addresses(self, refusal: ReferenceUnreachable) -> None:
        """Submit once more, after the pictures that the gateway could not fetch were uploaded anew; the refusal was certain."""
        from imagegen_magic.engine.uploads import uploader as uploads

        task, sent = self.task, {}
        try:
            if self.order.uploads and not self._renewed:
                self._renewed = True
                self.tell("submitting", "an uploaded picture was gone, uploaded anew")
                sent = await uploads.anew(self._session, self.gateway, task.sent["json"], self.order.uploads, self.order.settings or load())
        except ImageGenError as error:
            await self._fail(error)
            raise
        if not sent or sent == task.sent["json"]:
            await self._fail(refusal)
            raise refusal
        task.sent = {**task.sent, "json": sent}
        task.idempotency_key += "-anew"  # another submission than the one that was refused
        await self._back_to_planned(sent=task.sent)
        await self._post_and_record()

    async def _back_to_planned(self, **columns: Any) -> None:
        self.sent = False
        await self._ledger.set_state(self.task.row, "planned", **columns)

    def _named(self, error: LedgerError) -> str:
        """Return what is wrong with the ledger, with what it does not know: the gateway's support asks for the task's id."""
        return f"{error.what}; the gateway's id of this task is {self.task.task_id}"

    def _unreachable(self, error: NotSent) -> RetryableRefusal:
        title = self.gateway.provider.title
        step = error.hint if isinstance(error, ProxyFailed) else None
        return RetryableRefusal(GatewayUnreachable(f"{title} cannot be reached ({error})", hint=step), f"no connection to {title}")

    async def _wait(self) -> None:
        task = self.task
        lookout = self._session.lookout(self.gateway)
        _load_decoders()
        try:
            state = await lookout.watch(
                task.task_id, submitted=task.submitted, durations=self._history.durations, tell=self._heard, now=task.resumed
            )
        except (APIError, PictureMissing) as error:
            if isinstance(error, (NotFound, PictureMissing)) and self._clock.time() - task.submitted > _FORGOTTEN:
                told = forgotten(error)
                await self._fail(told)
                raise told from None
            raise after_acceptance(error) from None
        self._looked = self._clock.time()
        if isinstance(state, Failed):
            await self._fail(state.error)
            raise state.error
        if state.seconds is not None:
            self._history.learn(state.seconds)
            task.seconds = state.seconds
        await self._record_addresses(state)

    async def _fail(self, error: ImageGenError) -> None:
        self.over = True
        await self._note("failed", error=str(error))

    def _heard(self, state: Pending | None, note: str) -> None:
        self.tell("waiting", note, fraction=state.fraction if state else None)

    async def _record_addresses(self, state: Succeeded) -> None:
        task = self.task
        known = next((self.gateway.money(cost) for cost in (state.cost, task.cost, self.order.price) if cost.amount is not None), Cost())
        task.cost = known
        try:
            ids = await self._ledger.record_result(
                task.row, state.image_urls, expires_at=state.expires_at, cost=known, seconds=state.seconds, answer=None
            )
        except LedgerError as error:
            raise LedgerError(self._named(error), charge="yes", hint=error.hint) from error
        # a later look may name fewer than are on their way, and some that were saved before
        wanted = {picture for picture in ids if picture in task.addresses or picture not in task.numbers}
        task.numbers |= {picture: number for number, picture in enumerate(ids)}
        task.addresses |= {picture: url for picture, url in zip(ids, state.image_urls, strict=False) if picture in wanted}

    async def _fetch_all(self) -> None:
        self.tell("fetching")
        outcomes = await asyncio.gather(*map(self._fetch, list(self.task.addresses)), return_exceptions=True)
        errors = [outcome for outcome in outcomes if outcome is not None]
        unread = self._unread_error()
        if errors:
            self.beside += [unread] if unread else []
            raise errors[0]
        if unread:
            self.over = True
            raise unread

    def _unread_error(self) -> ImageInvalid | None:
        """Return what to say of all that came and cannot be read, each with its file and the reason."""
        if not self._unread:
            return None
        files_and_reasons = "; ".join(f"{each.path} ({each.reason})" for each in self._unread.values())
        one = len(self._unread) == 1
        return ImageInvalid(
            f"{'The picture' if one else f'{len(self._unread)} pictures'} came and cannot be read here: kept as {files_and_reasons}",
            hint=f"open {'it' if one else 'them'} with another program; %imagegen resume {self.task.row} fetches once more",
        )

    async def _fetch(self, picture: int) -> None:
        """Bring one picture home. What cannot be read is fetched again, until the same bytes have come twice: those are the gateway's."""
        if self.task.resumed and await self._in_one_go(self._found(picture)):
            return
        doubt: ImageInvalid | None = None
        for copy in range(1, _COPIES + 1):
            try:
                url, download = await self._download(picture, pause=0.0 if doubt is None else _AGAIN)
            except (ImageGenError, TimeoutError):
                if doubt is not None:
                    raise doubt from None
                raise
            unread = await self._in_one_go(self._keep(picture, url, download))
            if unread is None:
                return
            doubt = self._doubt(unread)
            if unread.answer and copy > 1:
                break
        if doubt is not None:
            raise doubt

    def _doubt(self, unread: Unread) -> ImageInvalid:
        """Return what to say of what came, where that may not be what the gateway has."""
        kept = f"; the {'answer' if unread.answer else 'file'} is kept as {unread.path}" if unread.path else ""
        step = f"%imagegen resume asks again, without paying again; %imagegen forget {self.task.row} gives it up"
        return ImageInvalid(f"What came is no picture that can be read here ({unread.reason}){kept}", hint=step)

    async def _in_one_go(self, saving: Awaitable[T]) -> T:
        """Save what has come: no end of our patience tears that, and when it is stopped it is brought to its end."""

        async def whole() -> T:
            self._saving += 1
            try:
                return await saving
            finally:
                self._saving -= 1
                if self.abandoned and not self._saving:  # whoever waited has gone
                    await self._give_back("the waiting was stopped")
                    self._claims.release(self.task.row)

        return await loop.to_the_end(whole())

    async def _download(self, picture: int, *, pause: float = 0.0) -> tuple[str, Download]:
        """Return a picture's bytes and where they were, as long as our patience lasts. Raises DownloadError or TimeoutError."""
        obstacles: list[_NotNow] = []
        rules = {
            "retry": retry_if_exception_type((Lost, NotSent, _NotNow)),
            "wait": _pause_for,
            "stop": self._enough_fetches,
            "sleep": self._clock.sleep,
        }
        try:
            async with self._clock.timeout_at(self._patience):
                await self._clock.sleep(pause)
                return await repeat(lambda: self._download_once(picture), before_sleep=partial(self._say_not_now, obstacles), **rules)
        except (Lost, NotSent) as error:
            raise DownloadError(f"The picture was made but could not be fetched ({error})") from None
        except (_NotNow, TimeoutError) as error:
            if isinstance(error, TimeoutError) and not obstacles:
                raise
            what = error if isinstance(error, _NotNow) else obstacles[-1]
            told = f"The picture was made, and its file host does not give it out just now ({what})"
            raise DownloadError(told, blame="gateway") from None

    def _enough_fetches(self, state: RetryCallState) -> bool:
        error = state.outcome.exception() if state.outcome else None
        if not isinstance(error, _NotNow):
            return state.attempt_number >= _FETCHES
        late = self._clock.monotonic() + (error.pause or 0.0) > self._patience
        return late or state.attempt_number >= _ASKED_TO_WAIT

    def _say_not_now(self, obstacles: list[_NotNow], state: RetryCallState) -> None:
        error = state.outcome.exception() if state.outcome else None
        pause = state.next_action.sleep if state.next_action else 0.0
        if isinstance(error, _NotNow):
            obstacles.append(error)
            self.tell("fetching", f"{error}, again in {math.ceil(pause) or 1} s")

    async def _download_once(self, picture: int) -> tuple[str, Download]:
        """Return a picture's bytes and where they were; an address that is gone, or answers with something else, is asked for anew."""
        url = self.task.addresses.get(picture, "")
        try:
            download = await self._from(url)
        except HTTPStatusError as error:
            gone = DownloadError(f"The picture's address has expired ({error}), and the gateway gives no new one", blame="gateway")
            return await self._from_renewed(await self._ask_anew(picture, url, gone, "the address had expired, asked anew"))
        except NotTrusted as error:
            if not self.task.resumed:  # the gateway named it just now
                raise
            return await self._from_renewed(await self._ask_anew(picture, url, error, "the address is not allowed, asked anew"))
        if not is_answer(download.part.head):
            return url, download
        try:
            same = DownloadError("The picture's address answers with a page or a message", blame="gateway")
            fresh = await self._ask_anew(picture, url, same, "the address answers with a page or a message, asked anew")
        except DownloadError:
            return url, download
        except BaseException:
            download.close()
            raise
        download.close()
        return await self._from_renewed(fresh)

    async def _from_renewed(self, url: str) -> tuple[str, Download]:
        try:
            return url, await self._from(url)
        except HTTPStatusError as error:
            raise DownloadError(
                f"The picture's address has expired, and so has the one asked for anew ({error})", blame="gateway"
            ) from None

    async def _from(self, url: str) -> Download:
        """Return what an address gives. Raises Refused where it is gone, _NotNow where it may give it later."""
        try:
            return await self._session.downloads.fetch(url, self.gateway.base_url, self.order.save_dir)
        except HTTPStatusError as error:
            if error.temporary:
                raise _NotNow(f"the file host answered {error.status}", error.retry_after) from None
            raise

    async def _ask_anew(self, picture: int, url: str, failure: DownloadError, note: str) -> str:
        """Return a fresh address for a picture whose address is of no use; raises `failure` where the gateway gives the same again."""
        async with self._asking_anew:
            if self.task.addresses.get(picture, url) == url:
                self.tell("fetching", note)
                state = await self._look_anew()
                if isinstance(state, Succeeded):
                    await self._record_addresses(state)
        fresh = self.task.addresses.get(picture, url)
        if fresh == url:
            raise failure
        return fresh

    async def _look_anew(self) -> TaskState:
        try:
            return await self._session.lookout(self.gateway).look_once(self.task.task_id, looked=self._looked)
        except APIError as error:
            if error.status >= 500 or error.status == 429:
                raise _NotNow(f"{self.gateway.provider.title} answers {error.status}") from None
            raise after_acceptance(error) from None
        finally:
            self._looked = self._clock.time()

    async def _keep(self, picture: int, url: str, download: Download) -> Unread | None:
        """Verify and save what came, both in one thread, and then tell the ledger; returns what is to be fetched again, if it is."""
        try:
            number = self.task.first + self.task.numbers[picture]
            outcome = await threads.saving(self._verify_and_save, download, number)
        finally:
            download.close()
        if isinstance(outcome, Verified):
            await self._tell_saved(picture, url, outcome)
            return None
        if not outcome.settled:
            return outcome
        await self._settle(picture, outcome)
        return None

    async def _settle(self, picture: int, unread: Unread) -> None:
        """Write down that a picture came as a file which cannot be read; it is not fetched again by itself."""
        self._unread[picture] = unread
        self._saved.add(picture)
        try:
            await self._ledger.record_unreadable(picture, path=str(unread.path), error=str(self._unread_error()))
        except LedgerError as error:  # the file is on the disk, and the ledger writes it down as soon as it can
            self._say_beside(error)

    async def _found(self, picture: int) -> bool:
        """Take a picture that was saved by a process which was killed before the ledger knew; False where there is none."""
        number = self.task.first + self.task.numbers[picture]
        folders = [self.order.save_dir, *self.order.elsewhere]  # which are followed in the thread
        with contextlib.suppress(LedgerError):  # it says only where else to look
            folders += await self._ledger.extra_folders(self.task.row)
        outcome = await threads.saving(self._verify_found, folders, number)
        if outcome is None:
            return False
        await self._tell_saved(picture, self.task.addresses.get(picture, ""), outcome)
        return True

    def _verify_found(self, folders: Sequence[Path], number: int) -> Verified | None:
        folders = list(dict.fromkeys(map(followed, folders)))
        for folder in folders:
            if path := images.saved_before(folder, self.order.stem, number, self.task.task_id):
                with contextlib.suppress(OSError, ImageInvalid):
                    data = path.read_bytes()
                    facts, preview = _verified(data, self.order.preview_edge)
                    saved = images.Saved(path, hashlib.sha256(data).hexdigest(), len(data), path.with_suffix(".json"))
                    for each in folders:
                        images.drop_doubts(each, self.order.stem, number, self.task.task_id)
                    return Verified(facts, preview, saved, self._unlike(facts))
        return None

    async def _tell_saved(self, picture: int, url: str, outcome: Verified) -> None:
        facts, preview, saved, unlike = outcome
        await self._record_saved(picture, facts, saved, unlike)
        self._saved.add(picture)
        image = self._image(picture, url, facts, preview, saved.path, unlike)
        if self.order.protected is not None:
            image = replace(image, drift=await self._drift(picture, saved.path, *self.order.protected))
        self._tell_it(image)

    async def _record_saved(self, picture: int, facts: ImageInfo, saved: images.Saved, unlike: tuple[str, ...]) -> None:
        try:
            await self._ledger.record_saved(
                picture,
                path=saved.path,
                sha256=saved.sha256,
                size=saved.size,
                width=facts.width,
                height=facts.height,
                mime_type=facts.mime_type,
                differences=unlike,
            )
        except LedgerError as error:  # the picture is on the disk, and the ledger writes it down as soon as it can
            self._say_beside(error)

    def _say_beside(self, error: LedgerError) -> None:
        if not any(isinstance(each, LedgerError) for each in self.beside):
            self.beside.append(error)

    async def _drift(self, picture: int, path: Path, before: str, mask: str) -> tuple[float, float] | None:
        """Return how much of what the mask protects was changed, and keep it; None where that cannot be found out."""
        from imagegen_magic.engine.storage import drift

        try:
            found = await threads.saving(lambda: drift.drift(self._session.home, path.read_bytes(), before, mask))
        except Exception:  # the picture is safe and is to be shown, whatever a decoder or the disk makes of the figure
            return None
        if found is not None:
            with contextlib.suppress(LedgerError):  # the picture is safe, and a figure can be computed again
                await self._ledger.record_drift(picture, *found)
        return found

    def _verify_and_save(self, download: Download, number: int) -> Verified | Unread:
        part, order = download.part, self.order
        if part.size > MOST_BYTES:
            reason = f"it has {part.size / 2**20:.0f} MiB, more than the {MOST_BYTES // 2**20} MiB that are read"
            return self._unreadable(download, number, reason, certain=True)
        try:
            facts, preview = _verified(part.content(), order.preview_edge)
        except ImageInvalid as error:
            return self._unreadable(download, number, error.what[:1].lower() + error.what[1:])
        unlike = self._unlike(facts)
        folder = followed(order.save_dir)
        saved = images.save(part, folder, order.stem, number, facts.suffix, self._sidecar(facts, unlike, number))
        images.drop_doubts(folder, order.stem, number, self.task.task_id)
        return Verified(facts, preview, saved, unlike)

    def _unreadable(self, download: Download, number: int, reason: str, *, certain: bool = False) -> Unread:
        part, order = download.part, self.order
        if not part.size:
            return Unread(reason, None, answer=True, settled=False)
        suffix, answer = suffix_of(part.head, download.content_type), is_answer(part.head)
        sidecar = self._sidecar(None, (), number) | {"reason": reason, "size": part.size, "content_type": download.content_type}
        kept = images.keep(part, followed(order.save_dir), order.stem, number, suffix, sidecar, certain=certain, answer=answer)
        return Unread(reason, kept.path, answer=answer, settled=kept.settled)

    def _unlike(self, facts: ImageInfo) -> tuple[str, ...]:
        return differences(self.order.expected, self.order.size_asked, facts) + self._missing()

    def _missing(self) -> tuple[str, ...]:
        came = len(self.task.numbers)
        return () if came == self.task.pictures else (f"asked {self.task.pictures} pictures, got {came}",)

    def _sidecar(self, facts: ImageInfo | None, unlike: tuple[str, ...], number: int) -> dict[str, Any]:
        task, cost = self.task, self.task.cost.share(len(self.task.numbers))
        sent = task.sent.get("json")  # a newer version may have sent something else
        seen = {} if facts is None else {"width": facts.width, "height": facts.height, "mime_type": facts.mime_type}
        return {
            "prompt": self.order.request.prompt,
            "asked": dict(self.order.asked),
            "sent": bare(dict(sent) if isinstance(sent, Mapping) else {}),  # the ledger has it whole; this file lies beside the picture
            "gateway": self.gateway.provider.name,
            "sandbox": self.gateway.sandbox,
            "model": self.order.model,
            "task_id": task.task_id,
            "number": number,
            **seen,
            "differences": list(unlike),
            "cost": {
                "amount": None if cost.amount is None else str(cost.amount),
                "unit": cost.unit,
                "kind": cost.kind,
                "source": cost.source,
            },
            "submitted": _iso(task.submitted),
            "saved": _iso(self._clock.time()),
            "seconds": task.seconds,
            "made_with": f"imagegen_magic {__version__}",
        }

    def _image(
        self, picture: int, url: str, facts: ImageInfo, preview: Preview | None, path: Path, unlike: tuple[str, ...]
    ) -> GeneratedImage:
        task, order = self.task, self.order
        return GeneratedImage(
            path=path,
            url=url,
            width=facts.width,
            height=facts.height,
            mime_type=facts.mime_type,
            size_asked=order.size_asked,
            request=order.request,
            provider=self.gateway.provider.name,
            model=order.model,
            task_id=task.task_id,
            cost=task.cost.share(len(task.numbers)),
            created=self._clock.time(),
            seconds=task.seconds,
            id=picture,
            task=task.position,
            sandbox=self.gateway.sandbox,
            differences=unlike,
            earlier=order.earlier,
            preview=preview,
        )


def _verified(content: bytes, preview_edge: int | None) -> tuple[ImageInfo, Preview | None]:
    """Return the facts of a picture and its preview. Raises ImageInvalid for what is none, whatever a decoder makes of it."""
    from imagegen_magic.imaging.verify import verify  # and with it Pillow, while or after the gateway works

    try:
        return verify(content, preview_edge=preview_edge)
    except ImageInvalid:
        raise
    except Exception as error:  # anybody's bytes, in any decoder: what came is kept, whatever that stumbles over
        raise ImageInvalid(f"The decoder fails at it ({type(error).__name__}: {str(error)[:100]})") from error


def _pause_for(state: RetryCallState) -> float:
    error = state.outcome.exception() if state.outcome else None
    return max(float(_backoff(state)), (error.pause or 0.0) if isinstance(error, _NotNow) else 0.0)


@functools.cache
def _load_decoders() -> None:
    """Import Pillow beside the first waiting, once."""
    asyncio.get_running_loop().run_in_executor(None, importlib.import_module, "imagegen_magic.imaging.verify")


def _iso(moment: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(moment))
