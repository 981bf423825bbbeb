"""Which services can make a request, with pixels, price and usual time: the cheapest first."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import NamedTuple

from imagegen_magic.engine import endpoints, loop
from imagegen_magic.engine.context import EngineContext, Kind, context_of
from imagegen_magic.engine.learnt_models import with_learnt
from imagegen_magic.engine.references import load_references
from imagegen_magic.engine.settings import Settings
from imagegen_magic.errors import ImageGenError
from imagegen_magic.providers.base import Plan, Provider
from imagegen_magic.request import ImageRequest


class Offer(NamedTuple):
    """What one service would make of a request. `usual` is the range of seconds of earlier pictures, None without enough of them."""

    provider: Provider
    plan: Plan
    usual: tuple[float, float] | None
    has_key: bool


def offers(request: ImageRequest, settings: Settings, *, without_key: bool = False) -> list[Offer]:
    """Return an offer of each service that can make exactly this request and has a key; `without_key` adds those without one.

    Cheapest first within a unit, units apart, unknown prices last. Nothing is sent. A named model is offered where it exists; else the
    first of a service's models that can.
    """
    found = [offer for each in endpoints.known(settings) if (offer := _offer(each, request, settings)) and (offer.has_key or without_key)]
    return loop.run(_with_usual(sorted(found, key=_order), settings))


async def _with_usual(found: Iterable[Offer], settings: Settings) -> list[Offer]:
    context = context_of(settings)
    return [offer._replace(usual=await _usual(context, offer.plan)) for offer in found]


def _offer(provider: Provider, request: ImageRequest, settings: Settings) -> Offer | None:
    try:
        endpoint = with_learnt(endpoints.without_key(provider, settings, sandbox=False), settings, request.model)
        has_key = endpoints.has_key(provider, settings)
    except ImageGenError:
        return None
    able = (_planned(endpoint.provider, request, name, settings) for name in _models(endpoint.provider, request))
    plan = next((plan for plan in able if plan is not None), None)
    return None if plan is None else Offer(endpoint.provider, plan, None, has_key)


def _models(provider: Provider, request: ImageRequest) -> Iterable[str]:
    if request.model:
        return [model.name for model in provider.models if model.name.lower() == request.model.lower()]
    return [model.name for model in provider.models if not model.retired]


def _planned(provider: Provider, request: ImageRequest, model: str, settings: Settings) -> Plan | None:
    try:
        named = replace(request, model=model)
        return provider.plan(load_references(named, provider, settings, fit=False))
    except Exception:  # another package's provider may raise anything; it makes no offer then
        return None


def _order(offer: Offer) -> tuple[bool, str, object, str]:
    price = offer.plan.price
    return price.amount is None, price.unit, price.amount or 0, offer.provider.name


async def _usual(context: EngineContext, plan: Plan) -> tuple[float, float] | None:
    kind: Kind = (plan.provider, False, plan.model.name, *plan.tier)
    pixels = plan.pixels[0] if plan.pixels else (1000, 1000)
    return (await context.history(kind, pixels[0] * pixels[1] / 1e6)).typical()
