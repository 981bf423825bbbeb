"""Scores of images, the scorers that returned them, and calls of paid scorers (tables `scorers`, `scores` and others).

A value belongs to an image, a scorer's fingerprint, and the inputs that the scorer took: another version never replaces it.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterable, Mapping, Sequence
from decimal import Decimal
from typing import NamedTuple

from imagegen_magic.engine.ledger.budget import budget_check
from imagegen_magic.engine.ledger.file import LedgerFile
from imagegen_magic.engine.ledger.records import IN_LIST, cost_text, json_of, now, read_cost, text_of
from imagegen_magic.result import Cost

INTERRUPTED = "The call ended without an answer, so it may have been charged; --retry calls again."


class StoredScorer(NamedTuple):
    """One version of a scorer; `minimum` and `maximum` bound its values if they are known; `inputs` names what it takes besides the
    image, separated by blanks. `id` is the ledger's."""

    name: str
    version: str
    fingerprint: str
    kind: str
    better: str
    minimum: float | None
    maximum: float | None
    source: str
    packages: str
    inputs: str = ""
    id: int = 0


class ScoreRow(NamedTuple):
    """One value of an image: `state` is measured, not applicable or failed; `measure` is empty unless the scorer returned a dict."""

    picture: int
    scorer: int
    inputs: str
    measure: str
    state: str
    value: float | None
    reason: str = ""
    error: str = ""
    seconds: float | None = None
    cost: Cost = Cost()


class CombinationScoreRow(NamedTuple):
    """One value of all repeats of a combination of a sweep; `pictures` are the ids of its images."""

    sweep: int
    scorer: int
    combination: Mapping[str, str]
    measure: str
    state: str
    value: float | None
    pictures: tuple[int, ...]
    reason: str = ""
    error: str = ""


async def register(ledger: LedgerFile, scorer: StoredScorer) -> StoredScorer:
    """Store a version of a scorer, or find it, and return it with its id; it becomes the latest version of that name."""

    def work(connection: sqlite3.Connection) -> int:
        columns = {**scorer._asdict(), "source": text_of(scorer.source), "created": now(), "used": now()}
        del columns["id"]
        query = f"""INSERT INTO scorers ({", ".join(columns)}) VALUES ({", ".join("?" * len(columns))})
            ON CONFLICT (name, fingerprint) DO UPDATE SET used = excluded.used, better = excluded.better, minimum = excluded.minimum,
                maximum = excluded.maximum, version = excluded.version RETURNING id"""
        number: int = connection.execute(query, tuple(columns.values())).fetchone()[0]
        return number

    return scorer._replace(id=await ledger.run(work))


async def scorers(ledger: LedgerFile) -> list[StoredScorer]:
    """Return all versions of all scorers, the one that was used last at the end."""
    query = f"SELECT {', '.join(StoredScorer._fields)} FROM scorers ORDER BY used, id"
    return [StoredScorer(*row) for row in await ledger.fetch(query)]


async def known_pictures(ledger: LedgerFile, pictures: Mapping[int, str]) -> set[int]:
    """Return which images are in this ledger: `pictures` are ids with task ids. Another ledger has other images under the same ids."""
    query = f"SELECT pictures.id, tasks.task_id FROM pictures JOIN tasks ON tasks.row = pictures.task WHERE pictures.id {IN_LIST}"
    rows = await ledger.fetch(query, (json_of(list(pictures)),))
    return {row["id"] for row in rows if (row["task_id"] or "") == pictures[row["id"]]}


async def counts(ledger: LedgerFile) -> dict[int, tuple[int, int]]:
    """Return how many images each version of a scorer measured, and at how many it failed, by its id."""
    query = """SELECT scorer, sum(state = 'measured') AS measured, sum(state = 'failed') AS failed FROM (
            SELECT scorer, picture, min(state) AS state FROM scores GROUP BY scorer, picture) GROUP BY scorer
        UNION ALL SELECT scorer, sum(state = 'measured'), sum(state = 'failed') FROM combination_scores GROUP BY scorer"""
    found = await ledger.fetch(query)
    return {row["scorer"]: (row["measured"], row["failed"]) for row in found}


async def scores_of(ledger: LedgerFile, pictures: Iterable[int], scorer: int | None = None) -> list[ScoreRow]:
    """Return the scores of these images, by all scorers or by one."""
    query = f"""SELECT {", ".join(ScoreRow._fields)} FROM scores WHERE picture {IN_LIST} AND (? IS NULL OR scorer = ?)
        ORDER BY scorer, picture, inputs, measure"""
    rows = await ledger.fetch(query, (json_of(list(pictures)), scorer, scorer))
    costs = {text: read_cost(text) for text in {row["cost"] for row in rows}}
    return [ScoreRow._make((*row[:-1], costs[row["cost"]])) for row in rows]


async def combination_scores_of(ledger: LedgerFile, sweep: int, scorer: int | None = None) -> list[CombinationScoreRow]:
    """Return the scores of a sweep's combinations, by all scorers or by one."""
    query = f"""SELECT {", ".join(CombinationScoreRow._fields)} FROM combination_scores
        WHERE sweep = ? AND (? IS NULL OR scorer = ?) ORDER BY scorer, combination, measure"""
    return [_combination_row(row) for row in await ledger.fetch(query, (sweep, scorer, scorer))]


def _combination_row(row: sqlite3.Row) -> CombinationScoreRow:
    found = CombinationScoreRow(*row)
    return found._replace(combination=json.loads(row["combination"]), pictures=tuple(json.loads(row["pictures"])))


async def record_scores(ledger: LedgerFile, rows: Sequence[ScoreRow], calls: Sequence[int] = (), cost: Cost | None = None) -> None:
    """Store values durably, in place of failed ones of the same image, scorer and inputs; `calls` are the paid calls that end with them.

    Each of those calls cost `cost`, None if the scorer did not report it. A failed value replaces no measured one.
    """

    def work(connection: sqlite3.Connection) -> None:
        subjects = {(row.picture, row.scorer, row.inputs) for row in rows}
        connection.executemany("DELETE FROM scores WHERE picture = ? AND scorer = ? AND inputs = ? AND state = 'failed'", subjects)
        connection.executemany(_ADD_SCORE, [(*row[:-1], cost_text(row.cost), now()) for row in map(_storable, rows)])
        state = "failed" if all(row.state == "failed" for row in rows) else "answered"
        _end_calls(connection, calls, state, cost)

    await ledger.run(work, charge="unknown" if calls else "no", deferrable=bool(calls))


_ADD_SCORE = f"""INSERT INTO scores ({", ".join(ScoreRow._fields)}, created) VALUES ({", ".join("?" * (len(ScoreRow._fields) + 1))})
    ON CONFLICT (picture, scorer, inputs, measure) DO UPDATE SET state = excluded.state, value = excluded.value, reason = excluded.reason,
        error = excluded.error, seconds = excluded.seconds, cost = excluded.cost, created = excluded.created
    WHERE excluded.state != 'failed' OR scores.state = 'failed'"""


def _storable(row: ScoreRow) -> ScoreRow:
    return row._replace(measure=text_of(row.measure), reason=text_of(row.reason), error=text_of(row.error))


async def record_combination_scores(ledger: LedgerFile, rows: Sequence[CombinationScoreRow]) -> None:
    """Store the values of combinations durably, in place of earlier ones of the same scorer."""
    values = []
    for row in rows:
        stored = row._replace(measure=text_of(row.measure), reason=text_of(row.reason), error=text_of(row.error))._asdict()
        values.append((*(json_of(each) if isinstance(each, Mapping | tuple) else each for each in stored.values()), now()))
    marks = ", ".join("?" * (len(CombinationScoreRow._fields) + 1))
    query = f"INSERT OR REPLACE INTO combination_scores ({', '.join(CombinationScoreRow._fields)}, created) VALUES ({marks})"
    await ledger.run(lambda connection: connection.executemany(query, values))


def check_scoring_budget(
    ledger: LedgerFile, price: Cost, pictures: int, unknown_price: Decimal | None
) -> Callable[[sqlite3.Connection], None]:
    """Return the check of a budget for a number of calls of a paid scorer, each at `price`: it raises BudgetExceeded."""
    return budget_check([(price, 1)] * pictures, ledger, unknown_price)


async def begin_calls(
    ledger: LedgerFile, scorer: int, pictures: Sequence[int], price: Cost, unknown_price: Decimal | None = None
) -> list[int]:
    """Record calls of a paid scorer before they are made, one for each image, and return their ids.

    Raises BudgetExceeded, in the same transaction, if they would exceed a budget: nothing is recorded then.
    """
    check = check_scoring_budget(ledger, price, len(pictures), unknown_price)

    def work(connection: sqlite3.Connection) -> list[int]:
        check(connection)
        query = (
            "INSERT INTO score_calls (created, session, owner, scorer, picture, state, price, cost) VALUES (?, ?, ?, ?, ?, 'calling', ?, ?)"
        )
        values = [(now(), ledger.owner, ledger.owner, scorer, picture, cost_text(price), cost_text(Cost())) for picture in pictures]
        return [connection.execute(query, each).lastrowid or 0 for each in values]

    return await ledger.run(work)


def _end_calls(connection: sqlite3.Connection, calls: Iterable[int], state: str, cost: Cost | None) -> None:
    text = cost_text(cost or Cost())
    connection.executemany("UPDATE score_calls SET state = ?, cost = ? WHERE id = ?", [(state, text, call) for call in calls])


async def recover_calls(ledger: LedgerFile) -> int:
    """Mark the calls whose process has ended as unknown, give their images a failed score, and return their number.

    They may have been charged, so they are not made again by themselves.
    """

    def work(connection: sqlite3.Connection) -> int:
        calling = connection.execute("SELECT id, owner, scorer, picture FROM score_calls WHERE state = 'calling'").fetchall()
        ended = [row for row in calling if not ledger.is_alive(row["owner"])]
        _fail_calls(connection, [(row["id"], row["picture"], row["scorer"], "") for row in ended])
        return len(ended)

    return await ledger.run(work)


async def interrupt_calls(ledger: LedgerFile, calls: Mapping[int, int], scorer: int, inputs: Mapping[int, str]) -> None:
    """Mark calls that were cut off as unknown: `calls` are call id -> image id, `inputs` those of each image."""
    failed = [(call, picture, scorer, inputs.get(picture, "")) for call, picture in calls.items()]
    await ledger.run(lambda connection: _fail_calls(connection, failed), charge="unknown", deferrable=True)


def _fail_calls(connection: sqlite3.Connection, calls: Iterable[tuple[int, int, int, str]]) -> None:
    for call, picture, scorer, inputs in calls:
        connection.execute("UPDATE score_calls SET state = 'unknown' WHERE id = ?", (call,))
        row = ScoreRow(picture, scorer, inputs, "", "failed", None, error=INTERRUPTED)
        connection.execute(_ADD_SCORE, (*row[:-1], cost_text(row.cost), now()))
