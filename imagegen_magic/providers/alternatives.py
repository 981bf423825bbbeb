"""What can be requested instead: the possible values of an option, fixes for a refused request, other models and gateways that can.

Pure: every answer comes from a gateway's own plan, so it cannot differ from what the gateway's plan refuses.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

from imagegen_magic.errors import UnsupportedOption, sentence
from imagegen_magic.providers.base import Model, Plan, Provider, with_declared
from imagegen_magic.providers.model import VALUE_LISTS
from imagegen_magic.providers.urls import SANDBOX_HOST
from imagegen_magic.request import ImageRequest, LocalImage, is_blank

_PROMPT = "a prompt"  # stands in for an empty one
_REMOVED: dict[str, Any] = {"prompt": _PROMPT, "references": (), "extra": {}}  # the value of an option that is left out; else None
_DEPENDENT = ("background", "output_compression", "resolution", "mask", "extra")  # these may conflict with the default of another option
_LABELS = {
    "size": "aspect ratio",
    "n": "number",
    "output_format": "format",
    "output_compression": "compression",
    "callback_url": "callback",
    "extra": "further fields",
}

_FIELDS = {item.name for item in fields(ImageRequest)}
_NAMED = 3  # models of one service that a message names

MakePlan = Callable[[Provider, ImageRequest], Plan]
IsReady = Callable[[Provider], bool]


def _plan_of(provider: Provider, request: ImageRequest) -> Plan:
    return provider.plan(request)


def _always(provider: Provider) -> bool:
    return True


# other models and gateways


def plan(provider: Provider, request: ImageRequest, others: Iterable[Provider], *, ready: IsReady = _always) -> Plan:
    """Return the provider's plan. Its refusal (UnsupportedOption) names the other gateways and models that can do exactly this."""
    try:
        return provider.plan(request)
    except UnsupportedOption as refusal:
        raise refusal.available_from(alternatives(provider, request, others, ready=ready)) from None


def alternatives(
    provider: Provider, request: ImageRequest, others: Iterable[Provider], *, ready: IsReady = _always, make: MakePlan = _plan_of
) -> list[str]:
    """Return the gateways, and the other models of this one, that can do exactly what `provider` refused, as messages name them.

    Only gateways that are `ready` (that have a key) are named; if none is, all are, each with the note "no key". `make` makes a plan.
    """
    if request.extra:
        return []  # other gateways may give these fields another meaning
    candidates = (provider, *(each for each in others if each.name != provider.name))
    found = [(each, models) for each in candidates if (models := _able_models(each, request, make))]
    usable = [pair for pair in found if pair[0] is provider or ready(pair[0])]
    found = [pair for pair in found if pair[0].chosen_by_key] or found  # of those without a key, the gateways
    note = () if usable else ("no key",)
    return [_label(each, models, note, name_model=each is provider) for each, models in usable or found]


def _label(provider: Provider, models: Sequence[Model], note: tuple[str, ...], *, name_model: bool) -> str:
    named = [model.name for model in models if name_model or models[0] is not provider.models[0]]
    if len(named) > _NAMED:
        named[_NAMED - 1 :] = [f"and {len(named) - _NAMED + 1} more"]
    notes = ", ".join((*named, *note))
    return f"{provider.name} ({notes})" if notes else provider.name


def _able_models(provider: Provider, request: ImageRequest, make: MakePlan) -> list[Model]:
    able = [model for model in provider.models if _can(provider, replace(request, model=model.name), make)]
    return [model for model in able if not model.retired] or able


def _can(provider: Provider, request: ImageRequest, make: MakePlan) -> bool:
    try:
        planned = make(provider, request)
    except Exception:  # another package's gateway may raise anything; the refusal that is reported is of the chosen gateway
        return False
    if planned.unchecked:  # it may not be able to
        return False
    takes_pictures = provider.upload is not None or planned.model.references_as != "address"
    return takes_pictures or all(picture.url for picture in planned.uploads)


# possible values


def possible_values(model: Model, option: str) -> tuple[str, ...]:
    """Return every value that a model has for an option of `VALUE_LISTS`; of sizes in pixels only the extra ones."""
    if option != "size":
        return tuple(getattr(model, VALUE_LISTS[option]))
    pixels = tuple(f"{width}x{height}" for width, height in model.extra_sizes)
    return (*(("auto",) if model.auto_size else ()), *model.sizes, *pixels)


def fitting_values(provider: Provider, options: Mapping[str, Any], option: str) -> tuple[str, ...]:
    """Return the values of an option that the model accepts together with `options`; if those conflict, with each valid one of them.

    Raises UnknownProvider if the gateway has no such model.
    """
    model = provider.model(options.get("model"))
    others = {name: options[name] for name in (*VALUE_LISTS, "output_compression") if name in options and name != option}
    valid = {name: value for name, value in others.items() if _is_possible(provider, {"model": model.name, name: value})}
    for known in (others, valid):
        found = tuple(value for value in possible_values(model, option) if _fits(provider, model, {**known, option: value}))
        if found:
            return found
    return ()


def _fits(provider: Provider, model: Model, fields: Mapping[str, Any]) -> bool:
    fields = {"model": model.name, **fields}
    if "resolution" in fields and "size" not in fields:  # a size may follow
        return any(_is_possible(provider, {**fields, "size": size}) for size in model.sizes)
    return _is_possible(provider, fields)


def _is_possible(provider: Provider, fields: Mapping[str, Any]) -> bool:
    return _refusal(provider, ImageRequest(_PROMPT, **fields)) is None


def _refusal(provider: Provider, request: ImageRequest) -> UnsupportedOption | None:
    try:
        provider.plan(request)
    except UnsupportedOption as refusal:
        return refusal
    return None


# a request with its problems and fixes


@dataclass(frozen=True, slots=True)
class Value:
    """One value of an option; `reason` says why the model refuses it together with the other options, "" if it does not."""

    value: str
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Problem:
    """An option that the model refuses: the reason in `text`, and the value that fixes it (`fix`; None leaves the option out)."""

    option: str
    text: str
    fix: Any = None

    @property
    def label(self) -> str:
        """The label of a button that applies the fix."""
        name = _LABELS.get(self.option, self.option)
        if self.option == "references":
            return f"Keep {len(self.fix)} references" if self.fix else "Leave the references out"
        return f"Leave {name} out" if self.fix in (None, ()) else f"Use {self.fix}"


@dataclass(frozen=True, slots=True)
class Validation:
    """A request checked against a model: its `plan` (None if there are problems), the problems, and each option's values.

    `likely` is the plan without the refused options, for display. `compression` says why a compression is refused, "" if it is not.
    """

    model: Model
    plan: Plan | None
    likely: Plan
    problems: tuple[Problem, ...]
    values: Mapping[str, tuple[Value, ...]]
    compression: str = ""

    def chosen(self, option: str) -> str:
        """Return the value in force: the requested one, else the model's default, else ""."""
        value = getattr(self.likely.request, option)
        return "" if value is None else str(value)


def validate(
    provider: Provider, request: ImageRequest, others: Iterable[Provider] = (), *, sandbox: bool = False, ready: IsReady = _always
) -> Validation:
    """Check a request against its model. An empty prompt is no problem. Raises UnknownProvider if the gateway has no such model."""
    model = provider.model(request.model)
    draft = with_declared(model, replace(request, prompt=_PROMPT if is_blank(request.prompt) else request.prompt))
    problems, valid = _problems(provider, draft, tuple(others), ready)
    problems += [] if sandbox else _sandbox_references(valid)
    likely = provider.plan(valid)
    values = {option: _values(provider, model, valid, option) for option in VALUE_LISTS}
    complete = not problems and not is_blank(request.prompt)
    compression = "" if valid.output_compression is not None else _reason(_refusal(provider, replace(valid, output_compression=50)))
    return Validation(model, likely if complete else None, likely, tuple(problems), values, compression)


def apply_fixes(request: ImageRequest, problems: Iterable[Problem]) -> ImageRequest:
    """Return the request with the fix of each problem applied."""
    for problem in problems:
        request = request if problem.option == "prompt" else _with(request, problem.option, problem.fix)
    return request


def _problems(
    provider: Provider, request: ImageRequest, others: tuple[Provider, ...], ready: IsReady
) -> tuple[list[Problem], ImageRequest]:
    """Return the problems of a request, one an option, and the request without the refused options."""
    problems: list[Problem] = []
    while True:
        try:
            plan(provider, request, others, ready=ready)
        except UnsupportedOption as refusal:
            option = _option_to_change(refusal, request)
            if option is None:
                raise
            problems.append(Problem(option, _reason(refusal), _fix(provider, request, option, refusal)))
            request = _with(request, option, _REMOVED.get(option))
        else:
            return problems, request


def _with(request: ImageRequest, option: str, value: Any) -> ImageRequest:
    """Return the request with a value of an option or a parameter; None leaves a parameter out."""
    if option in _FIELDS:
        return replace(request, **{option: value})
    others = {name: each for name, each in request.parameters.items() if name != option}
    extra = {name: each for name, each in request.extra.items() if name != option}
    return replace(request, extra=extra, parameters=others if value is None else {**others, option: value})


def _option_to_change(refusal: UnsupportedOption, request: ImageRequest) -> str | None:
    """Return the refused option, or the requested one that conflicts with it; None if no requested option is the cause."""
    requested = {**request.asked(), **request.parameters}
    return next((name for name in (refusal.option, *_DEPENDENT) if name in requested), None)


def _fix(provider: Provider, request: ImageRequest, option: str, refusal: UnsupportedOption) -> Any:
    """Return the value of an option that removes a refusal; the value that leaves the option out if no other does."""
    fix = _accepted_references(provider, request) if option == "references" else (refusal.fix or {}).get(option)
    again = _refusal(provider, _with(request, option, fix))
    return _REMOVED.get(option) if again and again.option == option else fix


def _accepted_references(provider: Provider, request: ImageRequest) -> tuple[str | LocalImage, ...]:
    kept: tuple[str | LocalImage, ...] = ()
    for reference in request.references:
        if _refusal(provider, replace(request, references=(*kept, reference), mask=None)) is None:
            kept = (*kept, reference)
    return kept


def _sandbox_references(request: ImageRequest) -> list[Problem]:
    """Return the problem of references that only the sandbox in this process can fetch."""
    kept = tuple(each for each in request.references if not str(each).startswith(f"https://{SANDBOX_HOST}/"))
    text = "A service cannot fetch a picture of the sandbox: it has no address on the internet"
    return [] if kept == request.references else [Problem("references", text, kept)]


def _values(provider: Provider, model: Model, request: ImageRequest, option: str) -> tuple[Value, ...]:
    values = possible_values(model, option)
    refusals = (_refusal(provider, _with(request, option, value)) for value in values)
    return tuple(Value(value, _reason(refusal)) for value, refusal in zip(values, refusals, strict=True))


def _reason(refusal: UnsupportedOption | None) -> str:
    """Return a refusal as text for a field of a form, "" for None."""
    return ". ".join([refusal.what, *map(sentence, refusal.advice(allowed=False))]) if refusal else ""
