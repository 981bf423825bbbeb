"""A Dask cluster that fetches pictures; the only module that imports `distributed`, which is optional.

Dask runs a task again if its worker ends, and may run it twice. Nothing that it reports says anything about what was paid.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import secrets
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from imagegen_magic._version import __version__, install_extra
from imagegen_magic.engine import threads
from imagegen_magic.engine.storage import parts
from imagegen_magic.engine.workers.batches import Batches
from imagegen_magic.engine.workers.fetching import identify
from imagegen_magic.engine.workers.records import BackendLost, WorkerLost
from imagegen_magic.errors import UnsupportedOption
from imagegen_magic.paths import Location

_AHEAD = 2  # batches for each thread of the workers: one runs, and one waits beside it
_CONNECT = 10.0  # seconds to reach the scheduler
_ANSWER = 30.0  # seconds that its workers have to name their version
_GRACE = 2.0  # seconds to close a connection
_PATIENCE = 60.0  # seconds between checks that there are workers at all

_LOST = (concurrent.futures.CancelledError, OSError, TimeoutError)
"""What `distributed` raises when the scheduler or a connection is gone: FutureCancelledError and CommClosedError are among them."""


class DaskBackend(Batches):
    """The workers of a scheduler, given by its address or by a client, through a connection of this loop's own."""

    idle_seconds = 0.5  # a client logs errors when its cluster is closed, and connects quickly

    def __init__(self, cluster: Any) -> None:
        super().__init__()
        self._address: str = cluster if isinstance(cluster, str) else cluster.scheduler.address
        self._security: Any = None if isinstance(cluster, str) else cluster.security
        self._client: Any = None
        self._connecting = asyncio.Lock()
        self._threads = 1

    @property
    def slots(self) -> int:
        """Some batches for each thread."""
        return _AHEAD * self._threads

    async def check(self, folder: Location) -> None:
        """Raise UnsupportedOption if the scheduler cannot be reached, or a worker has another version or does not see the folder."""
        try:
            client = await self._connected()
            found = await self._identified(client, folder)
        except BackendLost as lost:
            raise self._refusal(str(lost), "start it, or leave workers out") from None
        if others := sorted({version for version, _ in found.values() if version != __version__}):
            what = f"its workers have imagegen_magic {', '.join(others)}, and this process has {__version__}"
            raise self._refusal(what, "install the same version on all of them")
        if blind := [worker for worker, (_, sees) in found.items() if not sees]:
            what = f"{len(blind)} of its {len(found)} workers do not see the folder {folder}"
            raise self._refusal(what, "choose a folder that all machines share (save_dir), or workers on this machine")

    async def check_resources(self, resources: Mapping[str, float]) -> None:
        """Raise UnsupportedOption if no worker has them: Dask would wait for one."""
        try:
            known = await (await self._connected()).scheduler.identity()
        except (BackendLost, OSError) as lost:
            raise self._refusal(str(lost) or "its scheduler does not answer", "start it, or leave workers out") from None
        offers = [worker["resources"] for worker in known["workers"].values()]
        if not any(all(offer.get(name, 0) >= amount for name, amount in resources.items()) for offer in offers):
            named = ", ".join(f"{name}={amount:g}" for name, amount in resources.items())
            raise self._refusal(f"none of its workers has the resources {named}", f"start one with --resources {named.replace(', ', ' ')}")

    def _refusal(self, what: str, hint: str) -> UnsupportedOption:
        return UnsupportedOption(f"The Dask cluster at {self._address} cannot be used: {what}", option="workers", value="", hint=hint)

    async def _identified(self, client: Any, folder: Location) -> dict[str, tuple[str, bool]]:
        """Return each worker's version, and whether it sees a file that this process writes to the folder. Raises BackendLost."""
        probe = folder / f".workers-{secrets.token_hex(8)}" if isinstance(folder, Path) else None  # each finds a store by itself
        if probe is not None:
            await threads.writing(parts.publish, b"", probe)
        try:
            async with asyncio.timeout(_ANSWER):
                found: dict[str, tuple[str, bool]] = await client.run(identify, None if probe is None else str(probe))
                return found
        except TimeoutError:
            raise BackendLost("its workers do not answer") from None
        except ModuleNotFoundError:
            raise BackendLost(f"its workers do not have imagegen_magic {__version__}") from None
        except OSError as error:  # also what distributed raises for a lost connection
            raise BackendLost(f"its workers cannot be reached ({type(error).__name__})") from None
        finally:
            if probe is not None:
                await threads.writing(probe.unlink, missing_ok=True)

    async def call(self, function: Callable[[Any], Any], argument: Any, resources: Mapping[str, float] | None = None) -> Any:
        """Run it as one Dask task, whose key names nothing of it."""
        client = await self._connected()
        from distributed import KilledWorker

        future = client.submit(
            function, argument, key=f"imagegen-{secrets.token_hex(16)}", pure=False, resources=resources and dict(resources)
        )
        try:
            return await self._result(client, future)
        except KilledWorker:
            raise WorkerLost("the workers that ran it ended") from None
        finally:
            future.release()

    async def _result(self, client: Any, future: Any) -> Any:
        """Wait for a Dask task. Raises what it raises, and BackendLost if the scheduler or its last worker is gone."""
        waiting = asyncio.ensure_future(future.result())
        try:
            while not (await asyncio.wait([waiting], timeout=_PATIENCE))[0]:
                await self._count_threads(client)
            return waiting.result()
        except _LOST as error:
            await self.rest()
            raise BackendLost(f"the Dask cluster is gone ({type(error).__name__})") from None
        finally:
            waiting.cancel()

    async def rest(self) -> None:
        """Close the connection."""
        client, self._client = self._client, None
        if client is not None:
            with contextlib.suppress(*_LOST):
                await client.close(timeout=_GRACE)

    async def _connected(self) -> Any:
        """Return the connection. Raises BackendLost, and UnsupportedOption without the optional package."""
        async with self._connecting:
            if self._client is None or self._client.status != "running":
                client = _client_class()(self._address, asynchronous=True, security=self._security, set_as_default=False, timeout=_CONNECT)
                try:
                    self._client = await client
                except _LOST as error:
                    raise BackendLost(f"it cannot be reached ({type(error).__name__})") from None
                await self._count_threads(self._client)
        return self._client

    async def _count_threads(self, client: Any) -> None:
        """Take note of how many threads the workers have. Raises BackendLost if there is none, or no scheduler."""
        try:
            self._threads = sum((await client.nthreads()).values())
        except _LOST as error:
            raise BackendLost(f"its scheduler does not answer ({type(error).__name__})") from None
        if not self._threads:
            raise BackendLost("it has no workers")


def _client_class() -> Any:
    try:
        from distributed import Client
    except ImportError:
        what = "Dask is not installed, so no cluster can fetch pictures"
        raise UnsupportedOption(what, option="workers", value="", hint=install_extra("dask")) from None

    class Connection(Client):
        """A client that closes when its scheduler is gone, without a word in the log; the next batch opens another."""

        async def _reconnect(self) -> None:
            await self._close()

    return Connection
