"""`%imagegen providers` and `models`: the gateways, their keys, and what each model can do."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from typing import TYPE_CHECKING

from IPython.display import display

from imagegen_magic.engine import api, credentials, endpoints
from imagegen_magic.engine.clock import CLOCK
from imagegen_magic.engine.offers import Offer, offers
from imagegen_magic.errors import MissingKey, UnknownProvider
from imagegen_magic.humanize import ago, seconds_of
from imagegen_magic.notebook.arguments import parser
from imagegen_magic.notebook.arguments.request_builder import build_request
from imagegen_magic.notebook.output.tables import Cell, Note, Page, Table, pixels, price
from imagegen_magic.notebook.progress.state import span
from imagegen_magic.providers import registry
from imagegen_magic.providers.model import VALUE_LISTS

_ANY_PROMPT = "a picture"  # the price does not depend on the words

if TYPE_CHECKING:
    from imagegen_magic.engine.settings import Settings
    from imagegen_magic.notebook.context import NotebookContext
    from imagegen_magic.providers.base import Model, Provider


def providers(context: NotebookContext, arguments: list[str], flags: dict[str, str]) -> None:
    """Show all gateways: whether a key is set, the models, and what each can do."""
    settings = context.settings()
    rows = [row for provider in endpoints.known(settings) for row in _provider_rows(provider, settings)]
    rows += [[name, "not used", "", str(error), ""] for name, error in registry.config_errors(settings.provider_tables).items()]
    display(Page(Table(("gateway", "key", "model", "can do", "documents"), rows), Note("%imagegen models NAME shows sizes and limits.")))


def _provider_rows(provider: Provider, settings: Settings) -> Iterator[list[str | Cell]]:
    first = [f"{provider.name} ({provider.title})", key_status(provider, settings)]
    documents = Cell(provider.docs_url, address=provider.docs_url)
    for number, model in enumerate(provider.models):
        yield [*(["", ""] if number else first), model.label, _abilities(model), "" if number else documents]


def key_status(provider: Provider, settings: Settings) -> str:
    """Return whether the key of a gateway is set and where, or where to set it."""
    where = credentials.where(provider, settings.home)
    if where == "not set":
        return f"not set: {provider.key_variable}, or %imagegen login {provider.name}"
    problem, _ = key_problem(provider, settings)
    return f"set ({where})" + (f", but cannot be used: {problem}" if problem else "")


def key_problem(provider: Provider, settings: Settings) -> tuple[str, str]:
    """Return why a key that is set cannot be used, for example a locked keyring, and how to fix it; empty without a problem."""
    try:
        credentials.find(provider, settings.home)
    except MissingKey as error:
        return error.what, error.hint
    return "", ""


def _abilities(model: Model) -> str:
    facts = [
        f"{len(model.sizes)} ratios",
        "/".join(model.resolutions),
        "free pixels" if model.pixel_rule else "",
        f"up to {model.max_n} pictures a task" if model.max_n > 1 else "one picture a task",
        f"{model.max_references} references" if model.max_references else "",
        "mask" if model.mask else "",
        "transparent" if "transparent" in model.backgrounds else "",
        "/".join(model.formats),
    ]
    return ", ".join(fact for fact in facts if fact)


def models(context: NotebookContext, arguments: list[str], flags: dict[str, str]) -> None:
    """Show the models of that name, of the gateway of that name, or all of them."""
    settings, name = context.settings(), arguments[0] if arguments else ""
    unsound = registry.config_errors(settings.provider_tables)
    if name in unsound:
        raise unsound[name]
    known = [(provider, model) for provider in endpoints.known(settings) for model in provider.models]
    pieces = [piece for provider, model in known if name in ("", provider.name, model.name) for piece in _model_pieces(provider, model)]
    if not pieces:
        names = sorted({provider.name for provider, _ in known})
        raise UnknownProvider(f"No gateway and no model is called {name}", hint=f"the gateways are {', '.join(names)}")
    display(Page(*pieces, *(Note(str(error)) for error in unsound.values() if not name)))


def _model_pieces(provider: Provider, model: Model) -> tuple[Table, Table, Note]:
    tiers = list(dict.fromkeys(tier for by_tier in model.sizes.values() for tier in by_tier))
    rows = [[ratio, *(pixels([by_tier[tier]]) if tier in by_tier else "–" for tier in tiers)] for ratio, by_tier in model.sizes.items()]
    heads = ("ratio", *(tiers if model.resolutions else ["pixels"]))
    facts = Table((), [[name, value] for name, value in _facts(model) if value])
    return Table(heads, rows, title=f"{provider.name} · {model.label}"), facts, Note(f"{model.source}{_age(model)}")


def _age(model: Model) -> str:
    """Return how long ago a model's page was read; empty if it has no date."""
    read = page_time(model)
    return "" if read is None else f", {page_age(read)}"


def page_age(read: float) -> str:
    """Return the age of a page that was read then (epoch seconds), in days and longer units, as only its day is known."""
    seconds = CLOCK.time() - read
    return ago(seconds) if seconds >= 86_400 else "today"


def page_time(model: Model) -> float | None:
    """Return when a model's page was read, in epoch seconds; None if it has no date, as a plug-in's may."""
    try:
        return seconds_of(f"{model.checked}T00:00:00+00:00")
    except ValueError:
        return None


def _values(model: Model, option: str) -> str:
    values, default = getattr(model, VALUE_LISTS[option]), getattr(model, f"default_{option}", None)
    return ", ".join(values) + (f" (default {default})" if values and default else "")


def _facts(model: Model) -> list[tuple[str, str]]:
    return [
        *((option.removeprefix("output_"), _values(model, option)) for option in VALUE_LISTS if option not in ("size", "resolution")),
        ("compression", f"0-100 for {', '.join(model.compressible)}" if model.compressible else ""),
        ("other sizes", ", ".join(filter(None, ["auto" if model.auto_size else "", str(model.pixel_rule or "")]))),
        ("pictures", (f"up to {model.max_n}" if model.max_n > 1 else "one") + " a task; more become several tasks"),
        ("references", f"up to {model.max_references}" + (", and a mask" if model.mask else "") if model.max_references else "none"),
        ("prompt", f"up to {model.max_prompt} characters" if model.max_prompt else ""),
        ("note", model.note),
    ]


def plan(context: NotebookContext, arguments: list[str], flags: dict[str, str]) -> None:
    """Show which services can make a request with these options, the cheapest first."""
    given = parser.read(shlex.join(arguments)).given
    settings = context.settings(given)
    request = api.apply_defaults(build_request(given, _ANY_PROMPT, context.shell.user_ns, context.folder), settings)
    found = offers(request, settings, without_key="--all" in flags)
    if not found:
        hint = "" if "--all" in flags else " %imagegen plan --all shows those without a key."
        display(Page(Note(f"No service with a key can make this.{hint}")))
        return
    heads = ("service", "model", "pixels", "price", "usual time")
    display(Page(Table(heads, [_offered(each) for each in found]), Note("Nothing was sent. -p NAME chooses a service.")))


def _offered(offer: Offer) -> list[str]:
    made, name = offer.plan, offer.provider.name
    usual = span(*offer.usual) if offer.usual else "not known yet"
    return [
        name if offer.has_key else f"{name} (no key)",
        made.model.name,
        pixels(made.pixels) or "the service decides",
        price(made),
        usual,
    ]
