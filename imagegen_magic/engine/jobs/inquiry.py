"""Asking a gateway about a submission of unknown outcome: the same body with the same Idempotency-Key."""

from __future__ import annotations

from imagegen_magic.engine.jobs.submission import read_submission
from imagegen_magic.engine.net.client import GatewayResponse
from imagegen_magic.engine.net.retry import Retryable
from imagegen_magic.errors import APIError, AuthenticationError, InsufficientBalance, NotFound, RateLimited, SubmissionUnknown
from imagegen_magic.providers import responses
from imagegen_magic.providers.base import Provider, Submission
from imagegen_magic.records import PortableError

_UNDOCUMENTED = 3600.0  # seconds for which a key is assumed to be remembered if the gateway's page does not say
_MARGIN = 3600.0  # seconds before the documented end of a key at which asking ends
INDETERMINATE = "indeterminate"  # the outcome of an inquiry after which nothing more is asked
_ABOUT_THE_ACCOUNT = (AuthenticationError, InsufficientBalance, NotFound, RateLimited)


class StillUnclear(PortableError):
    """The outcome is not known yet and may be asked about again; `pause` is the Retry-After value in seconds, or None."""

    def __init__(self, note: str, pause: float | None = None, *, in_progress: bool = False) -> None:
        super().__init__(note)
        self.note, self.pause, self.in_progress = note, pause, in_progress


def asked_until(provider: Provider, submitted: float) -> float | None:
    """Return until when (epoch seconds) a submission of that time can be asked about; None if the gateway has no idempotency."""
    if not provider.idempotency:
        return None
    documented = provider.idempotency_seconds
    return submitted + (_UNDOCUMENTED if documented is None else documented - _MARGIN)


def read_inquiry(provider: Provider, answer: GatewayResponse) -> Submission:
    """Read the answer to a repeated submission.

    Raises StillUnclear if it may be asked again, SubmissionUnknown if the gateway itself does not know, and otherwise the refusal. A
    refusal that concerns the account or the key leaves the first request unclear: it may have been accepted before.
    """
    code = responses.error_details(answer.content).code.lower() if answer.status >= 400 else ""
    if code == responses.IDEMPOTENCY_IN_PROGRESS:
        raise StillUnclear(f"{provider.title} is still working on the first request", answer.retry_after, in_progress=True)
    if code in responses.IDEMPOTENCY_INDETERMINATE:
        unknown = SubmissionUnknown(f"{provider.title} itself does not know whether it executed the request ({code})", blame="gateway")
        unknown.final = True
        raise unknown
    try:
        return read_submission(provider, answer)
    except Retryable as refusal:
        raise StillUnclear(refusal.note, refusal.pause) from None
    except APIError as error:
        if isinstance(error, _ABOUT_THE_ACCOUNT) or error.status == 403:
            raise SubmissionUnknown(f"{error.what}; the first request may have been accepted before", blame=error.blame) from None
        raise
    except SubmissionUnknown as error:
        if answer.status >= 500 or answer.status == 408:
            raise StillUnclear(f"{provider.title} answered {answer.status}", answer.retry_after) from None
        raise error
