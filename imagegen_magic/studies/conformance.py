"""Reports on conformance: how often each gateway and model delivered what was requested, how fast, and at which price."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from decimal import Decimal
from typing import Any

from imagegen_magic.engine import api, loop
from imagegen_magic.engine.ledger.conformance import KEYS, ImageFacts, TaskFacts, image_facts, task_facts
from imagegen_magic.engine.ledger.ledger import Ledger
from imagegen_magic.errors import UnsupportedOption
from imagegen_magic.records import Record
from imagegen_magic.studies.history.search import parse_since

BY = tuple(KEYS)


@dataclass(frozen=True, slots=True)
class Share(Record):
    """How many of so many: `good` of `total`; `total` 0 if nothing was requested."""

    good: int = 0
    total: int = 0

    @property
    def fraction(self) -> float | None:
        """The share, 0..1; None without a total."""
        return self.good / self.total if self.total else None

    def __str__(self) -> str:
        return f"{self.good} of {self.total}" if self.total else "–"


@dataclass(frozen=True, slots=True)
class Conformance(Record):
    """The tasks of one `key`, the sandbox's apart.

    `pixels`, `format` and `alpha` count saved images, `count` counts tasks with all their images. `failed` and `unknown` are shares of
    `tasks`. `median` and `p90` are seconds. `estimated` and `charged` are sums in `unit` over the tasks that have both.
    """

    key: str
    sandbox: bool
    tasks: int
    pixels: Share
    format: Share
    alpha: Share
    count: Share
    failed: Share
    unknown: Share
    median: float | None
    p90: float | None
    unit: str = ""
    estimated: Decimal | None = None
    charged: Decimal | None = None


class ConformanceReport(tuple[Conformance, ...]):
    """Rows of Conformance, the sandbox's last; `to_frame()` needs pandas."""

    def to_frame(self) -> Any:
        """Return a pandas DataFrame with one row for each key; shares are fractions 0..1. Raises ModuleNotFoundError without pandas."""
        try:
            import pandas  # type: ignore[import-untyped,import-not-found,unused-ignore]  # optional
        except ModuleNotFoundError:
            raise ModuleNotFoundError("to_frame() needs pandas (pip install pandas); each row has the same values", name="pandas") from None
        return pandas.DataFrame([_flat(row) for row in self])


def _flat(row: Conformance) -> dict[str, Any]:
    flat = {each.name: getattr(row, each.name) for each in fields(row)}
    flat |= {name: value.fraction for name, value in flat.items() if isinstance(value, Share)}
    return flat | {name: float(value) for name, value in flat.items() if isinstance(value, Decimal)}


def conformance(*, by: str = "model", since: str | float | None = None) -> ConformanceReport:
    """Return how the requests of this ledger were fulfilled, grouped by one of `BY`. From synchronous code.

    `since` is epoch seconds or a text such as `7d`. Raises UnsupportedOption.
    """
    return loop.run(conformance_of(api.ledger(), by=by, since=since))


async def conformance_of(ledger: Ledger, *, by: str = "model", since: str | float | None = None) -> ConformanceReport:
    """Return the report of a ledger, as `conformance`."""
    if by not in BY:
        raise UnsupportedOption(f"Conformance cannot be grouped by {by}", option="by", value=by, allowed=BY)
    start = parse_since(since) if isinstance(since, str) else since or 0.0
    images: dict[int, list[ImageFacts]] = {}
    for image in await image_facts(ledger, start):
        images.setdefault(image.task, []).append(image)
    groups: dict[tuple[bool, str], list[TaskFacts]] = {}
    for task in await task_facts(ledger, by, start):
        groups.setdefault((task.sandbox, task.key), []).append(task)
    return ConformanceReport(_row(key, tasks, images) for key, tasks in sorted(groups.items()))


def _row(key: tuple[bool, str], tasks: Sequence[TaskFacts], images: dict[int, list[ImageFacts]]) -> Conformance:
    finished = [task for task in tasks if task.state in ("made", "saved")]
    found = [image for task in tasks for image in images.get(task.row, ())]
    seconds = sorted(task.seconds for task in finished if task.seconds is not None)
    return Conformance(
        key=key[1],
        sandbox=key[0],
        tasks=len(tasks),
        pixels=_share(image.pixels for image in found),
        format=_share(image.format for image in found),
        alpha=_share(image.alpha for image in found),
        count=_share(task.received == task.requested for task in finished),
        failed=_share(task.state == "failed" for task in tasks),
        unknown=_share(task.state == "unknown" for task in tasks),
        median=statistics.median(seconds) if seconds else None,
        p90=seconds[max(0, -(-len(seconds) * 9 // 10) - 1)] if seconds else None,
        **_money(finished),
    )


def _share(values: Iterable[bool | None]) -> Share:
    known = [value for value in values if value is not None]
    return Share(sum(known), len(known))


def _money(tasks: Iterable[TaskFacts]) -> dict[str, Any]:
    """Return estimate and charge in the unit in which most tasks have both; empty if none has."""
    units: dict[str, list[tuple[Decimal, Decimal]]] = {}
    for task in tasks:
        estimate, charge = task.price, task.cost
        known = charge.kind in ("measured", "calculated") and charge.unit == estimate.unit
        if known and not estimate.unknown and estimate.amount is not None:
            units.setdefault(charge.unit, []).append((estimate.amount, charge.amount or Decimal(0)))
    if not units:
        return {}
    unit, amounts = max(units.items(), key=lambda item: len(item[1]))
    estimated, charged = map(sum, zip(*amounts, strict=True))
    return {"unit": unit, "estimated": estimated, "charged": charged}
