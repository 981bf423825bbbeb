"""One task from its ledger row to its images: submit, poll, download. Each step is recorded before the next begins."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import importlib
import math
from collections.abc import Coroutine
from dataclasses import replace
from functools import partial
from typing import Any

from imagegen_magic.engine import loop
from imagegen_magic.engine.context import EngineContext
from imagegen_magic.engine.jobs import inline
from imagegen_magic.engine.jobs.cancellation import before_it_began, cancel_if_queued
from imagegen_magic.engine.jobs.first_views import FirstViews
from imagegen_magic.engine.jobs.inquiry import INDETERMINATE, StillUnclear, asked_until, read_inquiry
from imagegen_magic.engine.jobs.spooled import PATIENCE, SpooledAnswer
from imagegen_magic.engine.jobs.submission import (
    after_acceptance,
    forgotten,
    read_submission,
    several,
    unreachable,
    with_task_id,
)
from imagegen_magic.engine.jobs.task import JobChannel, Reporter, RunningTask, TaskSpec
from imagegen_magic.engine.jobs.worker_download import downloader
from imagegen_magic.engine.ledger.inquiries import begin_inquiry, end_inquiry
from imagegen_magic.engine.net.client import GatewayResponse
from imagegen_magic.engine.net.retry import Retryable, RetryDetails, attempts
from imagegen_magic.engine.net.transport import NotSent, OutcomeUnknown
from imagegen_magic.engine.rates import limits_of
from imagegen_magic.errors import (
    APIError,
    GatewayUnreachable,
    ImageGenError,
    LedgerError,
    NotFound,
    PictureMissing,
    ReferenceUnreachable,
    SaveError,
    SubmissionUnknown,
    TaskTimeout,
    WaitingStopped,
)
from imagegen_magic.providers.base import Failed, Pending, Submission
from imagegen_magic.records import ProcessBound
from imagegen_magic.result import Cost

_CONNECT_ATTEMPTS = 5  # to reach a gateway that cannot be connected to
_FORGOTTEN = 3 * 86400  # seconds after which "no such task" is final


class TaskRunner(ProcessBound):
    """Runs one task; its owner calls `run()` once."""

    def __init__(self, context: EngineContext, channel: JobChannel, spec: TaskSpec, task: RunningTask) -> None:
        self.task, self.spec, self.endpoint = task, spec, spec.endpoint
        self._context, self._ledger, self._clock = context, context.ledger, context.clock
        self._channel, self._claims = channel, channel.claims
        reporter = Reporter(spec, task, channel.emit)
        self.report, self.side_errors = reporter.progress, reporter.side_errors
        self._images = downloader(context, reporter, channel)
        self._timeout: float = channel.settings.get("timeout")
        self._limiter, self._limits = context.limiter(self.endpoint), limits_of(self.endpoint, channel.settings)
        self._began: float | None = None  # epoch seconds: its first attempt to submit, or to ask
        self.maybe_submitted = bool(task.task_id or spec.unknown)  # whether the gateway may know of this task
        self.on_the_wire = False  # whether its submission, or a question about it, is out without an answer
        self.finished = False  # whether it has ended: saved, failed, or left
        self.detached = False  # whether its job has ended, while its submission or a save goes on
        self._failed = False  # whether the ledger knows that nothing more will come of it
        self._first_views = FirstViews(reporter, self._clock)
        self._spooled: SpooledAnswer | None = None
        if (provider := self.endpoint.provider).synchronous:
            self._spooled = SpooledAnswer(context, provider, task.idempotency_key, self.endpoint.key, self._first_views.take)
        self._renewed = False  # whether its references were uploaded a second time
        self._warning = ""  # about its submission
        self._error: ImageGenError | None = None

    @property
    def saving(self) -> bool:
        """Whether something of it is being written to disk."""
        return self._images.saving

    @property
    def terminal(self) -> bool:
        """Whether the ledger knows that nothing more will come of it."""
        return self._failed or self._images.unreadable_is_final

    @property
    def resumable(self) -> bool:
        """Whether the gateway has, or may yet make, an image that can be fetched later."""
        return bool(self.task.task_id) and not self.terminal

    @property
    def cost(self) -> Cost | None:
        """What is known of this task's cost; None if it certainly cost nothing."""
        if self.resumable or self._images.unreadable:
            return self.task.cost
        return Cost() if self.maybe_submitted and self._error is not None and self._error.charge != "no" else None

    async def run(self) -> None:
        """Bring the task's images to disk. Raises the error that ended it; the ledger already knows it."""
        async with contextlib.AsyncExitStack() as while_open:
            known = bool(self.task.task_id)  # and so open at the service already
            await while_open.enter_async_context(self._limiter.open_task(None if known else self._limits.open_tasks, self.spec.tasks))
            await self._run(while_open)

    async def _run(self, while_open: contextlib.AsyncExitStack) -> None:
        if not self.task.task_id:
            try:
                if self.spec.unknown:
                    raise self.spec.unknown
                await self._submit()
            except SubmissionUnknown as unknown:
                await self._inquire(unknown)
            self.report("waiting", self._warning)
        self._images.deadline = self._clock.monotonic() + self._timeout
        try:
            if not self.task.addresses:
                async with self._clock.timeout_at(self._images.deadline):
                    await self._poll()
            await while_open.aclose()
            await self._images.run(self._release_if_detached)
        except TimeoutError as error:
            if isinstance(error, ImageGenError):
                raise
            raise self._timed_out() from None
        except asyncio.CancelledError:
            if self._images.complete:  # cancelled during the last save, which nothing interrupts
                self.side_errors += [unreadable] if (unreadable := self._images.unreadable_error()) else []
                self._succeed()
            raise
        self._succeed()

    def _timed_out(self) -> TaskTimeout:
        what = (
            "The picture was made, and was not fetched within"
            if self.task.addresses
            else f"{self.endpoint.provider.title} was not finished after"
        )
        return TaskTimeout(f"{what} {self._timeout:.0f} s")

    def _succeed(self) -> None:
        self.finished = True
        self._claims.release(self.task.row)
        if self._spooled is not None:
            self._spooled.discard()
        self.report("saved")

    async def end(self, error: ImageGenError) -> None:
        """Record the state of a task that ended in an error: resumable, never sent, or unknown."""
        self.leave(error)
        if self.resumable:
            await self._release(str(error))
        elif not self.maybe_submitted and not self.terminal:
            await self._set_state("dropped")
        elif not self.terminal and not isinstance(error, SubmissionUnknown):
            await self._set_state("unknown", error=error)
        self._claims.release(self.task.row)

    def leave(self, error: ImageGenError) -> None:
        """Note the error that ended it here."""
        self.finished, self._error = True, error

    async def cancel_if_queued(self) -> bool:
        """Cancel the task at the service if that has not begun it; returns whether it is cancelled, and so recorded as not charged."""
        if self.task.addresses or not await cancel_if_queued(self._context, self.endpoint, self.task.task_id):
            return False
        error = before_it_began(self.endpoint.provider)
        await self._fail(error)
        self.leave(error)
        return True

    async def _set_state(self, state: str, **columns: Any) -> None:
        """Record a state; the ledger writes later what it cannot write now, and the first error is the one to report."""
        with contextlib.suppress(LedgerError):
            await self._ledger.set_state(self.task.row, state, **columns)

    async def _release(self, why: str) -> None:
        with contextlib.suppress(LedgerError):
            await self._ledger.release([self.task.row], why)

    async def _release_if_detached(self) -> None:
        if self.detached:
            await self._release("the waiting was stopped")
            self._claims.release(self.task.row)

    # submitting

    async def _submit(self) -> None:
        async with self._limiter.in_flight(self._limits.at_once, self.spec.tasks):
            if error := self._channel.known_refusal(self.endpoint):
                raise error
            if self._spooled is not None:
                await self._spooled.make_ready()
            try:
                await attempts(
                    self._attempt,
                    Retryable,
                    is_enough=self._is_enough,
                    before_pause=self._report_pause,
                    clock=self._clock,
                )
            except Retryable as refusal:
                await self._fail(refusal.error)
                raise refusal.error from None

    async def _attempt(self) -> None:
        async with self._limiter.turn(self._limits.per_minute, self._timeout, partial(self.report, "planned")):
            if error := self._channel.known_refusal(self.endpoint):  # met by another task meanwhile
                raise error
            if self._began is None:
                self._began = self.task.submitted = self._clock.time()
                self.report("submitting")
            await loop.uninterrupted(self._even_if_detached(self._post()))

    def _is_enough(self, failed: RetryDetails) -> bool:
        if isinstance(failed.error, Retryable) and isinstance(failed.error.error, GatewayUnreachable):
            return failed.attempt >= _CONNECT_ATTEMPTS
        return self._passed(failed)

    def _passed(self, failed: RetryDetails) -> bool:
        """Return whether the timeout passes before the next attempt."""
        return (0.0 if self._began is None else self._clock.time() - self._began) + failed.retry_after > self._timeout

    def _report_pause(self, failed: RetryDetails) -> None:
        self.report("submitting", f"{getattr(failed.error, 'note', '')}, again in {math.ceil(failed.pause) or 1} s")

    async def _even_if_detached(self, step: Coroutine[Any, Any, None]) -> None:
        self.on_the_wire = True
        try:
            await step
        finally:
            self.on_the_wire = False
            if self.detached:
                self.finished = True
                await self._release_if_detached()

    async def _post(self) -> None:
        await self._ledger.set_state(self.task.row, "submitting")
        if self.finished or self.detached:  # meanwhile, as that write may take long; the cancellation counted it as not sent
            await self._set_state("dropped")
            raise WaitingStopped("It was left before it was sent", charge="no")
        self.maybe_submitted = True
        self.task.submitted = self._clock.time()
        try:
            answer = await self._send()
            submission = self._read(answer)
        except Retryable:
            await self._back_to_planned()
            raise
        except SubmissionUnknown as error:
            error.what += await self._first_views.kept()
            await self._set_state("unknown", error=error)
            raise
        except ReferenceUnreachable as error:
            await self._post_with_renewed_references(error)
        except ImageGenError as error:
            await self._fail(error)
            raise
        else:
            self._first_views.end()
            await self._record_submission(submission, answer)

    def _read(self, answer: GatewayResponse) -> Submission:
        """Return what the response to the submission means. Raises like `submission.read_submission`."""
        if self._spooled is None:
            return read_submission(self.endpoint.provider, answer)
        try:
            submission = self._spooled.submission(answer)
        except OutcomeUnknown as error:
            raise self._no_answer(error) from None
        cost = self.endpoint.provider.cost_of_headers(answer.headers)
        if submission.finished is None:
            return submission
        seconds = submission.finished.seconds or self._clock.time() - self.task.submitted
        finished = replace(submission.finished, seconds=seconds, cost=submission.finished.cost if cost.amount is None else cost)
        self.spec.history.learn(seconds)
        return replace(submission, task_id=submission.task_id or self.task.idempotency_key, finished=finished)

    def _no_answer(self, error: OutcomeUnknown) -> SubmissionUnknown:
        return SubmissionUnknown(f"The request went out to {self.endpoint.provider.title}, and no complete answer came back ({error})")

    async def _inquire(self, unknown: SubmissionUnknown) -> None:
        """Ask about a submission of unknown outcome until the answer is clear. Raises `unknown` if none is, or the gateway's refusal."""
        if not self.endpoint.provider.idempotency:
            raise unknown
        self.maybe_submitted, self._began = True, self._clock.time()
        self.report("submitting", f"no clear answer from {self.endpoint.provider.title}, asking with the same key")
        try:
            await attempts(
                lambda: self._inquire_once(unknown),
                StillUnclear,
                is_enough=self._is_asked_enough,
                before_pause=self._report_pause,
                clock=self._clock,
            )
        except (StillUnclear, SubmissionUnknown) as unclear:
            await self._set_state("unknown", error=unknown)
            raise (unclear if isinstance(unclear, SubmissionUnknown) else unknown) from None

    def _is_asked_enough(self, failed: RetryDetails) -> bool:
        if not getattr(failed.error, "in_progress", False) and failed.attempt >= _CONNECT_ATTEMPTS:
            return True
        return self._passed(failed)

    async def _inquire_once(self, unknown: SubmissionUnknown) -> None:
        """Ask in turn with the submissions. Raises like `_ask`, and StillUnclear if the service asks to wait for too long."""
        try:
            async with (
                self._limiter.in_flight(self._limits.at_once, self.spec.tasks),
                self._limiter.turn(self._limits.per_minute, self._timeout, partial(self.report, "submitting")),
            ):
                await loop.uninterrupted(self._even_if_detached(self._ask(unknown)))
        except Retryable as refusal:
            raise StillUnclear(refusal.note, refusal.pause) from None

    async def _ask(self, unknown: SubmissionUnknown) -> None:
        """Send the very same body with the very same key once; what cannot be recorded is not asked, and stays `unknown`.

        Raises StillUnclear, SubmissionUnknown, or the gateway's refusal.
        """
        until = asked_until(self.endpoint.provider, self.task.submitted)
        if until is None or self._clock.time() >= until:  # the gateway may have forgotten the key, and would make another task
            raise unknown
        try:
            inquiry = await begin_inquiry(self._ledger, self.task.row, "repeat")
        except LedgerError:
            raise unknown from None
        answer = None
        try:
            answer = await self._send()
            submission = read_inquiry(self.endpoint.provider, answer)
        except (Retryable, StillUnclear, SubmissionUnknown) as error:
            await self._end_inquiry(inquiry, INDETERMINATE if getattr(error, "final", False) else "unclear", answer)
            if answer is None:
                raise StillUnclear(f"no answer from {self.endpoint.provider.title}") from None
            raise error
        except ImageGenError as error:
            await self._end_inquiry(inquiry, "refused", answer)
            await self._fail(error)
            raise
        await self._record_submission(submission, answer)
        await self._end_inquiry(inquiry, "accepted", answer)

    async def _end_inquiry(self, inquiry: int, outcome: str, answer: GatewayResponse | None) -> None:
        with contextlib.suppress(LedgerError):  # it is a note; the task's state is written on its own
            await end_inquiry(self._ledger, inquiry, outcome, answer.content if answer else None)

    async def _send(self) -> GatewayResponse:
        """Send the submission. Raises Retryable if it was certainly not sent, SubmissionUnknown if it may have arrived."""
        sent, settings = self.task.sent, self._channel.settings
        model = self.endpoint.provider.model(self.spec.model)
        call = inline.call_of(sent, self.spec.uploads, model, self.spec.request.mask)
        timeout = settings.get("submit_timeout") if self._spooled is None else max(PATIENCE, settings.get("submit_timeout"))
        bounds = {"at_once": settings.get("submits_at_once"), "timeout": timeout}
        sink = None
        if self._spooled is not None:
            sink = self._spooled.receive
            self.report("waiting")  # the response comes when the pictures are made
        try:
            return await self._context.submit(self.endpoint, call, self.task.idempotency_key, sink=sink, **bounds)
        except NotSent as error:
            raise unreachable(self.endpoint.provider.title, error) from None
        except OutcomeUnknown as error:
            if self._spooled is not None and (answer := self._spooled.complete()) is not None:
                return answer
            raise self._no_answer(error) from None

    async def _record_submission(self, submission: Submission, answer: GatewayResponse) -> None:
        task = self.task
        task.task_id, task.cost = submission.task_id, self.endpoint.label_cost(submission.cost)
        if submission.extra_task_ids:
            self.side_errors.append(several(self.endpoint.provider, task.task_id, submission.extra_task_ids))
            self._warning = self.side_errors[-1].what
        columns = {"estimated_seconds": submission.estimated_seconds, "answer": answer.content}
        if submission.finished is not None:
            await self._images.record_addresses(submission.finished, task_id=task.task_id)
            return
        try:
            await self._ledger.set_state(task.row, "submitted", task_id=task.task_id, cost=task.cost, **columns)
        except LedgerError as error:  # the image is paid for: go on with what is in memory; the ledger writes it as soon as it can
            self._warning = with_task_id(error, task.task_id)

    async def _post_with_renewed_references(self, refusal: ReferenceUnreachable) -> None:
        """Upload again the references that the gateway could not fetch, and submit again; the refusal was certain."""
        task, sent = self.task, {}
        try:
            if self.spec.uploads and not self._renewed:
                self._renewed = True
                self.report("submitting", "an uploaded picture was gone, uploading it again")
                sent = await self._reupload()
        except ImageGenError as error:
            await self._fail(error)
            raise
        if not sent or sent == task.sent["json"]:
            await self._fail(refusal)
            raise refusal
        task.sent = {**task.sent, "json": sent}
        task.idempotency_key += "-again"  # another submission than the refused one
        await self._back_to_planned(sent=task.sent, idempotency_key=task.idempotency_key)
        await self._post()

    async def _reupload(self) -> dict[str, Any]:
        from imagegen_magic.engine.uploads import uploader  # loads only for requests with references

        return await uploader.reupload(self._context, self.endpoint, self.task.sent["json"], self.spec.uploads, self._channel.settings)

    async def _back_to_planned(self, **columns: Any) -> None:
        self.maybe_submitted = False
        await self._ledger.set_state(self.task.row, "planned", **columns)

    async def _fail(self, error: ImageGenError) -> None:
        self._failed = True
        self._first_views.end()
        if self._spooled is not None and not isinstance(error, SaveError):
            self._spooled.discard()
        await self._set_state("failed", error=error)

    # polling

    async def _poll(self) -> None:
        """Wait until the gateway has finished the task, and record the addresses of its images."""
        task, history = self.task, self.spec.history
        _load_decoders()
        try:
            state = await self._context.poller(self.endpoint).wait_for(
                task.task_id, submitted=task.submitted, durations=history.durations, report=self._report_state, now=task.resumed
            )
        except (APIError, PictureMissing) as error:
            if isinstance(error, (NotFound, PictureMissing)) and self._clock.time() - task.submitted > _FORGOTTEN:
                final = forgotten(error)
                await self._fail(final)
                raise final from None
            raise after_acceptance(error) from None
        self._images.last_poll = self._clock.time()
        if isinstance(state, Failed):
            await self._fail(state.error)
            raise state.error
        if state.seconds is not None:
            history.learn(state.seconds)
            task.seconds = state.seconds
        await self._images.record_addresses(state)

    def _report_state(self, state: Pending | None, note: str) -> None:
        queued = state.status.replace("_", " ") if state and state.queued else ""
        self.report("waiting", note or queued, fraction=state.fraction if state else None)


@functools.cache
def _load_decoders() -> None:
    """Import Pillow in a thread during the first wait, once."""
    asyncio.get_running_loop().run_in_executor(None, importlib.import_module, "imagegen_magic.imaging.verify")
