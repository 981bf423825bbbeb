"""Slots that are taken and freed, in an order of rank."""

from __future__ import annotations

import asyncio
import contextlib
import heapq
import itertools
from collections.abc import AsyncIterator


class Slots:
    """Slots that are taken and freed: of those that wait, the lowest `rank` gets the next one, and of equal ranks the first that came.

    Each names its own limit, so that a changed setting holds for what comes after it. Used on one event loop.
    """

    def __init__(self) -> None:
        self.taken = 0
        self._arrivals = itertools.count()
        self._waiting: list[tuple[float, int, float, asyncio.Future[None]]] = []  # a heap: rank, arrival, limit, waiter

    @contextlib.asynccontextmanager
    async def slot(self, limit: float | None, rank: float = 0.0) -> AsyncIterator[None]:
        """Hold a slot while the context lasts: once fewer than `limit` are taken, or at once if that is None."""
        await self.acquire(limit, rank)
        try:
            yield
        finally:
            self.release()

    async def acquire(self, limit: float | None, rank: float = 0.0) -> None:
        """Take a slot, as `slot` does; `release` frees it."""
        if limit is None:
            self.taken += 1
            return
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._waiting, (rank, next(self._arrivals), limit, waiter))
        self._grant()
        try:
            await waiter
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled():
                self.taken -= 1
            self._grant()
            raise

    def release(self) -> None:
        """Free a slot."""
        self.taken -= 1
        self._grant()

    def _grant(self) -> None:
        while self._waiting:
            _, _, limit, waiter = self._waiting[0]
            if not waiter.done() and self.taken >= limit:
                return
            heapq.heappop(self._waiting)
            if not waiter.done():  # its task was cancelled while it waited
                self.taken += 1
                waiter.set_result(None)
