"""Tasks gathered into batches, of which only a few are out at a time; what a lost batch held is tried again one by one."""

from __future__ import annotations

import asyncio
import math
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from imagegen_magic.engine.workers.fetching import fetch_all
from imagegen_magic.engine.workers.records import BackendLost, Fetched, FetchTask, Missed, WorkerLost
from imagegen_magic.paths import Location

BATCH = 16  # tasks of one batch
_GATHER = 0.02  # seconds that the first task of a batch waits for others
_DEATHS = 2  # processes that a task may end while it is alone, before it is left


@dataclass(slots=True, eq=False)
class _Entry:
    """A task that waits for its outcome; `deaths` counts the processes that ended while it was alone."""

    task: FetchTask
    outcome: asyncio.Future[Fetched | Missed]
    suspect: bool = False
    deaths: int = 0


class Batches(ABC):
    """A backend that runs batches; a subclass says how one is run. All of it happens on the engine's loop."""

    idle_seconds = 30.0
    """How long it keeps processes and connections without a task."""

    def __init__(self) -> None:
        self._waiting: deque[_Entry] = deque()
        self._suspects: deque[_Entry] = deque()  # of lost batches, each of which runs alone
        self._out: set[asyncio.Task[None]] = set()
        self._ends: set[asyncio.Task[None]] = set()  # which the loop does not keep alive
        self._alone = False
        self._computing = 0  # other calls that are out
        self._sending: asyncio.TimerHandle | None = None
        self._resting: asyncio.TimerHandle | None = None

    @property
    @abstractmethod
    def slots(self) -> int:
        """How many batches may be out at a time."""

    @abstractmethod
    async def call(self, function: Callable[[Any], Any], argument: Any, resources: Mapping[str, float] | None = None) -> Any:
        """Run a function of a module on a worker, and return what it returns; `resources` are those of a Dask worker.

        Raises WorkerLost, or BackendLost if no worker can be reached.
        """

    @abstractmethod
    async def rest(self) -> None:
        """Free what only running batches need; the next batch gets it again."""

    @abstractmethod
    async def check(self, folder: Location) -> None:
        """Raise UnsupportedOption if its workers cannot save in a folder."""

    @abstractmethod
    async def check_resources(self, resources: Mapping[str, float]) -> None:
        """Raise UnsupportedOption if none of its workers has these resources."""

    async def fetch(self, task: FetchTask) -> Fetched | Missed:
        """Fetch one picture. Raises nothing but CancelledError."""
        entry = _Entry(task, asyncio.get_running_loop().create_future())
        self._waiting.append(entry)
        self._wake(_GATHER)
        return await entry.outcome

    async def compute(self, function: Callable[[Any], Any], argument: Any, resources: Mapping[str, float] | None = None) -> Any:
        """Run a function of a module beside the batches. Raises as `call` does."""
        self._computing += 1
        try:
            return await self.call(function, argument, resources)
        finally:
            self._computing -= 1
            self._wake(0.0)

    async def close(self) -> None:
        """End the running batches and free everything."""
        for timer in filter(None, (self._sending, self._resting)):
            timer.cancel()
        for task in self._out:
            task.cancel()
        await self.rest()
        await asyncio.gather(*self._out, return_exceptions=True)

    def _wake(self, seconds: float) -> None:
        """Send soon what waits."""
        if self._resting is not None:
            self._resting.cancel()
            self._resting = None
        if self._sending is None:
            self._sending = asyncio.get_running_loop().call_later(seconds, self._send)

    def _send(self) -> None:
        """Send what waits, as far as there are slots."""
        self._sending = None
        while (free := self.slots - len(self._out)) > 0 and (batch := self._next(free)):
            task = asyncio.create_task(self._carry(batch))
            self._out.add(task)
            task.add_done_callback(self._ended)
        if not self._out and not self._computing:
            self._resting = asyncio.get_running_loop().call_later(self.idle_seconds, self._rest_soon)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._out.discard(task)
        if not task.cancelled():
            self._wake(0.0)

    def _rest_soon(self) -> None:
        self._resting = None
        task = asyncio.create_task(self.rest())
        self._ends.add(task)
        task.add_done_callback(self._ends.discard)

    def _next(self, free: int) -> list[_Entry]:
        """Return the next batch: one suspect if none runs, else as many as leave something for every free slot."""
        if self._suspects and not self._alone:
            self._alone = True
            return [self._suspects.popleft()]
        size = min(BATCH, math.ceil(len(self._waiting) / free))
        return [self._waiting.popleft() for _ in range(size)]

    async def _carry(self, batch: list[_Entry]) -> None:
        """Run a batch and give each task its outcome."""
        alone = batch[0].suspect
        wanted = [entry for entry in batch if not entry.outcome.done()]  # the others were cancelled
        try:
            outcomes = await self.call(fetch_all, [entry.task for entry in wanted]) if wanted else []
        except WorkerLost as lost:
            self._suspect(wanted, str(lost))
        except BackendLost as lost:
            _settle(wanted, [Missed(entry.task.ticket, "here", str(lost)) for entry in wanted])
        else:
            _settle(wanted, outcomes)
        finally:
            self._alone = self._alone and not alone

    def _suspect(self, entries: Sequence[_Entry], what: str) -> None:
        for entry in entries:
            entry.deaths += entry.suspect
            entry.suspect = True
            if entry.deaths >= _DEATHS:
                _settle([entry], [Missed(entry.task.ticket, "worker", what)])
            else:
                self._suspects.append(entry)


def _settle(entries: Sequence[_Entry], outcomes: Sequence[Fetched | Missed]) -> None:
    for entry, outcome in zip(entries, outcomes, strict=True):
        if not entry.outcome.done():
            entry.outcome.set_result(outcome)
