"""Cancelling a task at the service if it has not begun, when the waiting for it is stopped."""

from __future__ import annotations

import contextlib

from imagegen_magic.engine.context import EngineContext
from imagegen_magic.engine.endpoints import Endpoint
from imagegen_magic.engine.net.transport import NotSent, OutcomeUnknown
from imagegen_magic.errors import ImageGenError, WaitingStopped
from imagegen_magic.providers.base import Call, Pending, Provider

_SECONDS = 3.0  # for a poll and a request, while the user waits for the end of the waiting
_UNREACHABLE = (NotSent, OutcomeUnknown, TimeoutError, ImageGenError)


def has_cancelling(provider: Provider) -> bool:
    """Return whether tasks can be cancelled at a service."""
    return provider.cancel_call("task") is not None


def before_it_began(provider: Provider) -> WaitingStopped:
    """Return the error of a task that was cancelled before the service began it."""
    return WaitingStopped(f"The task was cancelled at {provider.title} before it began", charge="no", hint="", retry=True)


async def cancel_if_queued(context: EngineContext, endpoint: Endpoint, task_id: str) -> bool:
    """Cancel a task that the service has not begun; returns whether it is cancelled and certainly costs nothing.

    A task that runs, or whose state is not clear, is left as it is.
    """
    call = endpoint.provider.cancel_call(task_id)
    if call is None:
        return False
    with contextlib.suppress(*_UNREACHABLE):
        async with context.clock.timeout(_SECONDS):
            state = await context.poller(endpoint).poll_once(task_id)
            if isinstance(state, Pending) and state.queued:
                return await ask_to_cancel(context, endpoint, call) == "cancelled"
    return False


async def ask_to_cancel(context: EngineContext, endpoint: Endpoint, call: Call) -> str:
    """Send the request that cancels a task, and return what its answer means. Raises NotSent or OutcomeUnknown."""
    return endpoint.provider.read_cancel((await context.call(endpoint, call)).content)
