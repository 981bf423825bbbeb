"""What can be chosen beside what: every value that a model has, and why one cannot be had now, as the gateway's own plan says.

Pure: no widgets, no network. Whatever the panel offers was planned here first, so it can never differ from the refusals.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from imagegen_magic.errors import UnsupportedOption
from imagegen_magic.notebook.arguments.options import OPTIONS
from imagegen_magic.notebook.magic.completion import listed
from imagegen_magic.providers import registry
from imagegen_magic.providers.base import Model, Plan, Provider
from imagegen_magic.request import ImageRequest, LocalPicture, is_blank

STAND_IN = "a prompt"  # planned with while nothing is typed
SANDBOX_ADDRESS = "https://sandbox.invalid/"
_LISTS = {option.name: option.choices for option in OPTIONS if option.choices not in ("", "providers", "models")}
CHOICES: tuple[str, ...] = tuple(_LISTS)
"""The options that have a list of values, in the order of `%%imagegen --help`."""
_PLAIN = {
    "size": "aspect ratio",
    "n": "number",
    "output_format": "format",
    "output_compression": "compression",
    "callback_url": "callback",
    "extra": "further fields",
}


@dataclass(frozen=True, slots=True)
class Value:
    """One value of an option; `reason` says why it cannot be had beside the others, empty where it can."""

    value: str
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Problem:
    """A choice that the model cannot honour: in words, with the nearest that it can (`remedy`; None leaves the option out)."""

    option: str
    words: str
    remedy: Any = None

    @property
    def offer(self) -> str:
        """What a button that mends it says."""
        name = _PLAIN.get(self.option, self.option)
        if self.option == "references":
            return f"Keep {len(self.remedy)} references" if self.remedy else "Leave the references out"
        return f"Leave {name} out" if self.remedy in (None, ()) else f"Use {self.remedy}"


@dataclass(frozen=True, slots=True)
class Validation:
    """A request held against a model: the `plan` (None while there are problems), what is wrong, and each option's values.

    `likely` is the plan of what is left without the problems: good enough to show, never to send.
    """

    model: Model
    plan: Plan | None
    likely: Plan
    problems: tuple[Problem, ...]
    values: Mapping[str, tuple[Value, ...]]
    compression: str = ""

    def chosen(self, option: str) -> str:
        """Return the value in force: what was asked, else the model's default; empty where there is none."""
        value = getattr(self.likely.request, option)
        return "" if value is None else str(value)


def judge(
    provider: Provider,
    request: ImageRequest,
    others: Iterable[Provider] = (),
    *,
    sandbox: bool = False,
    ready: Callable[[Provider], bool] = lambda other: True,
) -> Validation:
    """Hold a request against its model. Raises UnknownProvider where the gateway has no such model.

    An empty prompt is no problem: whoever sends asks for one.
    """
    model = provider.model(request.model)
    asked = replace(request, prompt=STAND_IN if is_blank(request.prompt) else request.prompt)
    problems, sound = _sound(provider, asked, tuple(others), ready)
    problems += _elsewhere(sound, sandbox)
    likely = provider.plan(sound)
    values = {option: _values(provider, model, sound, option) for option in _LISTS}
    plan = None if problems or is_blank(request.prompt) else likely
    return Validation(model, plan, likely, tuple(problems), values, _no_compression(provider, sound))


def mended(request: ImageRequest, problems: Iterable[Problem]) -> ImageRequest:
    """Return the request with the nearest possible values in the place of what cannot be had."""
    return replace(request, **{problem.option: problem.remedy for problem in problems if problem.option != "prompt"})


def _sound(
    provider: Provider, request: ImageRequest, others: tuple[Provider, ...], ready: Callable[[Provider], bool]
) -> tuple[list[Problem], ImageRequest]:
    """Return what is wrong, option by option, and the request without it."""
    problems: list[Problem] = []
    while True:
        try:
            registry.plan(provider, request, others, ready=ready)
        except UnsupportedOption as refusal:
            option = _blamed(refusal, request)
            if option is None:
                raise
            left_out: dict[str, Any] = {option: _LEFT_OUT.get(option)}
            remedy: dict[str, Any] = {option: _remedy(provider, request, option, refusal)}
            again = _refusal(provider, replace(request, **remedy))
            best = left_out if again and again.option == option else remedy
            problems.append(Problem(option, _words(refusal), best[option]))
            request = replace(request, **left_out)
        else:
            return problems, request


_LEFT_OUT: dict[str, Any] = {"prompt": STAND_IN, "references": (), "extra": {}}


def _blamed(refusal: UnsupportedOption, request: ImageRequest) -> str | None:
    """Return the option to leave out: the refused one, or its partner where that one was not even said."""
    said = request.asked()
    if refusal.option in said:
        return refusal.option
    return next((name for name in ("background", "output_compression", "resolution", "mask", "extra") if name in said), None)


def _remedy(provider: Provider, request: ImageRequest, option: str, refusal: UnsupportedOption) -> Any:
    if option == "references":
        return _fitting_references(provider, request)
    if option in _LISTS:
        return _named(refusal.nearest or "", option, listed(provider.model(request.model), _LISTS[option]))
    if option in ("n", "output_compression") and re.fullmatch(r"\d+", refusal.nearest or ""):
        return int(refusal.nearest or 0)
    return None


def _named(nearest: str, option: str, values: Iterable[str]) -> str | None:
    """Return the value that a refusal names as the nearest; None where that is to leave the option out."""
    if "without" in nearest:
        return None
    pixels = re.findall(r"\d+x\d+", nearest) if option == "size" and "(" not in nearest else []
    return next((value for value in (*pixels, *values) if re.search(rf"(?<![\w:]){re.escape(value)}(?![\w:])", nearest)), None)


def _fitting_references(provider: Provider, request: ImageRequest) -> tuple[str | LocalPicture, ...]:
    kept: tuple[str | LocalPicture, ...] = ()
    for address in request.references:
        if _refusal(provider, replace(request, references=(*kept, address), mask=None)) is None:
            kept = (*kept, address)
    return kept


def _elsewhere(request: ImageRequest, sandbox: bool) -> list[Problem]:
    kept = tuple(address for address in request.references if not str(address).startswith(SANDBOX_ADDRESS))
    if sandbox or kept == request.references:
        return []
    words = "A picture of the sandbox has no address that a real gateway could fetch it from"
    return [Problem("references", words, kept)]


def _values(provider: Provider, model: Model, request: ImageRequest, option: str) -> tuple[Value, ...]:
    values = listed(model, _LISTS[option])
    changes: list[dict[str, Any]] = [{option: value} for value in values]
    return tuple(Value(value, _reason(provider, replace(request, **change))) for value, change in zip(values, changes, strict=True))


def _no_compression(provider: Provider, request: ImageRequest) -> str:
    return _reason(provider, replace(request, output_compression=50)) if request.output_compression is None else ""


def _reason(provider: Provider, request: ImageRequest) -> str:
    refusal = _refusal(provider, request)
    return _words(refusal) if refusal else ""


def _refusal(provider: Provider, request: ImageRequest) -> UnsupportedOption | None:
    try:
        provider.plan(request)
    except UnsupportedOption as refusal:
        return refusal
    return None


def _words(refusal: UnsupportedOption) -> str:
    able = f"; exactly this can be done by {', '.join(refusal.gateways)}" if refusal.gateways else ""
    return refusal.what + (f" (nearest: {refusal.nearest})" if refusal.nearest else "") + able
