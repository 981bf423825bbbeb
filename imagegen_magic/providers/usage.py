"""The cost of counted tokens at a service's listed prices."""

from __future__ import annotations

from decimal import Decimal

from imagegen_magic.providers.model import Rates
from imagegen_magic.result import Cost

_MILLION = 1_000_000


def calculated(rates: Rates | None, **tokens: int) -> Cost:
    """Return the dollars of these tokens, by fields of `Rates` (`image_output=1120`); unknown if a price or every count is missing."""
    counted = {name: count for name, count in tokens.items() if count}
    prices = {name: getattr(rates, name) for name in counted} if rates else {}
    if rates is None or not counted or None in prices.values():
        return Cost()
    amount = sum((prices[name] * count for name, count in counted.items()), Decimal(0)) / _MILLION
    parts = (f"{count:,} {name.replace('_', ' ')} tokens at ${prices[name]:f} per million" for name, count in counted.items())
    return Cost(amount, "USD", "calculated", ", ".join(parts), rates.checked)
