"""Polls open tasks: one poller a gateway, many tasks in one request if the gateway allows it."""

from __future__ import annotations

import asyncio
import contextlib
import heapq
import itertools
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial

from imagegen_magic.engine.clock import CLOCK, Clock
from imagegen_magic.engine.net.client import GatewayResponse
from imagegen_magic.engine.net.transport import CONNECTIONS, NotSent, OutcomeUnknown
from imagegen_magic.engine.polling.schedule import DurationModel, batch_interval, make_batches, next_poll, next_shared_poll
from imagegen_magic.errors import APIError, ImageGenError, NotFound, PictureMissing
from imagegen_magic.providers.base import Call, Failed, Pending, PollingPolicy, Provider, Succeeded, TaskState

_MAX_PAUSE = 20.0  # seconds between polls while the gateway does not answer
_MAX_DOUBTS = 3  # polls that repeat a final state which may not be this task's
_MANY = 8  # open tasks from which on a poll waits for others to share its request
_MANY_INTERVAL = 0.15  # seconds between such requests at least, so that each covers more tasks
_MAX_MISSING = 5  # "no such task" answers in a row before it is believed

Report = Callable[[Pending | None, str], None]


@dataclass(eq=False, slots=True)
class _Open:
    task_id: str
    submitted: float  # epoch seconds
    durations: Callable[[], DurationModel]
    report: Report
    outcome: asyncio.Future[Succeeded | Failed]
    last_poll: float  # epoch seconds
    previous_poll: float
    due: float = 0.0
    late: bool = False  # resumed: when it finished is not known
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
        self._clock = clock
        self.polls = 0
        self._open = 0
        self._provider, self._policy, self._call = provider, policy, call
        self._batch = policy.batch_size
        self._queue: list[tuple[float, int, _Open]] = []
        self._order = itertools.count()
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
        item = _Open(task_id, submitted, durations, report, asyncio.get_running_loop().create_future(), submitted, submitted, late=now)
        self._schedule(item, self._clock.time() if now else None)
        if self._runner is None or self._runner.done():
            self._runner = asyncio.create_task(self._run(), name=f"poller-{self._provider.name}")
        self._open += 1
        try:
            return await item.outcome
        finally:
            self._open -= 1

    async def poll_once(self, task_id: str, *, last_poll: float = 0.0) -> TaskState:
        """Poll one task out of turn: at once, or as soon as `last_poll` (epoch seconds) is long enough ago.

        Raises NotSent, OutcomeUnknown or the gateway's error.
        """
        await self._clock.sleep(min(self._policy.min_interval, last_poll + self._policy.min_interval - self._clock.time()))
        self.polls += 1
        answer = await self._call(self._provider.task_call(task_id))
        if answer.status >= 400:
            raise self._provider.read_error(answer.status, answer.content)
        return self._provider.read_task(answer.content)

    def _schedule(self, item: _Open, due: float | None = None) -> None:
        item.due = due = self._due(item) if due is None else due
        heapq.heappush(self._queue, (due, next(self._order), item))
        self._wake.set()

    def _due(self, item: _Open) -> float:
        """Return when to poll a task next; if tasks can share a request, at moments common to all of them."""
        now, durations, least, first = self._clock.time(), item.durations(), self._policy.min_interval, self._policy.initial_delay
        if self._batch and self._queue:
            return next_shared_poll(now, item.submitted, item.last_poll, durations, least=least, first=first)
        return item.submitted + next_poll(now - item.submitted, item.last_poll - item.submitted, durations, least=least, first=first)

    def _free_since(self, item: _Open) -> float:
        """Return the last poll, for taking a task along in a batch: never before its first poll is allowed."""
        return max(item.last_poll, item.submitted + self._policy.initial_delay - self._policy.min_interval)

    async def _run(self) -> None:
        while self._queue or self._polling:
            self._wake.clear()
            for batch in self._take_due(self._clock.time()):
                await self._slots.acquire()
                poll = asyncio.create_task(self._poll(batch))
                self._polling.add(poll)
                poll.add_done_callback(partial(self._finished, batch))
            await self._sleep()

    def _finished(self, batch: Sequence[_Open], poll: asyncio.Task[None]) -> None:
        self._polling.discard(poll)
        self._slots.release()
        self._wake.set()
        if not poll.cancelled() and (error := poll.exception()):
            self._fail(batch, error)  # a defect in a provider's reader

    def _next(self) -> float:
        """Return when to poll next, in epoch seconds; a task must be open."""
        many = self._batch and self._open >= _MANY
        return self._queue[0][0] + (max(0.0, _MANY_INTERVAL - self._policy.min_interval) if many else 0.0)

    async def _sleep(self) -> None:
        pause = self._next() - self._clock.time() if self._queue else None
        with contextlib.suppress(TimeoutError):
            async with self._clock.timeout(None if pause is None else max(pause, 0.001)):
                await self._wake.wait()

    def _take_due(self, now: float) -> list[list[_Open]]:
        """Take the due tasks off the queue: alone, or with all that may share a batch query."""
        window = 2 * batch_interval(self._policy.min_interval) if self._batch else 0.0
        if not self._queue or self._next() > now:
            return []
        near = []
        while self._queue and self._queue[0][0] <= now + window:
            item = heapq.heappop(self._queue)[2]
            if not item.outcome.done():
                near.append(item)
        if not self._batch:
            return [[item] for item in near]
        due = [(item, item.due, self._free_since(item)) for item in near if not item.alone]
        batches = make_batches(due, now, least=self._policy.min_interval, batch=self._batch, window=window)
        batches += [[item] for item in near if item.alone and item.due <= now]
        taken = {id(item) for batch in batches for item in batch}
        for item in near:
            if id(item) not in taken:
                heapq.heappush(self._queue, (item.due, next(self._order), item))
        return batches

    async def _poll(self, batch: Sequence[_Open]) -> None:
        batch = [item for item in batch if not item.outcome.done()]
        if not batch:
            return None
        call = self._provider.batch_call([item.task_id for item in batch]) if self._batch and not batch[0].alone else None
        for item in batch:
            item.previous_poll, item.last_poll = item.last_poll, self._clock.time()
        try:
            self.polls += 1
            answer = await self._call(call or self._provider.task_call(batch[0].task_id))
        except (NotSent, OutcomeUnknown) as trouble:
            return self._retry(batch, f"the gateway cannot be reached ({trouble}), retrying")
        if answer.status == 429 or answer.status >= 500:
            return self._retry(batch, f"the gateway answers {answer.status}, retrying", answer.retry_after)
        if call is not None:
            return self._take_batch(batch, answer)
        self._take_single(batch[0], answer)
        for item in batch[1:]:
            self._schedule(item)
        return None

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

    def _take_single(self, item: _Open, answer: GatewayResponse) -> None:
        if answer.status in (401, 402, 403):
            return self._fail([item], self._provider.read_error(answer.status, answer.content))
        try:
            state = self._provider.read_task(answer.content)  # at 4xx too: xingchao reports a failure in its ordinary envelope
        except APIError as error:
            if answer.status < 400:
                return self._retry([item], f"the gateway's answer cannot be read ({error.what}), retrying")
            return self._refused(item, self._provider.read_error(answer.status, answer.content))
        if item.alone:
            self._batch = 0  # known when polled alone, left out of the batch: its batch query does not work for us
        return self._take(item, state, named=item.task_id in str(answer.content))

    def _refused(self, item: _Open, error: ImageGenError) -> None:
        if isinstance(error, NotFound):
            return self._missed(item, error)
        return self._fail([item], error)

    def _take(self, item: _Open, state: TaskState, *, named: bool = True) -> None:
        """Handle a state; a final one that does not name this task, or whose image does not exist yet, is polled again."""
        missing = isinstance(state, Failed) and isinstance(state.error, PictureMissing)
        if missing or not (named or isinstance(state, Pending)):
            item.doubts += 1
            if item.doubts <= _MAX_DOUBTS:
                return self._retry([item], "the gateway's answer is not clear yet, polling again")
        if isinstance(state, Failed) and missing:
            return self._fail([item], state.error)
        item.failures = item.missing = 0
        if not isinstance(state, Pending):
            return self._settle(item, state)
        if not item.outcome.done():
            item.report(state, "")
        return self._schedule(item)

    def _settle(self, item: _Open, state: Succeeded | Failed) -> None:
        if isinstance(state, Succeeded) and state.seconds is None and not item.late:
            state = replace(state, seconds=(item.previous_poll + item.last_poll) / 2 - item.submitted)
        if not item.outcome.done():
            item.outcome.set_result(state)

    def _missed(self, item: _Open, error: NotFound) -> None:
        item.missing += 1
        if item.missing >= _MAX_MISSING:
            self._fail([item], error)
        else:
            self._retry([item], "the gateway does not know the task yet, retrying")

    def _fail(self, batch: Iterable[_Open], error: BaseException) -> None:
        for item in batch:
            if not item.outcome.done():
                item.outcome.set_exception(error)

    def _retry(self, batch: Iterable[_Open], note: str, pause: float | None = None) -> None:
        for item in batch:
            item.failures += 1
            grown = min(_MAX_PAUSE, self._policy.min_interval * 2.0 ** min(item.failures, 6))
            if not item.outcome.done():
                item.report(None, note)
            self._schedule(item, self._clock.time() + max(self._policy.min_interval, pause if pause is not None else grown))
