"""Submissions of unknown outcome: what can still be tried, and the search in the gateways' own lists of tasks."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from imagegen_magic.engine import threads
from imagegen_magic.engine.clock import CLOCK
from imagegen_magic.engine.context import EngineContext
from imagegen_magic.engine.endpoints import Endpoint
from imagegen_magic.engine.jobs.inquiry import INDETERMINATE, asked_until
from imagegen_magic.engine.jobs.resume import price_of, same_endpoint
from imagegen_magic.engine.jobs.spooled import recovered
from imagegen_magic.engine.ledger.claims import Claims
from imagegen_magic.engine.ledger.inquiries import Inquiry, begin_inquiry, end_inquiry, inquiries_of, known_ids
from imagegen_magic.engine.ledger.ledger import Ledger, TaskRow
from imagegen_magic.engine.net.transport import NotSent, OutcomeUnknown
from imagegen_magic.engine.settings import Settings
from imagegen_magic.errors import APIError, ImageGenError
from imagegen_magic.providers.base import ListedTask, Succeeded
from imagegen_magic.result import Cost

_NEAR = 60.0  # seconds between a submission and the creation of its task in the gateway's list


class Unanswered(NamedTuple):
    """A submission of unknown outcome, and what can still be tried.

    `until` (epoch seconds) is how long the gateway can be asked with the same key; None if it cannot. Asking may create the images if the
    first request never arrived: `price` is what they would cost. `listed_until` is how long the gateway's own list of tasks is searched,
    which costs nothing; None if it is not. `problem` is why its gateway cannot be used, and what to do.
    """

    task: TaskRow
    price: Cost
    until: float | None = None
    listed_until: float | None = None
    problem: str = ""


async def unanswered(ledger: Ledger, settings: Settings) -> list[Unanswered]:
    """Return the submissions of unknown outcome, newest first."""
    tasks = await ledger.tasks(states=("unknown",))
    asked = await inquiries_of(ledger, [task.row for task in tasks])
    return [_unanswered(task, settings, asked.get(task.row, ())) for task in tasks]


def _unanswered(task: TaskRow, settings: Settings, asked: Sequence[Inquiry]) -> Unanswered:
    price = task.cost if task.cost.amount is not None else price_of(task)
    try:
        provider = same_endpoint(task, settings).provider
    except ImageGenError as error:  # it has another address now, or no key
        return Unanswered(task, price, problem=": ".join(filter(None, (error.what, error.hint))))
    submitted, now = task.submitting_at or task.created, CLOCK.time()
    until = asked_until(provider, submitted)
    final = any(each.outcome == INDETERMINATE for each in asked)
    listed_until = submitted + provider.list_seconds if provider.list_path else None
    return Unanswered(task, price, None if final else _ahead(until, now), _ahead(listed_until, now))


def _ahead(moment: float | None, now: float) -> float | None:
    return None if moment is None or moment <= now else moment


async def recover_listed(context: EngineContext, settings: Settings, rows: Sequence[Unanswered], claims: Claims) -> list[int]:
    """Search the gateways' own lists for these submissions and record the ids of those found; returns their rows. Nothing is submitted.

    Those that a living process asks about are left to it. A list that cannot be read finds none.
    """
    listed = [each.task for each in rows if each.listed_until]
    own = {task.row for task in await context.ledger.claim_unknown([task.row for task in listed], claims=claims)} if listed else set()
    searched: dict[Endpoint, list[ListedTask]] = {}
    try:
        mine = [(task, same_endpoint(task, settings)) for task in listed if task.row in own]
        return [task.row for task, endpoint in mine if await _recover(context, endpoint, task, searched, own)]
    finally:
        await context.ledger.release(sorted(own))
        for row in own:
            claims.release(row)


async def _recover(
    context: EngineContext, endpoint: Endpoint, task: TaskRow, searched: dict[Endpoint, list[ListedTask]], own: Collection[int]
) -> bool:
    """Search one submission in its gateway's list; lists are kept in `searched`, and `own` are the submissions that this process has."""
    ledger = context.ledger
    inquiry = await begin_inquiry(ledger, task.row, "list")
    if endpoint not in searched:
        searched[endpoint] = await _listed(context, endpoint)
    known = await known_ids(ledger, [each.task_id for each in searched[endpoint]])
    others = await ledger.tasks(states=("submitting", "unknown"))
    rivals = [other for other in others if other.row not in own or other.sent != task.sent]
    found = the_one_that_fits(task, searched[endpoint], known, rivals)
    await end_inquiry(ledger, inquiry, "found" if found else "not found")
    if found:
        await ledger.set_state(task.row, "submitted", task_id=found.task_id)
    return found is not None


async def recover_spooled(context: EngineContext, settings: Settings, rows: Sequence[Unanswered], claims: Claims) -> list[int]:
    """Record the results that came before the process ended and that the ledger does not have; returns their rows. Nothing is sent.

    Those that another process recovers meanwhile, or that are no longer of unknown outcome, are left as they are.
    """
    found: list[int] = []
    for each in rows:
        try:
            endpoint = same_endpoint(each.task, settings)
        except ImageGenError:
            continue
        result = await threads.writing(recovered, context.home, endpoint.provider, each.task.idempotency_key)
        if result is not None and await context.ledger.claim_unknown([each.task.row], claims=claims):
            await _record_recovered(context, endpoint, each, result)
            claims.release(each.task.row)
            found.append(each.task.row)
    return found


async def _record_recovered(context: EngineContext, endpoint: Endpoint, each: Unanswered, result: Succeeded) -> None:
    try:
        await context.ledger.record_result(
            each.task.row,
            result.image_urls,
            expires_at=None,
            cost=endpoint.label_cost(result.cost if result.cost.amount is not None else each.price),
            seconds=result.seconds,
            answer=None,
            task_id=each.task.idempotency_key,
            seeds=result.seeds,
            text=result.text,
        )
    finally:
        await context.ledger.release([each.task.row])


async def _listed(context: EngineContext, endpoint: Endpoint) -> list[ListedTask]:
    call = endpoint.provider.list_call()
    if call is None:
        return []
    try:
        answer = await context.call(endpoint, call)
        return endpoint.provider.read_list(answer.content) if answer.status < 300 else []
    except (NotSent, OutcomeUnknown, APIError):
        return []


def the_one_that_fits(
    row: TaskRow, listed: Iterable[ListedTask], known: Collection[str], rivals: Iterable[TaskRow] = ()
) -> ListedTask | None:
    """Return the listed task that is certainly this submission; None if none fits, or several.

    It has the same model, prompt and size, was created within a minute of the submission, and no task of the ledger has its id. None of
    the `rivals`, which are other submissions without an answer, could be it as well: a list names neither quality nor format.
    """
    sent, submitted = _identity(row), row.submitting_at or row.created
    if any(_identity(other) == sent and abs((other.submitting_at or other.created) - submitted) <= 2 * _NEAR for other in rivals):
        return None
    fitting = [
        task
        for task in listed
        if task.task_id not in known
        and abs(task.created - submitted) <= _NEAR
        and (task.model, task.prompt) == sent[:2]
        and task.size in (None, sent[2])
    ]
    return fitting[0] if len(fitting) == 1 else None


def _identity(row: TaskRow) -> tuple[Any, Any, Any]:
    """Return what a list can name of a submission: its model, prompt and size."""
    sent = row.sent["json"]
    fields = sent["input"] if isinstance(sent.get("input"), Mapping) else sent
    return sent.get("model") or row.model, fields.get("prompt"), fields.get("size")
