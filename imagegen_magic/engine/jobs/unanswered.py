"""Submissions of unknown outcome: what can still be tried, and the search in the gateways' own lists of tasks."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import NamedTuple

from imagegen_magic.engine import threads
from imagegen_magic.engine.clock import CLOCK
from imagegen_magic.engine.context import EngineContext
from imagegen_magic.engine.endpoints import Endpoint
from imagegen_magic.engine.jobs.inquiry import INDETERMINATE, asked_until
from imagegen_magic.engine.jobs.resume import price_of, same_endpoint
from imagegen_magic.engine.jobs.spooled import recovered
from imagegen_magic.engine.ledger.inquiries import Inquiry, begin_inquiry, end_inquiry, inquiries_of, known_ids
from imagegen_magic.engine.ledger.ledger import Ledger, TaskRow
from imagegen_magic.engine.net.transport import NotSent, OutcomeUnknown
from imagegen_magic.engine.settings import Settings
from imagegen_magic.errors import APIError, ImageGenError
from imagegen_magic.providers.base import ListedTask, Provider
from imagegen_magic.result import Cost

_LISTED = 3 * 86_400.0  # seconds for which a submission is searched in the gateway's list
_NEAR = 60.0  # seconds between a submission and the creation of its task in the gateway's list


class Unanswered(NamedTuple):
    """A submission of unknown outcome, and what can still be tried.

    `until` (epoch seconds) is how long the gateway can be asked with the same key; None if it cannot. Asking may create the images if the
    first request never arrived: `price` is what they would cost. `listed`: the gateway's own list of tasks can be searched, which costs
    nothing.
    """

    task: TaskRow
    price: Cost
    until: float | None = None
    listed: bool = False


async def unanswered(ledger: Ledger, settings: Settings) -> list[Unanswered]:
    """Return the submissions of unknown outcome, newest first."""
    tasks = await ledger.tasks(states=("unknown",))
    asked = await inquiries_of(ledger, [task.row for task in tasks])
    return [_unanswered(task, settings, asked.get(task.row, ())) for task in tasks]


def _unanswered(task: TaskRow, settings: Settings, asked: Sequence[Inquiry]) -> Unanswered:
    price = task.cost if task.cost.amount is not None else price_of(task)
    try:
        provider = same_endpoint(task, settings).provider
    except ImageGenError:  # it has another address now, or no key
        return Unanswered(task, price)
    submitted, now = task.submitting_at or task.created, CLOCK.time()
    until = asked_until(provider, submitted)
    final = any(each.outcome == INDETERMINATE for each in asked)
    return Unanswered(task, price, None if final or until is None or until <= now else until, _is_listed(provider, submitted, now))


def _is_listed(provider: Provider, submitted: float, now: float) -> bool:
    return bool(provider.list_path) and now - submitted < _LISTED


async def recover_listed(context: EngineContext, settings: Settings, rows: Sequence[Unanswered]) -> list[int]:
    """Search the gateways' own lists for these submissions and record the ids of those found; returns their rows. Nothing is submitted.

    A list that cannot be read finds none.
    """
    found: list[int] = []
    searched: dict[Endpoint, list[ListedTask]] = {}
    for each in rows:
        if not each.listed:
            continue
        endpoint = same_endpoint(each.task, settings)
        inquiry = await begin_inquiry(context.ledger, each.task.row, "list")
        try:
            if endpoint not in searched:
                searched[endpoint] = await _listed(context, endpoint)
            known = await known_ids(context.ledger, [task.task_id for task in searched[endpoint]])
            listed = the_one_that_fits(each.task, searched[endpoint], known)
            await end_inquiry(context.ledger, inquiry, "found" if listed else "not found")
            if listed:
                await context.ledger.set_state(each.task.row, "submitted", task_id=listed.task_id)
                found.append(each.task.row)
        finally:
            await context.ledger.release([each.task.row])
    return found


async def recover_spooled(context: EngineContext, settings: Settings, rows: Sequence[Unanswered]) -> list[int]:
    """Record the results that came before the process ended and that the ledger does not have; returns their rows. Nothing is sent."""
    found: list[int] = []
    for each in rows:
        try:
            endpoint = same_endpoint(each.task, settings)
        except ImageGenError:
            continue
        name = each.task.idempotency_key
        result = await threads.writing(recovered, context.home, endpoint.provider, name)
        if result is not None:
            cost = endpoint.label_cost(result.cost if result.cost.amount is not None else each.price)
            await context.ledger.record_result(
                each.task.row, result.image_urls, expires_at=None, cost=cost, seconds=result.seconds, answer=None, task_id=name
            )
            found.append(each.task.row)
    return found


async def _listed(context: EngineContext, endpoint: Endpoint) -> list[ListedTask]:
    call = endpoint.provider.list_call()
    if call is None:
        return []
    try:
        answer = await context.call(endpoint, call)
        return endpoint.provider.read_list(answer.content) if answer.status < 300 else []
    except (NotSent, OutcomeUnknown, APIError):
        return []


def the_one_that_fits(row: TaskRow, listed: Iterable[ListedTask], known: Collection[str]) -> ListedTask | None:
    """Return the listed task that is certainly this submission; None if none fits, or several.

    It has the same model, prompt and size, was created within a minute of the submission, and no task of the ledger has its id.
    """
    sent, submitted = row.sent["json"], row.submitting_at or row.created
    fitting = [
        task
        for task in listed
        if task.task_id not in known
        and abs(task.created - submitted) <= _NEAR
        and (task.model, task.prompt) == (sent.get("model"), sent.get("prompt"))
        and task.size in (None, sent.get("size"))
    ]
    return fitting[0] if len(fitting) == 1 else None
