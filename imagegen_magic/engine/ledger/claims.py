"""Which tasks are in somebody's hands within this process: what nobody carries any more, the same process may collect again."""

from __future__ import annotations

from collections.abc import Collection, Iterable


class Claims:
    """The tasks (the ledger's rows) that one job has in its hands: left alone by everybody else until it lets them go, or ends.

    Asked from any thread. What is taken for a job after its end is in nobody's hands: its claim came too late.
    """

    def __init__(self) -> None:
        self._rows: set[int] = set()
        self._still: frozenset[int] | None = None

    @property
    def ended(self) -> bool:
        """Whether nobody is there any more to carry a task."""
        return self._still is not None

    @property
    def rows(self) -> list[int]:
        """The tasks that were taken and not let go."""
        return sorted(self._rows)

    def add(self, rows: Iterable[int]) -> None:
        """Have these tasks from now on."""
        self._rows.update(rows)

    def release(self, row: int) -> None:
        """Carry this task no longer."""
        self._rows.discard(row)

    def end(self, keep: Collection[int] = ()) -> None:
        """Carry no task any longer but those in `keep`, each until it is let go."""
        self._still = frozenset(keep)

    def __contains__(self, row: int) -> bool:
        return row in self._rows and (self._still is None or row in self._still)
