"""Asking before many pictures or much money: what is much, and whether anybody can answer here."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from IPython.core.error import StdinNotImplementedError, UsageError

from imagegen_magic.engine.jobs.job import pluralize
from imagegen_magic.notebook.context import accepts_input, has_kernel

if TYPE_CHECKING:
    from imagegen_magic.engine.jobs.job import PlannedRequest
    from imagegen_magic.engine.settings import Settings
    from imagegen_magic.providers.base import Plan
    from imagegen_magic.result import Cost

_YES = ("y", "yes")


def much(new: int, price: Iterable[Cost], unknown: int, settings: Settings) -> Iterator[tuple[str, str]]:
    """Yield why so many new pictures are to be asked about, each reason with the setting that ends the asking.

    Reasons are their number, an amount of `price` above `ask_above_cost`, and a price that cannot be known (of `unknown` pictures).
    """
    if new > settings.get("ask_above_pictures"):
        yield pluralize(new, "picture"), "raise ask_above_pictures"
    limit, higher = settings.get("ask_above_cost"), "raise ask_above_cost"
    yield from ((str(cost), higher) for cost in price if cost.amount is not None and cost.amount > limit)
    if unknown:
        counts = settings.get("unknown_price")
        if counts is None:
            yield f"{pluralize(unknown, 'picture')} whose price cannot be known", "say in unknown_price what such a picture counts"
        elif counts * unknown > limit:
            yield f"{pluralize(unknown, 'picture')} of unknown price, counted as {counts * unknown}", higher


def much_of(plan: Plan, settings: Settings, *, sandbox: bool) -> str:
    """Return why one request is to be asked about, in words; empty where it is not, as where only its price is not known."""
    unknown = 0 if sandbox or plan.price.amount is not None or settings.get("unknown_price") is None else plan.count
    return " and ".join(words for words, _ in much(plan.count, () if sandbox else (plan.price,), unknown, settings))


def can_answer(shell: Any) -> bool:
    """Return whether a question reaches a person: in a terminal, or where the front end takes input (nbclient and papermill do not)."""
    if has_kernel(shell):
        return accepts_input(shell)
    return sys.stdin is not None and sys.stdin.isatty()


def agreed(question: str) -> bool | None:
    """Ask, and return whether the answer was yes; None where nobody can be asked."""
    try:
        return input(f"{question} [y/N] ").strip().lower() in _YES
    except (StdinNotImplementedError, EOFError, OSError):
        return None
    except KeyboardInterrupt:
        return False


def declined() -> UsageError:
    """Return what is raised where the answer was no."""
    return UsageError("Nothing was sent and nothing is charged: the answer was not yes.")


def before(wish: PlannedRequest, settings: Settings, shell: Any) -> None:
    """Ask before one request for much, where a person can answer; elsewhere it goes on. Raises UsageError where the answer is no."""
    if not much_of(wish.plan, settings, sandbox=wish.gateway.sandbox) or not can_answer(shell):
        return
    from imagegen_magic.engine import loop
    from imagegen_magic.studies.sweeps import plan as sweep

    outlook = loop.run(
        sweep.outlook(sweep.SweepPlan(wish.request, (), 1, (wish,), ()), settings)
    )  # what is there already is not asked about
    unknown = 0 if settings.get("unknown_price") is None else outlook.unknown
    words = " and ".join(words for words, _ in much(outlook.new, outlook.price, unknown, settings))
    if words and agreed(f"This is {words}. Make {'it' if outlook.new == 1 else 'them'}?") is False:
        raise declined()
