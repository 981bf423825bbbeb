"""Confirmation before many pictures or a high price: when it is needed, and whether it can be given."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from IPython.core.error import StdinNotImplementedError, UsageError

from imagegen_magic.engine import loop
from imagegen_magic.errors import ImageGenError
from imagegen_magic.humanize import pluralize
from imagegen_magic.notebook.context import accepts_input, has_kernel

if TYPE_CHECKING:
    from imagegen_magic.engine.jobs.job import PlannedRequest
    from imagegen_magic.engine.settings import Settings
    from imagegen_magic.providers.base import Plan
    from imagegen_magic.result import Cost

_YES = ("y", "yes")


def reasons(new: int, price: Iterable[Cost], unknown: int, settings: Settings, what: str = "picture") -> Iterator[tuple[str, str]]:
    """Yield why `new` images (or another `what`) need a confirmation, each reason with the setting that avoids it.

    Reasons are their number, an amount of `price` above `ask_above_cost`, and an unknown price (of `unknown` images).
    """
    if new > settings.get("ask_above_pictures"):
        yield pluralize(new, what), "raise ask_above_pictures"
    limit, higher = settings.get("ask_above_cost"), "raise ask_above_cost"
    yield from ((str(cost), higher) for cost in price if cost.amount is not None and cost.amount > limit)
    if unknown:
        counts = settings.get("unknown_price")
        if counts is None:
            yield f"{pluralize(unknown, what)} of unknown price", "set unknown_price to what such a picture counts"
        elif counts * unknown > limit:
            yield f"{pluralize(unknown, what)} of unknown price, counted as {counts * unknown}", higher


def reasons_of(plan: Plan, settings: Settings, *, sandbox: bool) -> str:
    """Return why one request needs a confirmation; empty if it does not, or if only its price is unknown."""
    unknown = 0 if sandbox or plan.price.amount is not None or settings.get("unknown_price") is None else plan.count
    return " and ".join(reason for reason, _ in reasons(plan.count, () if sandbox else (plan.price,), unknown, settings))


def can_answer(shell: Any) -> bool:
    """Return whether a question can be answered: in a terminal, or if the front end takes input (nbclient and papermill do not)."""
    if has_kernel(shell):
        return accepts_input(shell)
    return sys.stdin is not None and sys.stdin.isatty()


def confirm(question: str) -> bool | None:
    """Ask, and return whether the answer was yes; None if the question cannot be asked."""
    try:
        return input(f"{question} [y/N] ").strip().lower() in _YES
    except (StdinNotImplementedError, EOFError, OSError):
        return None
    except KeyboardInterrupt:
        return False


def require(reasons: Sequence[tuple[str, str]], question: str, *, yes: bool) -> None:
    """Ask if there are reasons and the answer is not known to be yes.

    Raises UsageError if the answer is no, ImageGenError if the question cannot be asked.
    """
    if yes or not reasons:
        return
    why = " and ".join(reason for reason, _ in reasons)
    answer = confirm(f"This is {why}. {question}")
    if answer is None:
        steps = ", ".join(dict.fromkeys(step for _, step in reasons))
        what = f"This is {why}, and no confirmation can be given here, so nothing was sent"
        hint = f"add --yes to confirm it, or {steps} (%imagegen config)"
        raise ImageGenError(what, blame="you", charge="no", hint=hint)
    if not answer:
        raise declined()


def declined() -> UsageError:
    """Return the error for an answer that is not yes."""
    return UsageError("Not confirmed: nothing was sent, nothing is charged.")


def confirm_request(planned: PlannedRequest, settings: Settings, shell: Any) -> None:
    """Ask before a request that needs it, if it can be answered. Raises UsageError if the answer is no."""
    if not reasons_of(planned.plan, settings, sandbox=planned.endpoint.sandbox) or not can_answer(shell):
        return
    from imagegen_magic.studies.sweeps.plan import SweepPlan, estimate

    # what can be reused needs no confirmation
    expected = loop.run(estimate(SweepPlan(planned.request, (), 1, (planned,), ()), settings))
    unknown = 0 if settings.get("unknown_price") is None else expected.unknown
    why = " and ".join(reason for reason, _ in reasons(expected.new, expected.price, unknown, settings))
    if why and confirm(f"This is {why}. Make {'it' if expected.new == 1 else 'them'}?") is False:
        raise declined()
