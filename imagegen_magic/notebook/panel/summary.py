"""The line above Generate: what will happen, and what it costs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape

from imagegen_magic.engine.offers import Offer
from imagegen_magic.humanize import pluralize
from imagegen_magic.notebook.progress.state import span
from imagegen_magic.providers.base import Plan

Usual = tuple[float, float] | None


def facts(plan: Plan, usual: Usual, *, sandbox: bool, balance: str = "") -> Iterator[str]:
    """Yield the facts of a plan: pixels and megapixels, images and tasks, the price, the balance, the usual time (seconds)."""
    if plan.pixels:
        width, height = plan.pixels[0]
        yield f"{width}×{height}"
        yield f"{width * height / 1e6:.2f} MP"
    else:
        yield "pixels not known before"
    tasks = pluralize(len(plan.calls), "task")
    yield tasks if plan.count == len(plan.calls) == 1 else f"{pluralize(plan.count, 'picture')} in {tasks}"
    if sandbox:
        yield "free: drawn by the sandbox"
    else:
        yield "price unknown" if plan.price.amount is None else str(plan.price)
    if balance:
        yield f"balance: {balance}"
    yield f"usually {span(*usual)}" if usual else "usual time not known yet"


def html(plan: Plan, usual: Usual, *, sandbox: bool, balance: str = "") -> str:
    """Return the line, with the plan's warnings below it."""
    source = f"{plan.price.source}, {plan.price.checked}" if plan.price.amount is not None and not sandbox else ""
    line = " · ".join(f"<span>{escape(fact)}</span>" for fact in facts(plan, usual, sandbox=sandbox, balance=balance))
    warnings = "".join(f'<div class="imagegen-warning">{escape(warning)}</div>' for warning in plan.warnings)
    return f'<div class="imagegen-summary" role="status" aria-label="What will happen" title="{escape(source)}">{line}{warnings}</div>'


def offers_html(found: Sequence[Offer], chosen: str) -> str:
    """Return the services that can make the request as a table, the cheapest first; the `chosen` one stands out."""
    if not found:
        return '<div class="imagegen-quiet">No service with a key can make exactly this.</div>'
    head = "".join(f"<th scope='col'>{name}</th>" for name in ("Service and model", "Pixels", "Price", "Usual time"))
    rows = "".join(_offer_row(offer, stands_out=offer.provider.name == chosen) for offer in found)
    caption = "Services that can make this"
    return f'<table class="imagegen-offers" aria-label="{caption}"><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>'


def _offer_row(offer: Offer, *, stands_out: bool) -> str:
    plan = offer.plan
    pixels = f"{plan.pixels[0][0]}×{plan.pixels[0][1]}" if plan.pixels else "unknown"
    price = "unknown" if plan.price.amount is None else str(plan.price)
    cells = (pixels, price, span(*offer.usual) if offer.usual else "unknown")
    model = f'<div class="imagegen-quiet">{escape(plan.model.name)}</div>'
    name = f"<td{' class=imagegen-chosen' if stands_out else ''}>{escape(offer.provider.title)}{model}</td>"
    return f"<tr>{name}{''.join(f'<td>{escape(cell)}</td>' for cell in cells)}</tr>"
