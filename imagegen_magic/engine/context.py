"""What all requests on one event loop share: the ledger, the connections, the pollers, the uploads, and durations of tasks."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from imagegen_magic.engine import loop
from imagegen_magic.engine.clock import CLOCK
from imagegen_magic.engine.endpoints import SANDBOX_SCALE, Endpoint
from imagegen_magic.engine.jobs.fetch import Fetcher
from imagegen_magic.engine.ledger.ledger import Ledger
from imagegen_magic.engine.net.client import GatewayClients, GatewayResponse, Sink
from imagegen_magic.engine.polling.poller import Poller
from imagegen_magic.engine.polling.schedule import DurationModel, fit, typical_range, typical_seconds
from imagegen_magic.engine.rates import SubmissionLimiter
from imagegen_magic.engine.settings import Settings
from imagegen_magic.engine.workers.backends import Backends
from imagegen_magic.providers.base import Call
from imagegen_magic.records import ProcessBound

Kind = tuple[str, bool, str, str, str]  # provider, sandbox, model, quality, pixel tier: tasks whose durations are alike
_HISTORY = 60  # durations of a kind that count; gateways change, so older ones do not

_ledgers: dict[Path, Ledger] = {}
_contexts: dict[tuple[asyncio.AbstractEventLoop, Path], EngineContext] = {}


class DurationHistory:
    """The durations of one kind of task, and the expectation fitted to them."""

    def __init__(self, seconds: list[float], prior: float) -> None:
        self._seconds, self._prior = seconds, prior
        self._fitted: DurationModel | None = None
        self._typical = typical_range(seconds)

    def learn(self, seconds: float) -> None:
        """Add a duration; it counts at once for all tasks of this kind."""
        self._seconds = [*self._seconds, seconds][-_HISTORY:]
        self._fitted, self._typical = None, typical_range(self._seconds)

    def durations(self) -> DurationModel:
        """Return the expectation for the next task of this kind."""
        if self._fitted is None:
            self._fitted = fit(self._seconds, self._prior)
        return self._fitted

    def typical(self) -> tuple[float, float] | None:
        """Return the range that such a task usually takes, in seconds; None without enough history."""
        return self._typical


@dataclass(slots=True)
class UploadState:
    """The uploads of one context: which are running, which image an address holds, and which addresses no longer work."""

    locks: dict[tuple[str, str], asyncio.Lock] = field(default_factory=dict)  # by SHA-256 and host
    uploaded: dict[str, str] = field(default_factory=dict)  # address -> SHA-256
    expired: set[str] = field(default_factory=set)


class EngineContext(ProcessBound):
    """The engine's shared parts on one event loop with one ledger."""

    def __init__(self, settings: Settings) -> None:
        self.clock = CLOCK
        self.ledger = ledger_of(settings)
        self.home = settings.home
        self.clients = GatewayClients(sandbox_home=settings.home / "sandbox")
        self.fetcher = Fetcher(self.clients, self.home)
        self.workers = Backends()
        self.uploads = UploadState()
        self._checked = False
        self._pollers: dict[Any, Poller] = {}
        self._limiters: dict[Any, SubmissionLimiter] = {}
        self._histories: dict[Kind, DurationHistory] = {}
        loop.at_stop(self.close)

    def poller(self, gateway: Endpoint) -> Poller:
        """Return the poller of this gateway's tasks."""
        name = (gateway.provider.name, gateway.base_url, gateway.key, gateway.polling)
        if name not in self._pollers:
            self._pollers[name] = Poller(gateway.provider, gateway.polling, self._poll_call(gateway), clock=self.clock)
        return self._pollers[name]

    def _poll_call(self, gateway: Endpoint) -> Callable[[Call], Any]:
        async def poll(call: Call) -> GatewayResponse:
            return await self.call(gateway, call)

        return poll

    async def call(self, gateway: Endpoint, call: Call) -> GatewayResponse:
        """Make one call that costs nothing: a poll, a list, a balance. Raises NotSent or OutcomeUnknown."""
        pool = self.clients.polls(gateway.base_url)
        return await self.clients.call(pool, gateway.base_url, gateway.key, call, headers=gateway.headers, rule=gateway.key_rule)

    async def submit(
        self, gateway: Endpoint, call: Call, idempotency_key: str, *, at_once: int, timeout: float, sink: Sink | None = None
    ) -> GatewayResponse:
        """Send a submission. Raises NotSent or OutcomeUnknown. The ledger is read in the background meanwhile, to find damage."""
        pool = self.clients.submits(gateway.base_url, at_once=at_once, timeout=timeout)
        headers = {"Idempotency-Key": idempotency_key, **gateway.headers}
        try:
            return await self.clients.call(pool, gateway.base_url, gateway.key, call, headers=headers, rule=gateway.key_rule, sink=sink)
        finally:
            self.ledger.inspect_in_background()

    async def check(self) -> None:
        """Check once that the ledger can be used, and again after damage was found; raises LedgerError before anything is sent."""
        if not self._checked or self.ledger.damage:
            await self.ledger.check()
            self._checked = True

    def limiter(self, gateway: Endpoint) -> SubmissionLimiter:
        """Return what bounds the submissions of this gateway's key."""
        name = (gateway.provider.name, gateway.base_url, gateway.key)
        if name not in self._limiters:
            self._limiters[name] = SubmissionLimiter(self.clock)
        return self._limiters[name]

    async def history(self, kind: Kind, megapixels: float) -> DurationHistory:
        """Return the durations of a kind of task, read from the ledger once."""
        if kind not in self._histories:
            provider, sandbox, model, quality, tier = kind
            known = await self.ledger.durations(provider, model, quality, tier, limit=_HISTORY, sandbox=sandbox)
            prior = typical_seconds(quality, megapixels) * (SANDBOX_SCALE if sandbox else 1)
            self._histories.setdefault(kind, DurationHistory(known[::-1], prior))
        return self._histories[kind]

    async def close(self) -> None:
        """Close the connections."""
        await self.workers.close()
        await self.clients.close()
        _contexts.clear()


def ledger_of(settings: Settings) -> Ledger:
    """Return this process's ledger in the folder that the settings name."""
    home = settings.home.absolute()
    if home not in _ledgers:
        _ledgers[home] = Ledger(home)
        loop.at_stop(lambda: _close(home))
    return _ledgers[home]


async def _close(home: Path) -> None:
    if found := _ledgers.pop(home, None):
        found.close()


def context_of(settings: Settings) -> EngineContext:
    """Return the context of the running loop; one for each ledger."""
    key = (asyncio.get_running_loop(), settings.home.absolute())
    if key not in _contexts:
        _contexts[key] = EngineContext(settings)
    return _contexts[key]


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_ledgers.clear)
    os.register_at_fork(after_in_child=_contexts.clear)
