"""The line above Generate: what will happen, and what it costs."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape

from imagegen_magic.humanize import duration, pluralize
from imagegen_magic.providers.base import Plan

Usual = tuple[float, float] | None


def facts(plan: Plan, usual: Usual = None, *, sandbox: bool = False) -> list[str]:
    """Return the facts of a plan: pixels and megapixels, images and tasks, the price, the usual time (seconds)."""
    return [*_pixels(plan), _count(plan), _price(plan, sandbox), usually(usual)]


def _pixels(plan: Plan) -> Iterator[str]:
    if not plan.pixels:
        yield "pixels not known before"
        return
    width, height = plan.pixels[0]
    yield f"{width}×{height}"
    yield f"{width * height / 1e6:.2f} MP"


def _count(plan: Plan) -> str:
    tasks = f"{len(plan.calls)} task{'s' if len(plan.calls) > 1 else ''}"
    return tasks if plan.count == len(plan.calls) == 1 else f"{pluralize(plan.count, 'picture')} in {tasks}"


def _price(plan: Plan, sandbox: bool) -> str:
    if sandbox:
        return "free: drawn by the sandbox"
    return "price unknown" if plan.price.amount is None else str(plan.price)


def usually(usual: Usual) -> str:
    """Return the usual time in words."""
    if usual is None:
        return "usual time not known yet"
    low, high = duration(usual[0]), duration(usual[1])
    return f"usually {low}" if low == high else f"usually {low.removesuffix(' s') if high.endswith(' s') else low}–{high}"


def html(plan: Plan, usual: Usual = None, *, sandbox: bool = False) -> str:
    """Return the line, with the plan's warnings below it."""
    source = f"{plan.price.source}, {plan.price.checked}" if plan.price.amount is not None and not sandbox else ""
    line = " · ".join(f"<span>{escape(fact)}</span>" for fact in facts(plan, usual, sandbox=sandbox))
    warnings = "".join(f'<div class="imagegen-warning">{escape(words)}</div>' for words in plan.warnings)
    return f'<div class="imagegen-summary" role="status" aria-label="What will happen" title="{escape(source)}">{line}{warnings}</div>'
