"""What all requests of a process share: the ledger, the connections, one lookout a gateway, and the durations learnt."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from imagegen_magic.engine import loop
from imagegen_magic.engine.clock import CLOCK
from imagegen_magic.engine.endpoints import SANDBOX_SCALE, Endpoint
from imagegen_magic.engine.jobs.fetch import Fetcher
from imagegen_magic.engine.ledger.ledger import Ledger
from imagegen_magic.engine.net.client import GatewayClients, GatewayResponse
from imagegen_magic.engine.polling.poller import Poller
from imagegen_magic.engine.polling.schedule import DurationModel, fit, typical_range, typical_seconds
from imagegen_magic.engine.settings import Settings
from imagegen_magic.providers.base import Call
from imagegen_magic.records import ProcessBound

Kind = tuple[str, bool, str, str, str]  # provider, sandbox, model, quality, pixel tier: tasks whose durations are alike
_LEARNT = 60  # durations of a kind that are remembered; older ones tell about another year's gateway

_ledgers: dict[Path, Ledger] = {}
_sessions: dict[tuple[asyncio.AbstractEventLoop, Path], EngineContext] = {}


class DurationHistory:
    """The durations of one kind of task, and the expectation fitted to them."""

    def __init__(self, seconds: list[float], prior: float) -> None:
        self._seconds, self._prior = seconds, prior
        self._fitted: DurationModel | None = None
        self._usual = typical_range(seconds)

    def learn(self, seconds: float) -> None:
        """Remember one more duration, at once for all who wait."""
        self._seconds = [*self._seconds, seconds][-_LEARNT:]
        self._fitted, self._usual = None, typical_range(self._seconds)

    def durations(self) -> DurationModel:
        """Return the expectation for the next task of this kind."""
        if self._fitted is None:
            self._fitted = fit(self._seconds, self._prior)
        return self._fitted

    def usual(self) -> tuple[float, float] | None:
        """Return what such a task usually takes, in seconds; None without enough history."""
        return self._usual


class EngineContext(ProcessBound):
    """The engine's shared parts on one event loop with one ledger."""

    def __init__(self, settings: Settings) -> None:
        self.clock = CLOCK
        self.ledger = ledger_of(settings)
        self.home = settings.home
        self.clients = GatewayClients(sandbox_home=settings.home / "sandbox")
        self.fetcher = Fetcher(self.clients)
        self._checked = False
        self._lookouts: dict[Any, Poller] = {}
        self._rooms: dict[Any, asyncio.Semaphore] = {}
        self._histories: dict[Kind, DurationHistory] = {}
        loop.at_stop(self.close)

    def lookout(self, gateway: Endpoint) -> Poller:
        """Return the one who looks after this gateway's open tasks."""
        name = (gateway.provider.name, gateway.base_url, gateway.key, gateway.polling)
        if name not in self._lookouts:
            self._lookouts[name] = Poller(gateway.provider, gateway.polling, self._looker(gateway), clock=self.clock)
        return self._lookouts[name]

    def _looker(self, gateway: Endpoint) -> Callable[[Call], Any]:
        async def look(call: Call) -> GatewayResponse:
            return await self.clients.call(self.clients.polls(gateway.base_url), gateway.base_url, gateway.key, call)

        return look

    async def submit(self, gateway: Endpoint, call: Call, idempotency_key: str, *, at_once: int, timeout: float) -> GatewayResponse:
        """Make a submission. Raises NotSent or OutcomeUnknown. With the first one the whole ledger is read, beside the work."""
        pool = self.clients.submits(gateway.base_url, at_once=at_once, timeout=timeout)
        try:
            return await self.clients.call(pool, gateway.base_url, gateway.key, call, headers={"Idempotency-Key": idempotency_key})
        finally:
            self.ledger.inspect_in_background()

    async def check(self) -> None:
        """Look once whether the ledger can be used, and again where damage was found; raises LedgerError before anything is sent."""
        if not self._checked or self.ledger.damage:
            await self.ledger.check()
            self._checked = True

    def submit_slots(self, gateway: Endpoint, submits_at_once: int) -> asyncio.Semaphore:
        """Return the gateway's bound on submissions in flight."""
        name = (gateway.provider.name, gateway.base_url, submits_at_once)
        return self._rooms.setdefault(name, asyncio.Semaphore(submits_at_once))

    async def history(self, kind: Kind, megapixels: float) -> DurationHistory:
        """Return the durations of a kind of task, read from the ledger once."""
        if kind not in self._histories:
            provider, sandbox, model, quality, tier = kind
            known = await self.ledger.durations(provider, model, quality, tier, limit=_LEARNT, sandbox=sandbox)
            prior = typical_seconds(quality, megapixels) * (SANDBOX_SCALE if sandbox else 1)
            self._histories.setdefault(kind, DurationHistory(known[::-1], prior))
        return self._histories[kind]

    async def close(self) -> None:
        """Close the connections."""
        await self.clients.close()
        _sessions.clear()


def ledger_of(settings: Settings) -> Ledger:
    """Return this process's ledger in the folder that the settings name."""
    home = settings.home.absolute()
    if home not in _ledgers:
        _ledgers[home] = Ledger(home)
        loop.at_stop(lambda: _close(home))
    return _ledgers[home]


async def _close(home: Path) -> None:
    if book := _ledgers.pop(home, None):
        book.close()


def context_of(settings: Settings) -> EngineContext:
    """Return what the running loop's requests share; one for each ledger."""
    place = (asyncio.get_running_loop(), settings.home.absolute())
    if place not in _sessions:
        _sessions[place] = EngineContext(settings)
    return _sessions[place]


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_ledgers.clear)
    os.register_at_fork(after_in_child=_sessions.clear)
