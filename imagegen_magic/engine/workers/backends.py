"""The backends of one event loop: one for each number of processes and for each cluster that a request names."""

from __future__ import annotations

from typing import Any

from imagegen_magic.engine.net.transport import is_own
from imagegen_magic.engine.workers.batches import Batches
from imagegen_magic.engine.workers.cluster import DaskBackend
from imagegen_magic.engine.workers.pool import ProcessPoolBackend
from imagegen_magic.errors import UnsupportedOption


class Backends:
    """Makes each backend once, and closes them all."""

    def __init__(self) -> None:
        self._known: dict[Any, Batches] = {}

    def of(self, workers: Any) -> Batches | None:
        """Return the backend of the setting `workers`; None if this process fetches the pictures itself.

        Raises UnsupportedOption if requests go through a transport of the user's.
        """
        if not workers:
            return None
        if is_own():
            what = "A transport of your own carries the requests of this process, and workers would connect without it"
            raise UnsupportedOption(what, option="workers", value=0, hint="leave workers out, or set workers=0")
        named = workers if isinstance(workers, int | str) else workers.scheduler.address
        if named not in self._known:
            self._known[named] = ProcessPoolBackend(workers) if isinstance(workers, int) else DaskBackend(workers)
        return self._known[named]

    async def close(self) -> None:
        """Close all of them."""
        for backend in self._known.values():
            await backend.close()
