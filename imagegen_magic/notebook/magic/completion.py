"""TAB completion of `%imagegen` and `%%imagegen`: options, gateways, models, and the values that the chosen model takes."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from IPython.core.error import UsageError

from imagegen_magic.engine import endpoints
from imagegen_magic.engine.learnt_models import with_learnt
from imagegen_magic.errors import ImageGenError
from imagegen_magic.notebook.arguments import parser
from imagegen_magic.notebook.magic import input_transformer
from imagegen_magic.notebook.subcommands import COMMANDS, Command, command_for
from imagegen_magic.options import OPTIONS, PARAMETERS, SETTINGS, Option, option_for
from imagegen_magic.providers import alternatives, registry
from imagegen_magic.providers.model import VALUE_LISTS

if TYPE_CHECKING:
    from imagegen_magic.engine.settings import Settings
    from imagegen_magic.notebook.context import NotebookContext
    from imagegen_magic.providers.base import Parameter, Provider
    from imagegen_magic.studies.scores.table import ScoreColumn
    from imagegen_magic.studies.sweeps.result import SweepResult

_CELL = re.compile(r"\s*%%imagegen(?=\s)(.*)", re.DOTALL)
_LINE = re.compile(r"\s*(?:\w+\s*=\s*)?%imagegen(?=\s)(.*)", re.DOTALL)
_VALUE = re.compile(r"(?:^|\s)(-{1,2}[A-Za-z][\w-]*)(?:\s+|=)(\S*)$")


@dataclass(frozen=True, slots=True)
class Found:
    """The completions of `fragment`, the text before the cursor; `kind` is for the icon of the menu."""

    fragment: str = ""
    words: tuple[str, ...] = ()
    kind: str = "param"


def match(context: NotebookContext, completer: Any) -> Any:
    """Return the completions for IPython's completer; none outside lines of this magic."""
    from IPython.core.completer import SimpleCompletion

    typed = typed_line(completer.full_text, completer.cursor_line, completer.text_until_cursor)
    found = Found() if typed is None else complete(typed[0], context, is_cell=typed[1])
    return {
        "completions": [SimpleCompletion(text=word, type=found.kind) for word in found.words],
        "matched_fragment": found.fragment,
        "suppress": bool(found.words),
        "ordered": True,
    }


def typed_line(text: str, line: int, before: str) -> tuple[str, bool] | None:
    """Return the text between the magic's name and the cursor, and whether it is a cell's; None in a prompt and elsewhere."""
    lines = text.split("\n")
    first = input_transformer.first_line(lines) % len(lines)
    if lines[first].lstrip().startswith("%%"):
        matched = _CELL.fullmatch(before) if line == first else None
        return (matched[1], True) if matched else None
    matched = _LINE.fullmatch(before)
    return (matched[1], False) if matched else None


def complete(typed: str, context: NotebookContext, *, is_cell: bool) -> Found:
    """Return the completions for the text after the magic's name."""
    words = typed.split()
    fragment = "" if not typed or typed[-1].isspace() else words[-1]
    before = words[:-1] if fragment else words
    if before[:1] == ["--"]:
        return Found()  # all of it is a prompt
    if not is_cell and before and (command := command_for(before[0])):
        if command.options_only:
            rest = typed.lstrip()[len(before[0]) :]
            return _value(rest, context) or _begun(fragment, [*_command_words(command, before[1:], context), *_flags(rest, fragment)])
        return _begun(fragment, _command_words(command, before[1:], context))
    if found := _value(typed, context):
        return found
    if fragment.startswith("-"):
        return _begun(fragment, _flags(typed, fragment))
    if not is_cell and not before:
        return _begun(fragment, [*(command.name for command in COMMANDS), *([] if fragment else _flags(typed, ""))])
    return Found() if fragment or _read(typed).text else _begun("", _flags(typed, ""))


def _value(typed: str, context: NotebookContext) -> Found | None:
    """Return the completions for the value of an option; None if the text does not end in one."""
    match = _VALUE.search(typed)
    option = option_for(match[1]) if match else None
    if match is None or option is None or not option.metavar:
        return None
    return _begun(match[2], _values(option, typed[: match.start()], context), "value")


def _begun(fragment: str, words: Iterable[str], kind: str = "param") -> Found:
    return Found(fragment, tuple(word for word in words if word.lower().startswith(fragment.lower())), kind)


def _read(typed: str) -> parser.Line:
    """Parse the text so far; an incomplete line has no options."""
    try:
        return parser.read(typed)
    except UsageError:
        return parser.Line()


def _flags(typed: str, fragment: str) -> Iterator[str]:
    given = _read(typed.removesuffix(fragment)).given
    for option in OPTIONS:
        if option.flags and (option.repeat or option.name not in given):
            yield option.long


def _command_words(command: Command, typed: Sequence[str], context: NotebookContext) -> Iterator[str]:
    if command.choices == "providers":
        yield from _providers(context)
    elif command.choices == "settings":
        yield from (f"{name}=" for name in SETTINGS)
    elif command.choices == "scorers":
        yield from _scorers(context)
    elif command.choices == "effects":
        yield from _of_effects(typed, context)
    elif command.choices == "jobs":
        yield from (str(job.id) for job in context.jobs if not job.done)
    yield from (flag for flag in command.flags if flag not in typed)


def _scorers(context: NotebookContext) -> Sequence[str]:
    from imagegen_magic.studies.scores import builtin
    from imagegen_magic.studies.scores.scorer import Scorer

    return *(name for name, value in context.shell.user_ns.items() if isinstance(value, Scorer)), *builtin.simple()


def _of_effects(typed: Sequence[str], context: NotebookContext) -> Iterator[str]:
    """Yield the words that fit after the name of a sweep: axes after an option, else its scores and the options."""
    from imagegen_magic.studies.effects.available import FROM_LEDGER
    from imagegen_magic.studies.sweeps.result import SweepResult

    sweep = context.shell.user_ns.get(typed[0]) if typed else None
    if not isinstance(sweep, SweepResult):
        return
    if typed[-1] == "--against":
        yield from (f"{axis}={value}" for axis, values in sweep.axes.items() for value in values if value.split() == [value])
    elif typed[-1] in ("--over", "--by"):
        yield from sweep.axes
    else:
        scorers = dict.fromkeys(column.scorer for column in _columns(sweep))
        yield from (name for name in (*scorers, *FROM_LEDGER) if name not in typed)
        yield from (flag for flag in ("--against", "--over", "--by") if flag not in typed)


def _columns(sweep: SweepResult) -> Iterable[ScoreColumn]:
    try:
        return sweep.scores.columns.values()
    except ImageGenError:
        return ()  # the command reports the error when it runs


def _providers(context: NotebookContext) -> Sequence[str]:
    return tuple(registry.provider_names(context.settings().provider_tables))


def _values(option: Option, before: str, context: NotebookContext) -> Sequence[str]:
    given = dict(_read(before).given)
    try:
        if option.name == "provider":
            return _providers(context)
        if option.name not in ("model", "extra", "sweep", *VALUE_LISTS):
            return option.values
        settings = context.settings().without_errors
        provider = _provider(given, settings)
        if option.name == "model":
            return tuple(model.name for model in provider.models)
        if option.name in ("extra", "sweep"):
            parameters = provider.model(given.get("model") or settings.get("model")).parameters
            return tuple(_settings_of(parameters, PARAMETERS if option.name == "extra" else (), values=option.name == "extra"))
        configured = {name: settings.get(name) for name in ("model", "output_compression", *VALUE_LISTS)}
        set_values = {name: value for name, value in configured.items() if value is not None}
        return alternatives.fitting_values(provider, {**set_values, **given}, option.name)
    except ImageGenError:
        return ()  # the cell reports the error when it runs


def _settings_of(parameters: Mapping[str, Parameter], others: Collection[str], *, values: bool) -> Iterator[str]:
    """Yield `NAME=` for the parameters of a model, the common ones first, with each of their listed `values`; none for `others`."""
    for name, parameter in sorted(parameters.items(), key=lambda item: not item[1].common):
        listed = parameter.allowed if values and parameter.kind in ("choice", "flag") else ()
        yield from () if name in others else [f"{name}={value}" for value in listed] or [f"{name}="]


def _provider(given: Mapping[str, Any], settings: Settings) -> Provider:
    """Return the provider of a line, with the models that its service described before; nothing is requested."""
    sandbox = given.get("sandbox")
    if (name := given.get("provider") or settings.get("provider")) and name != endpoints.SANDBOX_NAME:
        named = registry.get_provider(name, settings.provider_tables)
        try:
            endpoint = endpoints.without_key(named, settings, sandbox=sandbox)
        except ImageGenError:  # of its address, or the sandbox does not have it
            return named
    else:
        endpoint = endpoints.select_endpoint(settings, sandbox=sandbox, model=given.get("model"), planning=True)
    return with_learnt(endpoint, settings, given.get("model")).provider
