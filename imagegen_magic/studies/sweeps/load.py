"""Sweeps loaded from the ledger by their number, with the images that they have now."""

from __future__ import annotations

from collections.abc import Sequence

from imagegen_magic.engine import loop
from imagegen_magic.engine.context import ledger_of
from imagegen_magic.engine.jobs.reuse import generated
from imagegen_magic.engine.ledger import stored_requests
from imagegen_magic.engine.ledger.ledger import TaskRow
from imagegen_magic.engine.ledger.sweeps import StoredSweep, find_sweep
from imagegen_magic.engine.settings import Settings
from imagegen_magic.engine.settings import load as load_settings
from imagegen_magic.errors import UnsupportedOption
from imagegen_magic.records import FrozenDict
from imagegen_magic.request import ImageRequest
from imagegen_magic.result import total
from imagegen_magic.studies.sweeps.result import SweepResult

_MISSING = {"failed": "failed", "unknown": "not known", "dropped": "not made", "saved": "file not found"}


def load(study: int | None = None, *, settings: Settings | None = None) -> SweepResult:
    """Return a sweep of the ledger as it is now, by default the latest; for synchronous code.

    If a combination failed and was made later, the result has the later one. Raises UnsupportedOption if there is no such sweep.
    """
    ledger = ledger_of(settings or load_settings())
    found = loop.run(find_sweep(ledger, study))
    if found is None:
        which = "no sweep yet" if study is None else f"no sweep {study}"
        raise UnsupportedOption(f"The ledger has {which}", option="study", value=study, hint="its number is in a result's .study")
    return _result(found, loop.run(ledger.tasks(rows=list(found.combinations))))


def _result(found: StoredSweep, tasks: Sequence[TaskRow]) -> SweepResult:
    order = {name: {value: number for number, value in enumerate(values)} for name, values in found.axes.items()}

    def order_of(task: TaskRow) -> list[int]:
        return [*(order.get(name, {}).get(value, 0) for name, value in found.combinations[task.row].items()), task.row]

    ordered = sorted(_without_superseded(tasks, found), key=order_of)
    images = [generated(each, task=number) for number, task in enumerate(ordered) for each in task.pictures if each.saved_at]
    ends = [task.saved_at for task in ordered if task.saved_at]
    began = min((task.created for task in ordered), default=0.0)
    return SweepResult(
        images=tuple(images),
        request=_request(found, ordered),
        provider=", ".join(dict.fromkeys(task.provider for task in ordered)),
        seconds=max(ends, default=began) - began,
        tasks=tuple(task.task_id for task in ordered if task.task_id),
        errors=tuple(task.failure for task in ordered if task.failure and task.state in ("failed", "unknown")),
        costs=total(task.cost for task in ordered if task.task_id),
        prompt=found.prompt,
        axes=FrozenDict({name: tuple(values) for name, values in found.axes.items()}),
        places=tuple(FrozenDict(found.combinations[task.row]) for task in ordered),
        words=tuple(_missing(task) for task in ordered),
        study=found.number,
    )


def _missing(task: TaskRow) -> str:
    """Return why a task has no image; empty if it has one."""
    if task.pictures:
        return ""
    return "deleted" if task.deleted else _MISSING.get(task.state, "waiting")


def _without_superseded(tasks: Sequence[TaskRow], found: StoredSweep) -> list[TaskRow]:
    """Leave out failed and dropped tasks if another task of the same combination succeeded."""
    made = {frozenset(found.combinations[task.row].items()) for task in tasks if task.state not in ("failed", "dropped")}
    combination = {task.row: frozenset(found.combinations[task.row].items()) for task in tasks if task.state in ("failed", "dropped")}
    return [task for task in tasks if combination.get(task.row) not in made]


def _request(found: StoredSweep, tasks: Sequence[TaskRow]) -> ImageRequest:
    """Return the request that all tasks share, without the options that vary."""
    if not tasks:
        return ImageRequest(found.prompt)
    fixed = {name: value for name, value in tasks[0].asked.items() if name not in found.axes}
    return stored_requests.request({**fixed, "prompt": found.prompt})
