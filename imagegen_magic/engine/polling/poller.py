"""Looking after open tasks: one lookout a gateway, many tasks in one look where the gateway allows it."""

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

_WORST_PAUSE = 20.0  # seconds between looks while the gateway does not answer
_DOUBTS = 3  # looks that an end which may not be this task's is taken up again
_CROWD = 8  # open tasks from which on looks are shared by waiting for one another
_CROWD_BEAT = 0.15  # seconds that such looks are apart at least, so that each tells of more; nobody waits for one of many
_FORGIVEN = 5  # "no such task" answers in a row that may be a gateway not yet knowing its own task

Tell = Callable[[Pending | None, str], None]


@dataclass(eq=False, slots=True)
class _Open:
    task_id: str
    submitted: float  # epoch seconds
    durations: Callable[[], DurationModel]
    tell: Tell
    outcome: asyncio.Future[Succeeded | Failed]
    looked: float  # epoch seconds of the last look
    before: float  # of the look before that one
    due: float = 0.0
    late: bool = False  # taken up again long after: when it finished, nobody saw
    alone: bool = False  # a batch answer left it out, so it is asked for by itself
    troubles: int = 0
    missing: int = 0
    doubts: int = 0


class Poller:
    """Looks at all open tasks of one gateway, each when the looking rule says so; used on one event loop.

    `call` makes a call with the gateway's key; `cadence` says how often it may.
    """

    def __init__(
        self, provider: Provider, cadence: PollingPolicy, call: Callable[[Call], Awaitable[GatewayResponse]], *, clock: Clock = CLOCK
    ) -> None:
        self._clock = clock
        self.looks = 0
        self._open = 0
        self._provider, self._cadence, self._call = provider, cadence, call
        self._batch = cadence.batch_size
        self._queue: list[tuple[float, int, _Open]] = []
        self._order = itertools.count()
        self._wake = asyncio.Event()
        self._room = asyncio.Semaphore(CONNECTIONS)
        self._runner: asyncio.Task[None] | None = None
        self._under_way: set[asyncio.Task[None]] = set()

    async def watch(
        self, task_id: str, *, submitted: float, durations: Callable[[], DurationModel], tell: Tell, now: bool = False
    ) -> Succeeded | Failed:
        """Return what became of a task; `tell` hears of changes on the way. `now` looks at once.

        Raises APIError where the gateway will not say (the key, the account, an unknown task); the task may still be alive.
        """
        submitted = min(submitted, self._clock.time())  # a clock that was set back must not put the first look off
        item = _Open(task_id, submitted, durations, tell, asyncio.get_running_loop().create_future(), submitted, submitted, late=now)
        self._schedule(item, self._clock.time() if now else None)
        if self._runner is None or self._runner.done():
            self._runner = asyncio.create_task(self._run(), name=f"lookout-{self._provider.name}")
        self._open += 1
        try:
            return await item.outcome
        finally:
            self._open -= 1

    async def look_once(self, task_id: str, *, looked: float = 0.0) -> TaskState:
        """Look at one task out of turn: at once, or as soon as its last look (epoch seconds) is long enough ago.

        Raises NotSent, OutcomeUnknown or the gateway's error.
        """
        await self._clock.sleep(min(self._cadence.min_interval, looked + self._cadence.min_interval - self._clock.time()))
        self.looks += 1
        answer = await self._call(self._provider.task_call(task_id))
        if answer.status >= 400:
            raise self._provider.read_error(answer.status, answer.content)
        return self._provider.read_task(answer.content)

    def _schedule(self, item: _Open, due: float | None = None) -> None:
        item.due = due = self._due(item) if due is None else due
        heapq.heappush(self._queue, (due, next(self._order), item))
        self._wake.set()

    def _due(self, item: _Open) -> float:
        """Return when to look at a task next; where tasks can share a look, on beats common to all of them."""
        now, durations, least, first = self._clock.time(), item.durations(), self._cadence.min_interval, self._cadence.initial_delay
        if self._batch and self._queue:
            return next_shared_poll(now, item.submitted, item.looked, durations, least=least, first=first)
        return item.submitted + next_poll(now - item.submitted, item.looked - item.submitted, durations, least=least, first=first)

    def _free_since(self, item: _Open) -> float:
        """Return the last look, as far as taking a task along is concerned: not before its first look is allowed."""
        return max(item.looked, item.submitted + self._cadence.initial_delay - self._cadence.min_interval)

    async def _run(self) -> None:
        while self._queue or self._under_way:
            self._wake.clear()
            for lot in self._lots(self._clock.time()):
                await self._room.acquire()
                look = asyncio.create_task(self._look(lot))
                self._under_way.add(look)
                look.add_done_callback(partial(self._finished, lot))
            await self._sleep()

    def _finished(self, lot: Sequence[_Open], look: asyncio.Task[None]) -> None:
        self._under_way.discard(look)
        self._room.release()
        self._wake.set()
        if not look.cancelled() and (error := look.exception()):
            self._fail(lot, error)  # a defect in a provider's reader: whoever waits must hear of it

    def _next(self) -> float:
        """Return when to look next, in epoch seconds; something must be open."""
        crowded = self._batch and self._open >= _CROWD
        return self._queue[0][0] + (max(0.0, _CROWD_BEAT - self._cadence.min_interval) if crowded else 0.0)

    async def _sleep(self) -> None:
        pause = self._next() - self._clock.time() if self._queue else None
        with contextlib.suppress(TimeoutError):
            async with self._clock.timeout(None if pause is None else max(pause, 0.001)):
                await self._wake.wait()

    def _lots(self, now: float) -> list[list[_Open]]:
        """Take what is due off the queue: alone, or with all that may come along in one batch query."""
        window = 2 * batch_interval(self._cadence.min_interval) if self._batch else 0.0
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
        lots = make_batches(due, now, least=self._cadence.min_interval, batch=self._batch, window=window)
        lots += [[item] for item in near if item.alone and item.due <= now]
        taken = {id(item) for lot in lots for item in lot}
        for item in near:
            if id(item) not in taken:
                heapq.heappush(self._queue, (item.due, next(self._order), item))
        return lots

    async def _look(self, lot: Sequence[_Open]) -> None:
        lot = [item for item in lot if not item.outcome.done()]
        if not lot:
            return None
        call = self._provider.batch_call([item.task_id for item in lot]) if self._batch and not lot[0].alone else None
        for item in lot:
            item.before, item.looked = item.looked, self._clock.time()
        try:
            self.looks += 1
            answer = await self._call(call or self._provider.task_call(lot[0].task_id))
        except (NotSent, OutcomeUnknown) as trouble:
            return self._trouble(lot, f"the gateway cannot be reached ({trouble}), still looking")
        if answer.status == 429 or answer.status >= 500:
            return self._trouble(lot, f"the gateway answers {answer.status}, still looking", answer.retry_after)
        if call is not None:
            return self._take_batch(lot, answer)
        self._take_single(lot[0], answer)
        for item in lot[1:]:
            self._schedule(item)
        return None

    def _take_batch(self, lot: Iterable[_Open], answer: GatewayResponse) -> None:
        try:
            if answer.status >= 400:  # of whatever kind: what is true of the tasks, looks at each of them say
                raise self._provider.read_error(answer.status, answer.content)
            states = self._provider.read_batch(answer.content)
        except ImageGenError:
            self._batch = 0  # this gateway's batch query is not what its page says: one by one from here on
            for item in lot:
                self._schedule(item, max(self._clock.time(), item.looked + self._cadence.min_interval))
            return
        for item in lot:
            if state := states.get(item.task_id):
                self._take(item, state)
            else:
                item.alone = True
                self._schedule(item, self._clock.time() + self._cadence.min_interval)

    def _take_single(self, item: _Open, answer: GatewayResponse) -> None:
        if answer.status in (401, 402, 403):
            return self._fail([item], self._provider.read_error(answer.status, answer.content))
        try:
            state = self._provider.read_task(answer.content)  # at 4xx too: xingchao tells a failure in its ordinary envelope
        except APIError as error:
            if answer.status < 400:
                return self._trouble([item], f"the gateway's answer cannot be read ({error.what}), still looking")
            return self._refused(item, self._provider.read_error(answer.status, answer.content))
        if item.alone:
            self._batch = 0  # known when asked for alone, left out of the batch: its batch query is not for us
        return self._take(item, state, named=item.task_id in str(answer.content))

    def _refused(self, item: _Open, error: ImageGenError) -> None:
        if isinstance(error, NotFound):
            return self._missed(item, error)
        return self._fail([item], error)

    def _take(self, item: _Open, state: TaskState, *, named: bool = True) -> None:
        """Take what a look says; an end that does not name this task, or a picture that is not there yet, is looked at again."""
        missing = isinstance(state, Failed) and isinstance(state.error, PictureMissing)
        if missing or not (named or isinstance(state, Pending)):
            item.doubts += 1
            if item.doubts <= _DOUBTS:
                return self._trouble([item], "the gateway's answer is not clear yet, looking again")
        if isinstance(state, Failed) and missing:
            return self._fail([item], state.error)
        item.troubles = item.missing = 0
        if not isinstance(state, Pending):
            return self._settle(item, state)
        if not item.outcome.done():
            item.tell(state, "")
        return self._schedule(item)

    def _settle(self, item: _Open, state: Succeeded | Failed) -> None:
        if isinstance(state, Succeeded) and state.seconds is None and not item.late:
            state = replace(state, seconds=(item.before + item.looked) / 2 - item.submitted)
        if not item.outcome.done():
            item.outcome.set_result(state)

    def _missed(self, item: _Open, error: NotFound) -> None:
        item.missing += 1
        if item.missing >= _FORGIVEN:
            self._fail([item], error)
        else:
            self._trouble([item], "the gateway does not know the task yet, still looking")

    def _fail(self, lot: Iterable[_Open], error: BaseException) -> None:
        for item in lot:
            if not item.outcome.done():
                item.outcome.set_exception(error)

    def _trouble(self, lot: Iterable[_Open], note: str, pause: float | None = None) -> None:
        for item in lot:
            item.troubles += 1
            grown = min(_WORST_PAUSE, self._cadence.min_interval * 2.0 ** min(item.troubles, 6))
            if not item.outcome.done():
                item.tell(None, note)
            self._schedule(item, self._clock.time() + max(self._cadence.min_interval, pause if pause is not None else grown))
