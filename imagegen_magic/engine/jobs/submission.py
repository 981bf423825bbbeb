"""What a gateway's answer to a submission means for the money: accepted, certainly refused, refused for now, or unknown."""

from __future__ import annotations

import copy
from typing import TypeVar

from imagegen_magic.engine.net.client import GatewayResponse
from imagegen_magic.engine.net.retry import Retryable
from imagegen_magic.engine.net.transport import NotSent
from imagegen_magic.errors import (
    APIError,
    AuthenticationError,
    ContentRejected,
    GatewayUnreachable,
    ImageGenError,
    InsufficientBalance,
    LedgerError,
    PictureMissing,
    RateLimited,
    SubmissionUnknown,
)
from imagegen_magic.providers.base import Provider, Submission

_Error = TypeVar("_Error", bound=ImageGenError)

_COLLECT = "then %imagegen resume collects the picture, without paying again"
_STEPS: tuple[tuple[type[ImageGenError], str], ...] = (
    (AuthenticationError, f"check the key (%imagegen login NAME), {_COLLECT}"),
    (InsufficientBalance, f"top up the account at the service, {_COLLECT}"),
    (PictureMissing, "%imagegen resume polls it again later, without paying again"),
    (ImageGenError, "%imagegen resume polls it again, without paying again; if this stays so, ask the service's support"),
)
_FORGOTTEN = "it is no longer polled; ask the service's support whether it was charged"


def read_submission(provider: Provider, answer: GatewayResponse) -> Submission:
    """Read a submission's answer. Raises Retryable, SubmissionUnknown, or the gateway's refusal."""
    if answer.status < 300:
        return _accepted(provider, answer)
    if answer.status < 400:
        raise APIError(
            f"{provider.title} answered with a redirect ({answer.status}); the key does not follow it",
            status=answer.status,
            hint="check the base URL (%imagegen doctor)",
        )
    error = provider.read_error(answer.status, answer.content)
    if isinstance(error, APIError):
        error.request_id = error.request_id or answer.request_id
    if answer.status in (429, 503) and not isinstance(error, (InsufficientBalance, AuthenticationError, ContentRejected)):
        named = error.retry_after if isinstance(error, RateLimited) else None  # some services name the pause in the body alone
        pause = named if answer.retry_after is None else answer.retry_after
        raise Retryable(error, f"{provider.title} asks to wait ({answer.status})", pause)
    if isinstance(error, APIError) and (not error.refused or answer.status in (408, 409)):
        raise _unknown(error)
    raise error


def _accepted(provider: Provider, answer: GatewayResponse) -> Submission:
    try:
        return provider.read_submission(answer.content)
    except APIError as error:  # an answer with status 200 may report an outage too
        raise error if error.refused else _unknown(error) from None


def _unknown(error: APIError) -> SubmissionUnknown:
    return SubmissionUnknown(f"{error.what}; whether the task was accepted is not known", blame="gateway")


def after_acceptance(error: _Error) -> _Error:
    """Return an error that came after the task was accepted, with its charge and how to collect the task without paying again."""
    result = copy.copy(error)
    result.charge = "unknown" if isinstance(error, PictureMissing) else "yes"
    result.hint, result.retry = next(step for kind, step in _STEPS if isinstance(error, kind)), False  # to repeat it would pay twice
    return result


def unreachable(title: str, error: NotSent) -> Retryable:
    """Return the refusal of a submission that was certainly not sent."""
    return Retryable(
        GatewayUnreachable(f"{title} cannot be reached ({error})", hint=error.hint or None, retry=True), f"no connection to {title}"
    )


def with_task_id(error: LedgerError, task_id: str) -> str:
    """Return an error's message with the id that the ledger could not record: the gateway's support asks for it."""
    return f"{error.what}; the service's id of this task is {task_id}"


def forgotten(error: _Error) -> _Error:
    """Return the error that ends a task which was accepted long ago and which the gateway no longer knows."""
    result = copy.copy(error)
    result.charge, result.hint, result.retry = "unknown", _FORGOTTEN, False
    return result


def several(provider: Provider, task_id: str, others: tuple[str, ...]) -> ImageGenError:
    """Return the error if a gateway made further tasks of one submission: they may be charged, and are not polled."""
    return ImageGenError(
        f"{provider.title} made {1 + len(others)} tasks of one submission; {task_id} is waited for, and not {', '.join(others)}",
        charge="unknown",
        hint="check the service's own task list, or ask its support; the whole answer is in the ledger",
    )
