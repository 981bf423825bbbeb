"""One task's way home: submit, wait, fetch, verify, save; each step in the ledger before the next one begins."""

from __future__ import annotations

import asyncio
import contextlib
import copy
import hashlib
import importlib
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type, wait_random_exponential

from imagegen_magic import __version__
from imagegen_magic.engine import files, loop
from imagegen_magic.engine.differences import differences
from imagegen_magic.engine.gateways import Gateway
from imagegen_magic.engine.http import Answer, Lost, NotSent, Refused
from imagegen_magic.engine.session import History, Session
from imagegen_magic.engine.settings import Settings, load
from imagegen_magic.errors import (
    APIError,
    AuthenticationError,
    ContentRejected,
    DownloadError,
    GatewayUnreachable,
    ImageGenError,
    ImageInvalid,
    InsufficientBalance,
    LedgerError,
    NotFound,
    PictureMissing,
    ReferenceUnreachable,
    SubmissionUnknown,
    TaskTimeout,
)
from imagegen_magic.providers.base import Call, Done, Failed, Submission, TaskState, Waiting
from imagegen_magic.request import ImageRequest, LocalPicture
from imagegen_magic.result import Cost, GeneratedImage, Progress, Stage

if TYPE_CHECKING:
    from imagegen_magic.pictures.preview import Preview
    from imagegen_magic.pictures.verify import Facts

_KNOCKS = 5  # tries to reach a gateway that cannot be connected to
_FETCHES = 4  # tries to download a picture over a bad network
_FORGOTTEN = 3 * 86400  # seconds after which "no such task" is believed for good
_Error = TypeVar("_Error", bound=ImageGenError)
_backoff = wait_random_exponential(multiplier=0.5, max=20)


class _NotAccepted(Exception):
    """Certainly not accepted and worth repeating; `error` is what to say if it stays so."""

    def __init__(self, error: ImageGenError, note: str, pause: float | None = None) -> None:
        super().__init__(note)
        self.error, self.note, self.pause = error, note, pause


@dataclass(frozen=True, slots=True)
class Order:
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


@dataclass(slots=True)
class Task:
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
    submitted: float = field(default_factory=time.time)
    cost: Cost = Cost()
    seconds: float | None = None
    addresses: dict[int, str] = field(default_factory=dict)  # ledger's picture id -> address, not yet saved
    numbers: dict[int, int] = field(default_factory=dict)  # ledger's picture id -> number within the task, from 0
    resumed: bool = False


class Delivery:
    """Carries one task home; the owner calls `carry()` once.

    `tell` hears of every step; `hopeless` returns the error that makes submitting pointless, if there is one by now.
    """

    def __init__(
        self,
        session: Session,
        gateway: Gateway,
        order: Order,
        task: Task,
        history: History,
        tell: Callable[[Progress | GeneratedImage], None],
        hopeless: Callable[[], ImageGenError | None] = lambda: None,
    ) -> None:
        self.task, self.order = task, order
        self._hopeless = hopeless
        self._session, self.gateway, self._history, self._tell_it = session, gateway, history, tell
        self._ledger = session.ledger
        self._asking_anew = asyncio.Lock()
        self.sent = bool(task.task_id)  # whether the gateway may know of this task
        self.over = False  # whether the ledger knows that nothing more will come of it
        self.finished = False  # whether it has come to any end of its own: saved, failed, left
        self.abandoned = False  # whether nobody waits for it any more, though its submission may be on the wire
        self._renewed = False  # whether its pictures were uploaded a second time
        self._recorded = True  # whether the ledger knows what the gateway said to the submission
        self._error: ImageGenError | None = None

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
        try:
            async with asyncio.timeout(self.order.timeout):
                if not self.task.addresses:
                    await self._wait()
                await self._fetch_all()
        except TimeoutError as error:
            if isinstance(error, ImageGenError):
                raise
            raise TaskTimeout(f"{self.gateway.provider.title} was not finished after {self.order.timeout:.0f} s") from None

    @property
    def collectable(self) -> bool:
        """Whether the gateway has, or may yet make, a picture that can be fetched later."""
        return bool(self.task.task_id) and not self.over

    async def release(self, why: str) -> None:
        """Stop waiting; the task stays collectable."""
        await self._ledger.release([self.task.row], why)

    async def drop(self) -> None:
        """Give up a task that was certainly never sent."""
        await self._ledger.mark(self.task.row, "dropped")

    async def end(self, error: ImageGenError) -> None:
        """Put a task that ended in an error where it belongs: collectable, never sent, or nobody knows."""
        self.finished, self._error = True, error
        with contextlib.suppress(LedgerError):  # the error that is told is the first one
            if self.collectable:
                await self.release(str(error))
            elif not self.sent and not self.over:
                await self.drop()
            elif not self.over and not isinstance(error, SubmissionUnknown):
                await self._ledger.mark(self.task.row, "unknown", error=str(error))

    @property
    def cost(self) -> Cost | None:
        """What is known of this task's cost; None where it certainly cost nothing."""
        if self.collectable:
            return self.task.cost
        return Cost() if self.sent and self._error is not None and self._error.charged != "no" else None

    async def _submit(self) -> None:
        room = self._session.room(self.gateway, self.order.submits_at_once)
        async with room:
            if error := self._hopeless():
                raise error
            self._began = self.task.submitted = time.time()
            self.tell("submitting")
            retrying = AsyncRetrying(
                retry=retry_if_exception_type(_NotAccepted), wait=self._pause, stop=self._enough, before_sleep=self._say_pause, reraise=True
            )
            try:
                await retrying(self._post_whole)
            except _NotAccepted as refusal:
                await self._fail(refusal.error)
                raise refusal.error from None
        self.tell("waiting")

    def _enough(self, state: RetryCallState) -> bool:
        error = state.outcome.exception() if state.outcome else None
        waited = time.time() - self._began
        if isinstance(error, _NotAccepted) and isinstance(error.error, GatewayUnreachable):
            return state.attempt_number >= _KNOCKS
        pause = error.pause if isinstance(error, _NotAccepted) and error.pause else 0.0
        return waited + pause > self.order.timeout

    def _pause(self, state: RetryCallState) -> float:
        error = state.outcome.exception() if state.outcome else None
        wish = error.pause if isinstance(error, _NotAccepted) else None
        return max(wish or 0.0, float(_backoff(state)))  # a wish of 0 s is no leave to hammer

    def _say_pause(self, state: RetryCallState) -> None:
        error = state.outcome.exception() if state.outcome else None
        pause = state.next_action.sleep if state.next_action else 0.0
        self.tell("submitting", f"{getattr(error, 'note', '')}, again in {pause:.0f} s")

    async def _post_whole(self) -> None:
        await loop.to_the_end(self._post_and_record())

    async def _post_and_record(self) -> None:
        task, ledger = self.task, self._ledger
        await ledger.mark(task.row, "submitting")
        self.sent = True
        task.submitted = time.time()
        call = Call(task.sent["method"], task.sent["path"], task.sent["json"])
        try:
            answer = await self._session.submit(
                self.gateway, call, task.idempotency_key, at_once=self.order.submits_at_once, timeout=self.order.submit_timeout
            )
            submission = self._read(answer)
        except NotSent as error:
            await self._back_to_planned()
            raise self._unreachable(error) from None
        except _NotAccepted:
            await self._back_to_planned()
            raise
        except Lost as error:
            unknown = SubmissionUnknown(f"The connection to {self.gateway.provider.title} broke after sending ({error})")
            await ledger.mark(task.row, "unknown", error=str(unknown))
            raise unknown from None
        except SubmissionUnknown as error:
            await ledger.mark(task.row, "unknown", error=str(error))
            raise
        except ReferenceUnreachable as error:
            await self._with_new_addresses(error)
            return
        except ImageGenError as error:
            await self._fail(error)
            raise
        task.task_id, task.cost = submission.task_id, self.gateway.money(submission.cost)
        self._accepted = (submission, answer)
        try:
            await self._record_acceptance()
        except LedgerError as error:  # the picture is paid for: go on with what is in memory, and try again when it is made
            self._recorded = False
            self.tell("waiting", f"{error.what}; the gateway's id of this task is {task.task_id}")
        if self.abandoned:
            await self.release("the waiting was stopped")

    async def _with_new_addresses(self, refusal: ReferenceUnreachable) -> None:
        """Submit once more, after the pictures that the gateway could not fetch were uploaded anew; the refusal was certain."""
        from imagegen_magic.engine import uploads

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
        await self._ledger.mark(task.row, "planned", sent=task.sent)
        self.sent = False
        await self._post_and_record()

    async def _record_acceptance(self) -> None:
        task, (submission, answer) = self.task, self._accepted
        try:
            await self._ledger.mark(
                task.row,
                "submitted",
                task_id=task.task_id,
                cost=task.cost,
                estimated_seconds=submission.estimated_seconds,
                answer=answer.content,
            )
        except LedgerError as error:
            raise LedgerError(
                f"{error.what}; the gateway's id of this task is {task.task_id}", charged="yes", next_step=error.next_step
            ) from error
        self._recorded = True

    async def _back_to_planned(self) -> None:
        await self._ledger.mark(self.task.row, "planned")
        self.sent = False

    def _unreachable(self, error: NotSent) -> _NotAccepted:
        title = self.gateway.provider.title
        return _NotAccepted(GatewayUnreachable(f"{title} cannot be reached ({error})"), f"no connection to {title}")

    def _read(self, answer: Answer) -> Submission:
        """Read a submission's answer: accepted, certainly refused, to be repeated, or nobody knows."""
        provider = self.gateway.provider
        if answer.status < 300:
            return self._read_accepted(answer)
        if answer.status < 400:
            raise APIError(
                f"{provider.title} answered with a redirect ({answer.status}); the key does not follow it",
                status=answer.status,
                next_step="check the base URL (%imagegen doctor)",
            )
        error = provider.read_error(answer.status, answer.content)
        if isinstance(error, APIError):
            error.request_id = error.request_id or answer.request_id
        if answer.status in (429, 503) and not isinstance(error, (InsufficientBalance, AuthenticationError, ContentRejected)):
            raise _NotAccepted(error, f"{provider.title} asks to wait ({answer.status})", answer.retry_after)
        if isinstance(error, APIError) and (not error.refused or answer.status in (408, 409)):
            raise self._unknown(error)
        raise error

    def _read_accepted(self, answer: Answer) -> Submission:
        try:
            return self.gateway.provider.read_submission(answer.content)
        except APIError as error:  # an outage can stand in a 200 too
            raise error if error.refused else self._unknown(error) from None

    def _unknown(self, error: APIError) -> SubmissionUnknown:
        return SubmissionUnknown(f"{error.what}; whether the task was accepted is not known", whose="gateway")

    async def _wait(self) -> None:
        task = self.task
        lookout = self._session.lookout(self.gateway)
        asyncio.get_running_loop().run_in_executor(None, importlib.import_module, "imagegen_magic.pictures.verify")
        try:
            state = await lookout.watch(
                task.task_id, submitted=task.submitted, durations=self._history.durations, tell=self._heard, now=task.resumed
            )
        except (APIError, PictureMissing) as error:
            if isinstance(error, (NotFound, PictureMissing)) and time.time() - task.submitted > _FORGOTTEN:
                await self._fail(error)
                raise
            raise _after_acceptance(error) from None
        if isinstance(state, Failed):
            await self._fail(state.error)
            raise state.error
        if state.seconds is not None:
            self._history.learn(state.seconds)
            task.seconds = state.seconds
        await self._record_addresses(state)

    async def _fail(self, error: ImageGenError) -> None:
        self.over = True
        await self._ledger.mark(self.task.row, "failed", error=str(error))

    def _heard(self, state: Waiting | None, note: str) -> None:
        self.tell("waiting", note, fraction=state.fraction if state else None)

    async def _record_addresses(self, state: Done) -> None:
        task = self.task
        if not self._recorded:
            await self._record_acceptance()
        known = next((self.gateway.money(cost) for cost in (state.cost, task.cost, self.order.price) if cost.amount is not None), Cost())
        task.cost = known
        ids = await self._ledger.made(task.row, state.pictures, expires_at=state.expires_at, cost=known, seconds=state.seconds, answer=None)
        task.numbers = {picture: number for number, picture in enumerate(ids)}
        task.addresses = dict(zip(ids, state.pictures, strict=False))

    async def _fetch_all(self) -> None:
        self.tell("fetching")
        fetched = await asyncio.gather(*map(self._fetch, list(self.task.addresses)), return_exceptions=True)
        for outcome in fetched:
            if outcome is not None:
                raise outcome
        self.tell("saved")

    async def _fetch(self, picture: int) -> None:
        retrying = AsyncRetrying(
            retry=retry_if_exception_type((Lost, NotSent, ImageInvalid)), wait=_backoff, stop=_enough_fetches, reraise=True
        )
        try:
            await retrying(self._fetch_once, picture)
        except (Lost, NotSent) as error:
            raise DownloadError(f"The picture was made but could not be fetched ({error})") from None

    async def _fetch_once(self, picture: int) -> None:
        url = self.task.addresses.get(picture, "")
        try:
            content = await self._session.clients.download(url, self.gateway.base_url)
        except Refused as error:
            if error.status >= 500 or error.status == 429:
                raise Lost(f"the file host answered {error.status}") from None
            url = await self._ask_anew(picture, url, error)
            content = await self._download_renewed(url)
        await loop.to_the_end(self._keep(picture, url, content))  # what is on disk is told, too

    async def _download_renewed(self, url: str) -> bytes:
        try:
            return await self._session.clients.download(url, self.gateway.base_url)
        except Refused as error:
            raise DownloadError(
                f"The picture's address has expired, and so has the one asked for anew ({error})", whose="gateway"
            ) from None

    async def _ask_anew(self, picture: int, url: str, refusal: Refused) -> str:
        """Return a fresh address for a picture whose address is gone."""
        async with self._asking_anew:
            if self.task.addresses.get(picture, url) == url:
                self.tell("fetching", "the address had expired, asked anew")
                state = await self._look_anew()
                if isinstance(state, Done):
                    await self._record_addresses(state)
        fresh = self.task.addresses.get(picture, url)
        if fresh == url:
            raise DownloadError(f"The picture's address has expired ({refusal}), and the gateway gives no new one", whose="gateway")
        return fresh

    async def _look_anew(self) -> TaskState:
        try:
            return await self._session.lookout(self.gateway).look_once(self.task.task_id)
        except APIError as error:
            raise _after_acceptance(error) from None

    async def _keep(self, picture: int, url: str, content: bytes) -> None:
        """Verify and save a picture's bytes, both in one thread, and then tell the ledger."""
        number = self.task.first + self.task.numbers[picture]
        facts, preview, saved, unlike = await asyncio.to_thread(self._verify_and_save, content, number)
        await self._ledger.saved(
            picture,
            path=str(saved.path),
            sha256=saved.sha256,
            size=saved.size,
            width=facts.width,
            height=facts.height,
            mime_type=facts.mime_type,
            differences=unlike,
        )
        image = self._image(picture, url, facts, preview, saved.path, unlike)
        if self.order.protected is not None:
            image = replace(image, drift=await self._drift(picture, content, *self.order.protected))
        self._tell_it(image)

    async def _drift(self, picture: int, content: bytes, before: str, mask: str) -> tuple[float, float] | None:
        """Return how much of what the mask protects was changed, and keep it; None where the pictures it came from are gone."""
        from imagegen_magic.engine.drifting import drift

        found = await asyncio.to_thread(drift, self._session.home, content, before, mask)
        if found is not None:
            with contextlib.suppress(LedgerError):  # the picture is safe, and a figure can be computed again
                await self._ledger.drifted(picture, *found)
        return found

    def _verify_and_save(self, content: bytes, number: int) -> tuple[Facts, Preview | None, files.Saved, tuple[str, ...]]:
        from imagegen_magic.pictures.verify import verify  # and with it Pillow, while or after the gateway works

        facts, preview = verify(content, preview_edge=self.order.preview_edge)
        unlike = differences(self.order.expected, self.order.size_asked, facts) + self._missing()
        saved = files.save(content, self.order.save_dir, self.order.stem, number, facts.suffix, self._sidecar(content, facts, unlike))
        return facts, preview, saved, unlike

    def _missing(self) -> tuple[str, ...]:
        came = len(self.task.numbers)
        return () if came == self.task.pictures else (f"asked {self.task.pictures} pictures, got {came}",)

    def _sidecar(self, content: bytes, facts: Facts, unlike: tuple[str, ...]) -> dict[str, Any]:
        task, cost = self.task, self.task.cost.share(len(self.task.numbers))
        return {
            "prompt": self.order.request.prompt,
            "asked": dict(self.order.asked),
            "sent": dict(task.sent["json"] or {}),
            "gateway": self.gateway.provider.name,
            "sandbox": self.gateway.sandbox,
            "model": self.order.model,
            "task_id": task.task_id,
            "width": facts.width,
            "height": facts.height,
            "mime_type": facts.mime_type,
            "sha256": hashlib.sha256(content).hexdigest(),
            "differences": list(unlike),
            "cost": {
                "amount": None if cost.amount is None else str(cost.amount),
                "unit": cost.unit,
                "kind": cost.kind,
                "source": cost.source,
            },
            "submitted": _iso(task.submitted),
            "saved": _iso(time.time()),
            "seconds": task.seconds,
            "made_with": f"imagegen_magic {__version__}",
        }

    def _image(self, picture: int, url: str, facts: Facts, preview: Preview | None, path: Path, unlike: tuple[str, ...]) -> GeneratedImage:
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
            created=time.time(),
            seconds=task.seconds,
            id=picture,
            task=task.position,
            sandbox=self.gateway.sandbox,
            differences=unlike,
            earlier=order.earlier,
            preview=preview,
        )


def _after_acceptance(error: _Error) -> _Error:
    """Say of an error that came after the task was accepted what a submission's error would not: charged, and collectable."""
    told = copy.copy(error)
    told.charged = "yes"
    if "resume" not in told.next_step:
        told.next_step = f"{told.next_step}; then %imagegen resume collects the picture, without paying again"
    return told


def _enough_fetches(state: RetryCallState) -> bool:
    error = state.outcome.exception() if state.outcome else None
    return state.attempt_number >= (2 if isinstance(error, ImageInvalid) else _FETCHES)


def _iso(moment: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(moment))
