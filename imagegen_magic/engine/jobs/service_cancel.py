"""Cancelling open tasks of the ledger at their services on request, also those that run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

from imagegen_magic.engine.context import EngineContext, context_of
from imagegen_magic.engine.endpoints import Endpoint
from imagegen_magic.engine.jobs.cancellation import ask_to_cancel, before_it_began
from imagegen_magic.engine.jobs.resume import same_endpoint
from imagegen_magic.engine.ledger.ledger import TaskRow
from imagegen_magic.engine.net.transport import NotSent, OutcomeUnknown
from imagegen_magic.engine.settings import Settings
from imagegen_magic.errors import Charge, ImageGenError, WaitingStopped
from imagegen_magic.providers.base import Failed, Pending

Outcome = Literal["cancelled", "stopped", "asked", "finished", "failed", "unclear", "impossible", "not open"]


class Cancellation(NamedTuple):
    """What cancelling a task did: `cancelled` before it began, `stopped` while it ran, or only `asked` to stop; and its charge.

    `failed`: it had ended without a picture before; `problem` is then why.
    """

    task: TaskRow
    outcome: Outcome
    charge: Charge = "unknown"
    problem: str = ""


async def cancel_at_service(settings: Settings, rows: Sequence[int]) -> list[Cancellation]:
    """Cancel open tasks of the ledger at their services, also those that run, and record what came of it."""
    context = context_of(settings)
    claimed = await context.ledger.claim(rows=rows)
    try:
        done = [await _cancelled(context, settings, task) for task in claimed]
    finally:
        await context.ledger.release([task.row for task in claimed])
    others = await context.ledger.tasks(rows=sorted(set(rows) - {task.row for task in claimed}))
    return [*(_closed(task) for task in others), *done]


async def _cancelled(context: EngineContext, settings: Settings, task: TaskRow) -> Cancellation:
    try:
        endpoint = same_endpoint(task, settings)
        call = endpoint.provider.cancel_call(task.task_id or "")
        if call is None or not task.task_id:
            return Cancellation(task, "impossible")
        return await _settled(context, endpoint, task, await ask_to_cancel(context, endpoint, call))
    except (NotSent, OutcomeUnknown) as trouble:
        return Cancellation(task, "unclear", problem=f"no answer ({trouble})")
    except ImageGenError as error:
        return Cancellation(task, "unclear", problem=error.what)


async def _settled(context: EngineContext, endpoint: Endpoint, task: TaskRow, answer: str) -> Cancellation:
    """Record what the answer to a cancelling means; unless it is clear, a poll shows what became of the task."""
    if answer == "cancelled":
        await context.ledger.set_state(task.row, "failed", error=before_it_began(endpoint.provider))
        return Cancellation(task, "cancelled", "no")
    state = await context.poller(endpoint).poll_once(task.task_id or "")
    if isinstance(state, Failed):
        await context.ledger.set_state(task.row, "failed", error=state.error)
        return Cancellation(task, "failed" if answer == "finished" else "stopped", state.error.charge, state.error.what)
    if isinstance(state, Pending) and answer != "finished":
        return Cancellation(task, "asked" if answer == "running" else "unclear")
    return Cancellation(task, "finished", "yes")


def _closed(task: TaskRow) -> Cancellation:
    """Return what is known of a task that is not open, or that another process has."""
    if task.state == "failed" and isinstance(task.failure, WaitingStopped):
        return Cancellation(task, "cancelled", task.failure.charge)
    return Cancellation(task, "not open")
