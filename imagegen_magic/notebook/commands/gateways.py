"""`%imagegen providers`, `models` and `plan`: the services, their keys, what each model can do, and which can make a request."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from IPython.display import display

from imagegen_magic.engine import api, credentials, endpoints, hosted_secrets
from imagegen_magic.engine.clock import CLOCK
from imagegen_magic.engine.learnt_models import with_learnt
from imagegen_magic.engine.offers import Offer, offers
from imagegen_magic.errors import ImageGenError, MissingKey, UnknownProvider
from imagegen_magic.humanize import ago, pluralize, seconds_of, truncate
from imagegen_magic.notebook.arguments import parser
from imagegen_magic.notebook.arguments.request_builder import build_request
from imagegen_magic.notebook.output.tables import Cell, Note, Page, Table, pixels, price
from imagegen_magic.notebook.progress.state import span
from imagegen_magic.providers import registry
from imagegen_magic.providers.model import VALUE_LISTS

_ANY_PROMPT = "a picture"  # the price does not depend on the words
_FEW = 4  # models of a service without a key that are named
_UNKNOWN = "not known; every option is sent, not checked"
_DETAILED = 12  # models whose sizes are shown together
_IN_ANSWER = "holds the pictures: if the connection breaks before it has arrived, they are lost and may be charged"

if TYPE_CHECKING:
    from imagegen_magic.engine.settings import Settings
    from imagegen_magic.notebook.context import NotebookContext
    from imagegen_magic.providers.base import Model, Provider


def providers(context: NotebookContext, arguments: list[str], flags: dict[str, str]) -> None:
    """Show all services: whether a key is set, the models, and what each can do. Those with a key come first, with all their models."""
    settings = context.settings()
    known = sorted(endpoints.known(settings), key=lambda provider: not endpoints.has_key(provider, settings))
    rows = [row for provider in known for row in _provider_rows(provider, settings)]
    rows += [[name, "not used", "", str(error), ""] for name, error in registry.config_errors(settings.provider_tables).items()]
    display(Page(Table(("service", "key", "model", "can do", "documents"), rows), Note("%imagegen models NAME shows sizes and limits.")))


def _provider_rows(provider: Provider, settings: Settings) -> Iterator[list[str | Cell]]:
    title = "" if provider.title.lower() == provider.name else f" ({provider.title})"
    first = [f"{provider.name}{title}", key_status(provider, settings)]
    documents = Cell(provider.docs_url, address=provider.docs_url)
    if not endpoints.has_key(provider, settings):
        yield [*first, _few([model.label for model in provider.models]), _abilities(provider.models), documents]
        return
    for number, model in enumerate(provider.models):
        yield [*(["", ""] if number else first), model.label, _abilities((model,)), "" if number else documents]


def _few(names: Sequence[str]) -> str:
    """Return the first names, and how many more there are."""
    more = len(names) - _FEW
    return ", ".join(names) if more <= 0 else f"{', '.join(names[:_FEW])}, and {more} more"


def key_status(provider: Provider, settings: Settings) -> str:
    """Return whether the key of a service is set and where, or where to set it."""
    where = credentials.where(provider, settings.home)
    if where == "not set" and not provider.needs_key:
        return "none needed"
    if where == "not set" and (host := hosted_secrets.host()):
        return f"not read: a cell with -p {provider.name} reads {provider.key_variable} from the secrets of {host}"
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


def _abilities(models: Sequence[Model]) -> str:
    """Return what the models can do at most."""
    if not any(map(_is_known, models)):
        return _UNKNOWN
    most, tasks, references = (max(of(model) for model in models) for of in (_ratios, _max_n, _max_references))
    one = len(models) == 1
    facts = [
        f"{'' if one else 'up to '}{pluralize(most, 'ratio')}",
        "/".join(dict.fromkeys(tier for model in models for tier in model.resolutions)),
        "free pixels" if any(model.pixel_rule for model in models) else "",
        f"up to {tasks} pictures a task" if tasks > 1 else "one picture a task",
        f"{'' if one else 'up to '}{pluralize(references, 'reference')}" if references else "",
        "mask" if any(model.mask for model in models) else "",
        "transparent" if any("transparent" in model.backgrounds for model in models) else "",
        "/".join(dict.fromkeys(each for model in models for each in model.formats)),
    ]
    return ", ".join(fact for fact in facts if fact)


def _is_known(model: Model) -> bool:
    """Return whether a page describes what a model can do."""
    return model.strict or bool(model.checked)


def _ratios(model: Model) -> int:
    return len(model.sizes)


def _max_n(model: Model) -> int:
    return model.max_n


def _max_references(model: Model) -> int:
    return model.max_references


def models(context: NotebookContext, arguments: list[str], flags: dict[str, str]) -> None:
    """Show the models of that name or of the service of that name; without a name, or if there are many, in one line each."""
    settings, name = context.settings(), arguments[0] if arguments else ""
    unsound = registry.config_errors(settings.provider_tables)
    if name in unsound:
        raise unsound[name]
    providers = [_with_learnt(provider, settings) for provider in endpoints.known(settings)]
    found = [(each, model) for each in providers for model in each.models if name in ("", each.name, model.name)]
    if not found:
        names = sorted(provider.name for provider in providers)
        raise UnknownProvider(f"No service and no model is called {name}", hint=f"the services are {', '.join(names)}")
    if not name or len(found) > _DETAILED:
        rows = [
            [provider.name, model.label, _abilities((model,)), f"read {model.checked}{_age(model)}" if model.checked else "–"]
            for provider, model in found
        ]
        table = Table(("service", "model", "can do", "its page"), rows)
        display(Page(table, Note("%imagegen models NAME shows sizes and limits."), *(Note(str(error)) for error in unsound.values())))
        return
    display(Page(*(piece for provider, model in found for piece in _model_pieces(provider, model))))


def _with_learnt(provider: Provider, settings: Settings) -> Provider:
    """Return the provider with the models that the service described before; nothing is requested."""
    try:
        return with_learnt(endpoints.without_key(provider, settings), settings).provider
    except ImageGenError:  # of its address; its own models are known
        return provider


def _model_pieces(provider: Provider, model: Model) -> tuple[Table, Table, Note]:
    tiers = list(dict.fromkeys(tier for by_tier in model.sizes.values() for tier in by_tier))
    rows = [[ratio, *(pixels([by_tier[tier]]) if tier in by_tier else "–" for tier in tiers)] for ratio, by_tier in model.sizes.items()]
    heads = ("ratio", *(tiers if model.resolutions else ["pixels"]))
    facts = Table((), [[name, value] for name, value in _facts(provider, model) if value])
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


def _facts(provider: Provider, model: Model) -> list[tuple[str, str]]:
    return [
        *((option.removeprefix("output_"), _values(model, option)) for option in VALUE_LISTS if option not in ("size", "resolution")),
        ("compression", f"0-100 for {', '.join(model.compressible)}" if model.compressible else ""),
        ("other sizes", ", ".join(filter(None, ["auto" if model.auto_size else "", str(model.pixel_rule or "")]))),
        ("pictures", (f"up to {model.max_n}" if model.max_n > 1 else "one") + " a task; more become several tasks"),
        ("references", _references(model) if _is_known(model) else ""),
        ("prompt", f"up to {model.max_prompt} characters" if model.max_prompt else ""),
        ("parameters", _parameters(model)),
        ("answer", _IN_ANSWER if provider.synchronous else ""),
        ("note", model.note),
    ]


def _references(model: Model) -> str:
    return f"up to {model.max_references}" + (", and a mask" if model.mask else "") if model.max_references else "none"


def _parameters(model: Model) -> str:
    """Return the model's parameters with their values, the common ones first."""
    ordered = sorted(model.parameters.items(), key=lambda item: not item[1].common)
    return ", ".join(f"{name} ({truncate('/'.join(each.allowed), 40)})" if each.allowed else name for name, each in ordered)


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
