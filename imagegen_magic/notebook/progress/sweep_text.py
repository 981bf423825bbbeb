"""A sweep in words, before it starts: how many pictures of which axes, what they cost, and how long they take."""

from __future__ import annotations

from imagegen_magic.humanize import pluralize, truncate
from imagegen_magic.notebook.progress.state import span
from imagegen_magic.studies.sweeps.plan import SweepEstimate, SweepPlan
from imagegen_magic.studies.sweeps.result import axes_text


def headline(planned: SweepPlan, estimate: SweepEstimate) -> str:
    """Return the plan on one line: how many images of which axes, how many exist already, the price, and the usual time."""
    axes = axes_text(planned.record.axes)
    each = f", {planned.repeat} of each" if planned.repeat > 1 and axes else ""
    facts = [pluralize(planned.pictures, "picture") + (f": {axes}{each}" if axes else "")]
    if estimate.existing:
        facts.append(f"{estimate.existing} exist already")
    if estimate.pending:
        facts.append(f"{estimate.pending} submitted before and not sent again")
    if estimate.existing or estimate.pending:
        facts.append(f"{estimate.new} to make")
    if estimate.new:
        facts.append(price_words(estimate))
        facts.append("usual time not known yet" if estimate.typical is None else f"usually {span(*estimate.typical)} each")
    return " · ".join(facts)


def price_words(estimate: SweepEstimate) -> str:
    """Return the price of the new images, each currency by itself, with what is unknown."""
    parts = [str(cost) for cost in estimate.price]
    if estimate.unknown:
        parts.append(f"{estimate.unknown} of unknown price" if parts else "cost unknown")
    if estimate.free:
        parts.append(f"{estimate.free} free in the sandbox" if parts else "the sandbox, nothing is charged")
    return " + ".join(parts)


def title(planned: SweepPlan) -> str:
    """Return the title of a running sweep."""
    axes = axes_text(planned.record.axes)
    return f"{pluralize(planned.pictures, 'picture')}" + (f" of {axes}" if axes else f": {truncate(planned.request.prompt)}")
