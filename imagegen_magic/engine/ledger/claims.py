"""Which job of this process has which tasks; a task that no job claims may be claimed again by the same process."""

from __future__ import annotations

from collections.abc import Collection, Iterable


class Claims:
    """The tasks (rows of the ledger) of one job: no other job may claim them until it releases them or ends.

    Usable from any thread. A task that is added after the end is not claimed.
    """

    def __init__(self) -> None:
        self._rows: set[int] = set()
        self._kept: frozenset[int] | None = None

    @property
    def ended(self) -> bool:
        """Whether the job has ended."""
        return self._kept is not None

    @property
    def rows(self) -> list[int]:
        """The tasks that were added and not released."""
        return sorted(self._rows)

    def add(self, rows: Iterable[int]) -> None:
        """Claim these tasks."""
        self._rows.update(rows)

    def release(self, row: int) -> None:
        """Release this task."""
        self._rows.discard(row)

    def end(self, keep: Collection[int] = ()) -> None:
        """Release all tasks except those in `keep`, which stay claimed until they are released."""
        self._kept = frozenset(keep)

    def __contains__(self, row: int) -> bool:
        return row in self._rows and (self._kept is None or row in self._kept)
