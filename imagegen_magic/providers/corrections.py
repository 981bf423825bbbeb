"""A user's corrections of a built-in gateway: fields of its models that differ, and whether a repeated key is answered with its task."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from decimal import Decimal, InvalidOperation
from typing import Any

from imagegen_magic.providers.base import Provider
from imagegen_magic.providers.model import Model, Pixels
from imagegen_magic.records import PortableError

SOURCE = "your pyproject.toml"
KEYS = ("idempotency", "models")


class WrongCorrection(PortableError, ValueError):
    """A correction that cannot be read: what is wrong, and `hint`, what it may be."""

    def __init__(self, what: str, hint: str) -> None:
        super().__init__(what)
        self.hint = hint


def corrected(provider: Provider, settings: Mapping[str, Any], checked: str) -> Provider:
    """Return a gateway with corrections; `checked` is the ISO date of the file. Raises WrongCorrection."""
    if strange := sorted(set(settings) - set(KEYS)):
        raise WrongCorrection(f"has unknown keys {', '.join(strange)}", f"a service that is built in takes {' and '.join(KEYS)}")
    idempotency = settings.get("idempotency", provider.idempotency)
    if not isinstance(idempotency, bool):
        raise WrongCorrection("has an idempotency that is neither true nor false", "write true or false, without quotes")
    tables = settings.get("models", {})
    known = {model.name: model for model in provider.models}
    if not isinstance(tables, Mapping) or (missing := sorted(set(tables) - set(known))):
        names = f": {', '.join(missing)}" if isinstance(tables, Mapping) else ""
        raise WrongCorrection(f"corrects models that the service does not have{names}", f"it has {', '.join(known)}")
    models = tuple(_model(known[name], tables[name], checked) if name in tables else model for name, model in known.items())
    about = {"models": models, "idempotency": idempotency, "__doc__": type(provider).__doc__, "__module__": type(provider).__module__}
    made: type[Provider] = type(type(provider).__name__, (type(provider),), about)
    return made()


def _model(model: Model, table: Any, checked: str) -> Model:
    if not isinstance(table, Mapping):
        raise WrongCorrection(f"has no table for {model.name}", "give the fields that differ")
    fields: dict[str, Any] = {}
    for name, value in table.items():
        if name not in _READERS:
            what = f"corrects {model.name}.{name}, which cannot be corrected"
            raise WrongCorrection(what, f"these can: {', '.join(_READERS)}")
        try:
            fields[name] = _READERS[name](value)
        except ValueError as error:
            raise WrongCorrection(f"has a value of {model.name}.{name} that cannot be read", f"give {error}") from None
    return replace(model, **fields, document=SOURCE, checked=checked)


def _sizes(value: Any) -> dict[str, dict[str, Pixels]]:
    found = {}
    for ratio, tiers in value.items() if isinstance(value, Mapping) else (("", None),):
        if not re.fullmatch(r"[1-9]\d{0,2}:[1-9]\d{0,2}", ratio) or not isinstance(tiers, Mapping):
            raise ValueError('ratios with their tiers: "16:9" = {"1k" = "1536x864"}')
        found[ratio] = {tier: _pixels(pixels) for tier, pixels in tiers.items()}
    return found


def _pixels(text: Any) -> Pixels:
    match = re.fullmatch(r"([1-9]\d{1,4})x([1-9]\d{1,4})", str(text))
    if not match:
        raise ValueError('pixels as text: "1536x864"')
    return int(match[1]), int(match[2])


def _texts(value: Any) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(each, str) and each.strip() for each in value):
        raise ValueError('a list of texts: ["low", "high"]')
    return tuple(each.strip().lower() for each in value)


def _count(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= 1_000:
        raise ValueError("a number from 1 to 1000")
    return value


def _flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError("true or false")
    return value


def _prices(value: Any) -> dict[str, Decimal]:
    try:
        prices = {name: Decimal(str(amount)) for name, amount in value.items()}
    except (InvalidOperation, AttributeError):
        prices = {"": Decimal(-1)}
    if not all(amount.is_finite() and amount >= 0 for amount in prices.values()):
        raise ValueError('dollars a picture by quality: {low = "0.01", high = "0.17"}')
    return prices


_READERS: dict[str, Callable[[Any], Any]] = {
    "sizes": _sizes,
    "resolutions": _texts,
    "qualities": _texts,
    "backgrounds": _texts,
    "moderations": _texts,
    "formats": _texts,
    "compressible": _texts,
    "max_n": _count,
    "max_references": _count,
    "mask": _flag,
    "auto_size": _flag,
    "prices": _prices,
}
