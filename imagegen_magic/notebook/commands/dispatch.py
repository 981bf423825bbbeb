"""The subcommands of `%imagegen`: looking, collecting, signing in; none of them submits anything."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any, cast

from IPython.core.error import StdinNotImplementedError, UsageError
from IPython.display import display

from imagegen_magic.errors import ImageGenError, MissingKey, UnknownProvider
from imagegen_magic.notebook.arguments import options, parser, redaction
from imagegen_magic.notebook.magic import cell
from imagegen_magic.notebook.output.tables import Cell, Note, Page, Table, pixels, shortened

if TYPE_CHECKING:
    from imagegen_magic.engine.credentials import Key
    from imagegen_magic.engine.jobs.job import Job
    from imagegen_magic.engine.ledger.ledger import TaskRow
    from imagegen_magic.engine.settings import Settings
    from imagegen_magic.notebook.context import NotebookContext
    from imagegen_magic.providers.base import Model, Provider
    from imagegen_magic.result import GeneratedImage

_OPEN = {
    "planned": "waiting for its turn",
    "submitting": "being submitted",
    "submitted": "at the gateway",
    "made": "made, not fetched yet",
    "unknown": "sent, and nobody knows whether it was accepted: look at the gateway's own task list",
}


def run(context: NotebookContext, command: options.Command, rest: str) -> None:
    """Run a subcommand with the text after its name; raises UsageError where that does not fit it."""
    try:
        arguments, flags = parser.command_words(rest, command)
    except UsageError as error:
        raise UsageError(_does_not_fit(command, rest, str(error))) from None
    if "--help" in flags or "-h" in flags:
        print(f"{command.usage}\n    {command.help}")
        return
    room(command.name)(context, arguments, flags)


def room(name: str) -> Callable[[Any, list[str], dict[str, str]], None]:
    """Return the function of a subcommand, imported when it is first used."""
    if name in RUN:
        return RUN[name]
    home, function = _ELSEWHERE[name]
    return cast(Callable[..., None], getattr(import_module(f"imagegen_magic.notebook.commands.{home}"), function))


def _does_not_fit(command: options.Command, rest: str, why: str) -> str:
    if command.name == "login":  # what was typed may be the key: it is not repeated
        return f"{command.usage} takes nothing else: it asks for the key, unseen."
    return f"{why} Nothing was sent. For a picture of these words: %imagegen -- {command.name} {rest}."


def _providers(context: NotebookContext, arguments: list[str], flags: dict[str, str]) -> None:
    from imagegen_magic.engine import endpoints
    from imagegen_magic.providers import registry

    settings = context.settings()
    rows = [row for provider in endpoints.known(settings) for row in _provider_rows(provider, settings)]
    rows += [[name, "not used", "", str(trouble), ""] for name, trouble in registry.unsound(settings.look_alikes).items()]
    display(Page(Table(("gateway", "key", "model", "can do", "documents"), rows), Note("%imagegen models NAME shows sizes and limits.")))


def _provider_rows(provider: Provider, settings: Settings) -> Iterator[list[str | Cell]]:
    for number, model in enumerate(provider.models):
        first = number == 0
        name = f"{provider.name} ({provider.title})" if first else ""
        key = key_words(provider, settings) if first else ""
        documents = Cell(provider.docs_url, address=provider.docs_url) if first else ""
        yield [name, key, _model_name(model), _abilities(model), documents]


def key_words(provider: Provider, settings: Settings) -> str:
    """Say whether a gateway's key is set and where, or where to set it."""
    from imagegen_magic.engine import credentials as keys

    where = keys.where(provider, settings.home)
    if where == "not set":
        return f"not set: {provider.key_variable}, or %imagegen login {provider.name}"
    trouble, _ = key_trouble(provider, settings)
    return f"set ({where})" + (f", and cannot be used: {trouble}" if trouble else "")


def key_trouble(provider: Provider, settings: Settings) -> tuple[str, str]:
    """Return why a key that is set cannot be used and how to mend that, as where its keyring is locked; empty where nothing is wrong."""
    from imagegen_magic.engine import credentials as keys

    try:
        keys.find(provider, settings.home)
    except MissingKey as error:
        return error.what, error.hint
    return "", ""


def _model_name(model: Model) -> str:
    return model.name + (f" (retired {model.retired})" if model.retired else "")


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


def _models(context: NotebookContext, arguments: list[str], flags: dict[str, str]) -> None:
    from imagegen_magic.engine import endpoints
    from imagegen_magic.providers import registry

    settings, name = context.settings(), arguments[0] if arguments else ""
    troubles = registry.unsound(settings.look_alikes)
    if name in troubles:
        raise troubles[name]
    chosen = list(_matching(endpoints.known(settings), name))
    if not chosen:
        names = sorted({provider.name for provider in endpoints.known(settings)})
        raise UnknownProvider(f"No gateway and no model is called {name}", hint=f"the gateways are {', '.join(names)}")
    pieces = [piece for provider, model in chosen for piece in _model_pieces(provider, model)]
    display(Page(*pieces, *(Note(str(trouble)) for trouble in troubles.values() if not name)))


def _matching(providers: Iterable[Provider], name: str) -> Iterator[tuple[Provider, Model]]:
    return ((provider, model) for provider in providers for model in provider.models if name in ("", provider.name, model.name))


def _model_pieces(provider: Provider, model: Model) -> tuple[Table, Table, Note]:
    tiers = list(dict.fromkeys(tier for by_tier in model.sizes.values() for tier in by_tier))
    rows = [[ratio, *(pixels([by_tier[tier]]) if tier in by_tier else "–" for tier in tiers)] for ratio, by_tier in model.sizes.items()]
    heads = ("ratio", *(tiers if model.resolutions else ["pixels"]))
    facts = Table((), [[name, value] for name, value in _facts(model) if value])
    return Table(heads, rows, title=f"{provider.name} · {_model_name(model)}"), facts, Note(f"{model.document}, read {model.checked}")


def _facts(model: Model) -> list[tuple[str, str]]:
    default = f" (default {model.default_quality})" if model.default_quality else ""
    return [
        ("quality", ", ".join(model.qualities) + default if model.qualities else ""),
        ("background", ", ".join(model.backgrounds)),
        ("moderation", ", ".join(model.moderations)),
        ("format", ", ".join(model.formats)),
        ("compression", f"0-100 for {', '.join(model.compressible)}" if model.compressible else ""),
        ("other sizes", ", ".join(filter(None, ["auto" if model.auto_size else "", str(model.pixel_rule or "")]))),
        ("pictures", (f"up to {model.max_n}" if model.max_n > 1 else "one") + " a task; more become several tasks"),
        ("references", f"up to {model.max_references}" + (", and a mask" if model.mask else "") if model.max_references else "none"),
        ("prompt", f"up to {model.max_prompt} characters" if model.max_prompt else ""),
        ("note", model.note),
    ]


def _resume(context: NotebookContext, arguments: list[str], flags: dict[str, str]) -> None:
    from imagegen_magic.engine import api

    settings = context.settings()
    row, folder = _what_to_resume(arguments, settings)
    context.reminded = True
    try:
        job = api.resume(settings, save_dir=folder) if row is None else api.resume_task(row, settings, save_dir=folder)
    except KeyboardInterrupt:
        raise cell.Interrupted(
            "nothing was collected yet. What the gateways made stays there: %imagegen resume collects it without paying again."
        ) from None
    if job.expecting:
        cell.follow(context, job)
        return
    cell.say(job.note)
    print("Nothing is waiting.")


def _what_to_resume(arguments: list[str], settings: Settings) -> tuple[int | None, str | None]:
    """Return which task is meant, all where none is, and into which folder; a number alone is a task unless a folder is called so."""
    if not arguments or not re.fullmatch(r"\d{1,18}", arguments[0]):
        if len(arguments) > 1:
            raise UsageError(f"The subcommand is %imagegen resume [ID] [DIR], and {arguments[0]} is no task's number. Nothing was sent.")
        return None, arguments[0] if arguments else None
    number = arguments[0]
    if len(arguments) == 1 and (settings.folder / number).is_dir():
        raise UsageError(
            f"There is a folder {number} here: %imagegen resume ./{number} saves into it, "
            f"%imagegen resume {number} {settings.get('save_dir')} collects task {number}."
        )
    return int(number), arguments[1] if len(arguments) > 1 else None


def _jobs(context: NotebookContext, arguments: list[str], flags: dict[str, str]) -> None:
    rows = [[f"job {job.id}", _gateways(job), shortened(job.request.prompt), _state(job)] for job in context.jobs]
    rows += [_task_row(task) for task in _open_tasks(context.settings())]
    if rows:
        display(
            Page(Table(("", "gateway", "prompt", "state"), rows), Note("%imagegen wait, %imagegen cancel ID; %imagegen resume collects."))
        )
    else:
        print("Nothing is under way or waiting.")


def _gateways(job: Job) -> str:
    """Return where a job's requests went, each gateway once; a sweep may be at several."""
    return ", ".join(dict.fromkeys(each.gateway.label for each in job.requests))


def _state(job: Job) -> str:
    from imagegen_magic.engine.jobs.job import pluralize

    if not job.done:
        return "under way"
    return f"done, {pluralize(len(job.images), 'picture')}" if job.images else "ended without a picture"


def _wait(context: NotebookContext, arguments: list[str], flags: dict[str, str]) -> None:
    failures = []
    jobs = list(context.jobs)
    for job in jobs:
        try:
            cell.bind(context, job.wait(), None)
        except ImageGenError as error:
            failures.append(error)
        except KeyboardInterrupt:
            raise cell.Interrupted("the waiting stopped; the jobs go on, and so do the gateways.") from None
    if failures:
        raise failures[-1]
    done = "1 job is done." if len(jobs) == 1 else f"{len(jobs)} jobs are done."
    print(done if jobs else "No job was started with --no-wait.")


def _cancel(context: NotebookContext, arguments: list[str], flags: dict[str, str]) -> None:
    running = [job for job in context.jobs if not job.done]
    chosen = [job for job in running if not arguments or str(job.id) == arguments[0]]
    if arguments and not chosen:
        under_way = ", ".join(str(job.id) for job in running) or "none"
        raise UsageError(
            f"No job {arguments[0]} is under way (under way: {under_way}). A running cell stops with its own Cancel or interrupt."
        )
    for job in chosen:
        job.cancel()
    stopped = "Nothing is under way." if not chosen else f"Stopped waiting for {len(chosen)} job{'s' if len(chosen) > 1 else ''}."
    print(stopped + (" The gateways go on with what they accepted, and charge for it: %imagegen resume collects it." if chosen else ""))


def _show(context: NotebookContext, arguments: list[str], flags: dict[str, str]) -> None:
    from imagegen_magic.notebook.output import display as pictures

    pictures.show(_chosen(context.settings(), arguments), context.shell)


def _chosen(settings: Settings, arguments: list[str]) -> GeneratedImage:
    """Return the picture of the given id, the latest one where none is given."""
    if not arguments:
        if found := latest(settings, 1):
            return found[0]
        raise UsageError("There is no picture to show yet; %imagegen history lists them once there are.")
    number = arguments[0].removeprefix("@")
    if not number.isdecimal():
        raise UsageError("The subcommand is %imagegen show [ID], with a number of %imagegen history; for a prompt, %imagegen -- show …")
    if image := picture(settings, int(number)):
        return image
    raise UsageError(f"There is no picture {arguments[0]}: %imagegen history lists them.")


def _forget(context: NotebookContext, arguments: list[str], flags: dict[str, str]) -> None:
    from imagegen_magic.engine import api, loop

    ledger, named = api.ledger(context.settings()), arguments[0] if arguments else "?"
    loop.run(ledger.recover_orphans())
    tasks = loop.run(ledger.tasks(rows=[int(named)])) if re.fullmatch(r"\d{1,18}", named) else []
    if not tasks:
        known = ", ".join(str(task.row) for task in loop.run(ledger.tasks(states=tuple(_OPEN)))) or "none"
        raise UsageError(f"There is no task {named} that could be given up (there are: {known}).")
    (task,) = tasks
    if loop.run(ledger.forget(task.row, str(_given_up(task)))) is None:
        raise UsageError(_not_to_forget(task))
    print(_what_is_given_up(task))


def _given_up(task: TaskRow) -> ImageGenError:
    """Return what the ledger is to say of a task that a person gave up."""
    step = f"%imagegen resume {task.row} still collects it, without paying again" if task.task_id else "look at the gateway's own task list"
    return ImageGenError("Given up with %imagegen forget", blame="you", charge="yes" if task.task_id else "unknown", hint=step)


def _not_to_forget(task: TaskRow) -> str:
    if task.state in _OPEN:
        return f"Task {task.row} is under way, here or in another kernel: %imagegen cancel stops the waiting, then it can be given up."
    ends = {"saved": "all its pictures are saved", "failed": "it has ended already", "dropped": "it was never sent"}
    return f"There is nothing to give up of task {task.row}: {ends.get(task.state, task.state)}."


def _what_is_given_up(task: TaskRow) -> str:
    """Say what a person gave up: the gateway's id, the gateway, the prompt, what it cost, and what may follow."""
    gateway = task.provider + (" (sandbox)" if task.sandbox else "")
    cost = task.cost if task.cost.amount is not None else task.price
    told = f"Task {task.row} is given up: {task.task_id or 'no id'} at {gateway}, {shortened(task.prompt)!r}, {cost}."
    if task.task_id:
        return f"{told} It was charged, and %imagegen resume {task.row} still collects it. --reuse may send the same again."
    return f"{told} --reuse may send the same again. If the gateway had accepted it, that will be charged twice."


def _login(context: NotebookContext, arguments: list[str], flags: dict[str, str]) -> None:
    from imagegen_magic.engine import credentials as keys
    from imagegen_magic.providers import registry

    settings = context.settings()
    if not arguments:
        raise UsageError(f"The subcommand is %imagegen login NAME, with one of {', '.join(registry.provider_names(settings.look_alikes))}.")
    provider = registry.get_provider(arguments[0], settings.look_alikes)
    key = _ask(provider)
    keys.remember(provider.name, key)
    print(f"The key of {provider.title} is remembered until this kernel ends. Nothing was sent; the next cell tries it.")
    if "--save" in flags:
        keys.save(provider.name, key, settings.home)
        print("It is in the system keyring, too.")


def _ask(provider: Provider) -> Key:
    import getpass

    from imagegen_magic.engine.credentials import Key

    try:
        key = Key(getpass.getpass(f"Key of {provider.title}: "))
    except (StdinNotImplementedError, EOFError):
        raise ImageGenError(
            "Nobody can be asked for a key here",
            blame="you",
            charge="no",
            hint=f"set {provider.key_variable} in the environment before the kernel starts",
        ) from None
    if not key.reveal():
        raise ImageGenError("No key was typed", blame="you", charge="no", hint=f"run %imagegen login {provider.name} again")
    return key


def _doctor(context: NotebookContext, arguments: list[str], flags: dict[str, str]) -> None:
    from imagegen_magic.notebook.commands import doctor

    display(doctor.report(context, network="--network" in flags))


def _config(context: NotebookContext, arguments: list[str], flags: dict[str, str]) -> None:
    from imagegen_magic.engine.settings import KNOWN, unknown_variables

    settings, keys = context.settings(), context.keys()
    rows = [_setting_row(option.name, settings) for option in options.settings()]
    rows += [[name, "not used", str(trouble)] for name, trouble in settings.troubles.items() if name not in KNOWN]
    rows += [[name, "not used", variable_trouble(near)] for name, near in unknown_variables().items()]
    rows += [[f"providers.{name}", _look_alike(table), "pyproject.toml"] for name, table in settings.look_alikes.items()]
    rows = [[name, redaction.redacted(value, keys), origin] for name, value, origin in rows]
    display(Page(Table(("setting", "value", "said by"), rows), Note('%config ImageGenMagics.NAME = "value" changes one for this session.')))


def variable_trouble(near: str) -> str:
    """Return what is wrong with a variable of the environment that sets nothing; `near` is the one that may be meant."""
    return f"environment; no setting has this name{f': did you mean {near}?' if near else ''}"


def _setting_row(name: str, settings: Settings) -> list[str]:
    from imagegen_magic.engine.settings import KNOWN

    trouble = settings.troubles.get(name)
    value = _value(settings.sound.values.get(name, (KNOWN[name][1], ""))[0])
    return [name, value if trouble is None else "not used", settings.origin(name) if trouble is None else str(trouble)]


def _value(value: Any) -> str:
    return "–" if value is None else str(value)


def _look_alike(table: Any) -> str:
    """Return a configured gateway in words: the values of what belongs there, as anything else may be a key by mistake."""
    if not isinstance(table, Mapping):
        return "no table, so not shown"
    told = ((str(name), value if _may_show(str(name), str(value)) else "(not shown)") for name, value in table.items())
    return ", ".join(f"{name} = {value}" for name, value in told) or "empty"


_ADDRESS = re.compile(r"https?://[^\s?#@]+")
_SHOWN = {  # what belongs into a gateway's table, and how it looks
    "like": re.compile(r"[A-Za-z][\w-]{0,39}"),
    "base_url": _ADDRESS,
    "upload_url": _ADDRESS,
    "docs_url": _ADDRESS,
    "key_variable": re.compile(r"[A-Z][A-Z0-9_]*"),
    "title": re.compile(r".{1,80}"),
}


def _may_show(name: str, value: str) -> bool:
    return name in _SHOWN and _SHOWN[name].fullmatch(value) is not None


def _panel(context: NotebookContext, arguments: list[str], flags: dict[str, str]) -> None:
    from imagegen_magic.notebook.panel.panel import Panel

    display(Panel(settings=context.settings()))


def _version(context: NotebookContext, arguments: list[str], flags: dict[str, str]) -> None:
    cell.show_version()


def _error(context: NotebookContext, arguments: list[str], flags: dict[str, str]) -> None:
    print(context.last_error or "No error yet.")


def _open_tasks(settings: Settings) -> list[TaskRow]:
    from imagegen_magic.engine import api, loop

    return loop.run(api.ledger(settings).tasks(states=tuple(_OPEN)))


def _task_row(task: TaskRow) -> list[str]:
    gateway = task.provider + (" (sandbox)" if task.sandbox else "")
    return [f"task {task.row}", gateway, shortened(task.prompt), _OPEN[task.state] + (f" ({task.task_id})" if task.task_id else "")]


def latest(settings: Settings, most: int) -> list[GeneratedImage]:
    """Return the latest pictures of the ledger, newest first."""
    from imagegen_magic.engine import api, loop
    from imagegen_magic.engine.jobs.reuse import generated

    return [generated(row) for row in loop.run(api.ledger(settings).pictures(limit=most))]


def picture(settings: Settings, number: int) -> GeneratedImage | None:
    """Return the picture of that id, or None where the ledger has none on disk."""
    from imagegen_magic.engine import api, loop
    from imagegen_magic.engine.jobs.reuse import generated

    rows = loop.run(api.ledger(settings).pictures(ids=[number]))
    return generated(rows[0]) if rows else None


_ELSEWHERE: dict[str, tuple[str, str]] = {  # subcommands with a module of their own: the module beside this one, and its function
    "history": ("history", "history"),
    "star": ("history", "star"),
    "tag": ("history", "tag"),
    "note": ("history", "note"),
    "recall": ("recall", "recall"),
    "tree": ("recall", "tree"),
    "compare": ("compare", "compare"),
    "vote": ("vote", "vote"),
    "drift": ("drift", "run"),
    "mask": ("mask", "run"),
    "cost": ("spending", "cost"),
    "budget": ("spending", "budget"),
    "export": ("export", "export"),
    "slim": ("export", "slim"),
}
RUN: dict[str, Callable[[Any, list[str], dict[str, str]], None]] = {
    "providers": _providers,
    "models": _models,
    "resume": _resume,
    "jobs": _jobs,
    "wait": _wait,
    "cancel": _cancel,
    "show": _show,
    "login": _login,
    "doctor": _doctor,
    "forget": _forget,
    "config": _config,
    "panel": _panel,
    "error": _error,
    "version": _version,
}
