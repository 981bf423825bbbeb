"""Polls open tasks: one poller for each gateway, many tasks in one request if the gateway allows it."""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from operator import attrgetter

from imagegen_magic.engine.clock import CLOCK, Clock
from imagegen_magic.engine.net.client import GatewayResponse
from imagegen_magic.engine.net.transport import CONNECTIONS, NotSent, OutcomeUnknown
from imagegen_magic.engine.polling.schedule import DurationModel, batch_interval, make_batches, next_poll, next_shared_poll
from imagegen_magic.errors import APIError, ImageGenError, NotFound, PictureMissing
from imagegen_magic.providers.base import Call, Elsewhere, Failed, Pending, PollingPolicy, Provider, Succeeded, TaskState

_MAX_PAUSE = 20.0  # seconds between polls while the gateway does not answer
_MAX_DOUBTS = 3  # polls that repeat a final state which may not be this task's
_MANY = 8  # open tasks from which on a poll waits for others to share its request
_MANY_INTERVAL = 0.15  # seconds between such requests at least, so that each covers more tasks
_MAX_MISSING = 5  # "no such task" answers in a row before the task counts as missing

Report = Callable[[Pending | None, str], None]


@dataclass(eq=False, slots=True)
class _Open:
    """A task that is waited for; times are epoch seconds."""

    task_id: str
    submitted: float
    durations: Callable[[], DurationModel]
    report: Report
    outcome: asyncio.Future[Succeeded | Failed]
    last_poll: float
    previous_poll: float
    resumed: bool  # then it is not known when it finished
    due: float = math.inf  # infinite while it is polled
    alone: bool = False  # a batch answer left it out, so it is polled by itself
    failures: int = 0
    missing: int = 0
    doubts: int = 0


class Poller:
    """Polls all open tasks of one gateway, each when `schedule` says; used on one event loop.

    `call` makes a call with the gateway's key; `policy` bounds how often.
    """

    def __init__(
        self, provider: Provider, policy: PollingPolicy, call: Callable[[Call], Awaitable[GatewayResponse]], *, clock: Clock = CLOCK
    ) -> None:
        self._provider, self._policy, self._call, self._clock = provider, policy, call, clock
        self.polls = 0
        self._batch = policy.batch_size
        self._open: dict[_Open, None] = {}  # in the order of their submission
        self._wake = asyncio.Event()
        self._slots = asyncio.Semaphore(CONNECTIONS)
        self._runner: asyncio.Task[None] | None = None
        self._polling: set[asyncio.Task[None]] = set()

    async def wait_for(
        self, task_id: str, *, submitted: float, durations: Callable[[], DurationModel], report: Report, now: bool = False
    ) -> Succeeded | Failed:
        """Return the final state of a task; `report` gets each change before that. `now` polls at once.

        Raises APIError if the gateway refuses to answer (the key, the account, an unknown task); the task may still run.
        """
        submitted = min(submitted, self._clock.time())  # a clock that was set back must not delay the first poll
        item = _Open(task_id, submitted, durations, report, asyncio.get_running_loop().create_future(), submitted, submitted, now)
        self._schedule(item, self._clock.time() if now else None)
        self._open[item] = None
        if self._runner is None or self._runner.done():
            self._runner = asyncio.create_task(self._run(), name=f"poller-{self._provider.name}")
        try:
            return await item.outcome
        finally:
            del self._open[item]
            if not self._open:
                self._wake.set()  # nothing is left to poll

    async def poll_once(self, task_id: str, *, last_poll: float = 0.0) -> TaskState:
        """Poll one task out of turn: at once, or as soon as `last_poll` (epoch seconds) is long enough ago.

        Raises NotSent, OutcomeUnknown or the gateway's error.
        """
        await self._clock.sleep(min(self._policy.min_interval, last_poll + self._policy.min_interval - self._clock.time()))
        self.polls += 1
        answer = await self._call(self._provider.task_call(task_id))
        if answer.status >= 400:
            raise self._provider.read_error(answer.status, answer.content)
        state = self._provider.read_task(answer.content)
        if not isinstance(state, Elsewhere):
            return state
        return self._result(await self._call(state.call))

    def _result(self, answer: GatewayResponse) -> TaskState:
        """Return what the response to the call of an `Elsewhere` means."""
        if answer.status >= 400:
            return Failed(self._provider.read_error(answer.status, answer.content))
        return self._provider.read_result(answer.content)

    # when to poll

    def _schedule(self, item: _Open, due: float | None = None) -> None:
        item.due = self._next_poll(item) if due is None else due
        self._wake.set()

    def _next_poll(self, item: _Open) -> float:
        """Return when to poll a task next; if tasks can share a request, at moments common to all of them."""
        submitted, last, durations = item.submitted, item.last_poll, item.durations()
        bounds = {"min_interval": self._policy.min_interval, "initial_delay": self._policy.initial_delay}
        if self._batch and any(each is not item for each in self._open):
            return next_shared_poll(self._clock.time(), submitted, last, durations, **bounds)
        return submitted + next_poll(last - submitted, durations, **bounds)

    async def _run(self) -> None:
        while self._open:
            self._wake.clear()
            pause = self._next() - self._clock.time()
            for batch in self._take_due(self._clock.time()) if pause <= 0 else ():
                await self._slots.acquire()
                poll = asyncio.create_task(self._poll(batch))
                self._polling.add(poll)
                poll.add_done_callback(partial(self._finished, batch))
            with contextlib.suppress(TimeoutError):
                async with self._clock.timeout(max(pause, 0.001)):
                    await self._wake.wait()

    def _finished(self, batch: Sequence[_Open], poll: asyncio.Task[None]) -> None:
        self._polling.discard(poll)
        self._slots.release()
        if not poll.cancelled() and (error := poll.exception()):
            self._end(batch, error)  # a defect in a provider's reader

    def _next(self) -> float:
        """Return when to send the next request, in epoch seconds; infinite if no task is due."""
        many = self._batch and len(self._open) >= _MANY
        pause = max(0.0, _MANY_INTERVAL - self._policy.min_interval) if many else 0.0
        return min(map(attrgetter("due"), self._open), default=math.inf) + pause

    def _take_due(self, now: float) -> list[list[_Open]]:
        """Return the batches to poll now: each due task alone, or with all that may share its request."""
        batches = [[item] for item in self._open if item.due <= now and (item.alone or not self._batch)]
        if self._batch:
            earliest = self._policy.initial_delay - self._policy.min_interval  # no task is polled before its first poll is allowed
            shared = [(item, item.due, max(item.last_poll, item.submitted + earliest)) for item in self._open if not item.alone]
            least = self._policy.min_interval
            batches += make_batches(shared, now, min_interval=least, size=self._batch, window=2 * batch_interval(least))
        for item in (item for batch in batches for item in batch):
            item.due = math.inf
        return batches

    # what an answer means

    async def _poll(self, batch: Sequence[_Open]) -> None:
        batch = [item for item in batch if item in self._open]
        if not batch:
            return None
        call = self._provider.batch_call([item.task_id for item in batch]) if self._batch and not batch[0].alone else None
        for item in batch:
            item.previous_poll, item.last_poll = item.last_poll, self._clock.time()
        self.polls += 1
        try:
            answer = await self._call(call or self._provider.task_call(batch[0].task_id))
        except (NotSent, OutcomeUnknown) as trouble:
            return self._retry(batch, f"the service cannot be reached ({trouble}), retrying")
        if answer.status == 429 or answer.status >= 500:
            return self._retry(batch, f"the service answers {answer.status}, retrying", answer.retry_after)
        if call is not None:
            return self._take_batch(batch, answer)
        for item in batch[1:]:
            self._schedule(item)
        if (elsewhere := self._take_single(batch[0], answer)) is not None:
            await self._take_result(batch[0], elsewhere.call)
        return None

    async def _take_result(self, item: _Open, call: Call) -> None:
        try:
            answer = await self._call(call)
        except (NotSent, OutcomeUnknown) as trouble:
            return self._retry([item], f"the result cannot be fetched ({trouble}), retrying")
        if answer.status in (404, 429) or answer.status >= 500:
            return self._retry([item], f"the result is not available yet ({answer.status}), retrying", answer.retry_after)
        try:
            return self._take(item, self._result(answer))
        except APIError as error:
            return self._retry([item], f"the service's answer cannot be read ({error.what}), retrying")

    def _take_batch(self, batch: Iterable[_Open], answer: GatewayResponse) -> None:
        try:
            if answer.status >= 400:  # of any kind: polls of the single tasks show what it means
                raise self._provider.read_error(answer.status, answer.content)
            states = self._provider.read_batch(answer.content)
        except ImageGenError:
            self._batch = 0  # this gateway's batch query is not as documented: one by one from now on
            for item in batch:
                self._schedule(item, max(self._clock.time(), item.last_poll + self._policy.min_interval))
            return
        for item in batch:
            if state := states.get(item.task_id):
                self._take(item, state)
            else:
                item.alone = True
                self._schedule(item, self._clock.time() + self._policy.min_interval)

    def _take_single(self, item: _Open, answer: GatewayResponse) -> Elsewhere | None:
        """Handle a poll's answer; return where the result is, if it has a call of its own."""
        if answer.status in (401, 402, 403):
            self._end([item], self._provider.read_error(answer.status, answer.content))
            return None
        try:
            state = self._provider.read_task(answer.content)  # at 4xx too: xingchao reports a failure in its ordinary envelope
        except APIError as error:
            if answer.status < 400:
                self._retry([item], f"the service's answer cannot be read ({error.what}), retrying")
            else:
                self._refused(item, self._provider.read_error(answer.status, answer.content))
            return None
        if isinstance(state, Elsewhere):
            return state
        if item.alone:
            self._batch = 0  # known when polled alone, left out of the batch: its batch query does not work for us
        self._take(item, state, named=item.task_id in str(answer.content))
        return None

    def _refused(self, item: _Open, error: ImageGenError) -> None:
        item.missing += isinstance(error, NotFound)
        if isinstance(error, NotFound) and item.missing < _MAX_MISSING:
            return self._retry([item], "the service does not know the task yet, retrying")
        return self._end([item], error)

    def _take(self, item: _Open, state: TaskState, *, named: bool = True) -> None:
        """Handle a state; a final one that does not name this task, or whose image does not exist yet, is polled again."""
        missing = state.error if isinstance(state, Failed) and isinstance(state.error, PictureMissing) else None
        if missing or not (named or isinstance(state, Pending)):
            item.doubts += 1
            if item.doubts <= _MAX_DOUBTS:
                return self._retry([item], "the service's answer is not clear yet, polling again")
        if missing:
            return self._end([item], missing)
        item.failures = item.missing = 0
        if isinstance(state, Pending):
            self._report(item, state, "")
            return self._schedule(item)
        if isinstance(state, Succeeded) and state.seconds is None and not item.resumed:
            state = replace(state, seconds=(item.previous_poll + item.last_poll) / 2 - item.submitted)
        if not isinstance(state, Elsewhere) and not item.outcome.done():
            item.outcome.set_result(state)
        return None

    def _report(self, item: _Open, state: Pending | None, note: str) -> None:
        if not item.outcome.done():
            item.report(state, note)

    def _end(self, batch: Iterable[_Open], error: BaseException) -> None:
        for item in batch:
            if not item.outcome.done():
                item.outcome.set_exception(error)

    def _retry(self, batch: Iterable[_Open], note: str, pause: float | None = None) -> None:
        for item in batch:
            item.failures += 1
            grown = min(_MAX_PAUSE, self._policy.min_interval * 2.0 ** min(item.failures, 6))
            self._report(item, None, note)
            self._schedule(item, self._clock.time() + max(self._policy.min_interval, pause if pause is not None else grown))
