"""What one cell does: from its option line and its prompt to pictures in its output."""

from __future__ import annotations

import re
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from IPython.core.error import UsageError

from imagegen_magic import readers
from imagegen_magic.errors import ImageGenError, UnsupportedOption
from imagegen_magic.notebook.arguments import options, parser, redaction
from imagegen_magic.secret_patterns import without_queries

if TYPE_CHECKING:
    from imagegen_magic.engine.jobs.job import Job
    from imagegen_magic.engine.settings import Settings
    from imagegen_magic.notebook.context import NotebookContext
    from imagegen_magic.request import ImageRequest

_VARIABLE = re.compile(r"\{\{(\w+)\}\}")
_HEAD_START = 0.01  # seconds the engine has for itself before the progress is drawn, which nobody would see any earlier
_JOB_OPTIONS = ("provider", "sandbox", "timeout", "save_dir", "name", "preview", "fit")
_OF_THE_JOB = ("sandbox", "timeout", "save_dir", "name")


class Interrupted(KeyboardInterrupt):
    """The waiting was interrupted; one line says what goes on without us, and Run All stops."""

    def _render_traceback_(self) -> list[str]:
        return [f"Interrupted: {self}"]


def run(context: NotebookContext, line: str, body: str | None) -> None:
    """Do what a line (`body` None) or a cell asks for. Raises what went wrong, dressed to show as one line."""
    with one_line_errors(context):
        _refuse_keys(context, line, body)
        if body is None:
            _run_line(context, line.strip())
        else:
            _run_cell(context, line, body)


@contextmanager
def one_line_errors(context: NotebookContext) -> Iterator[None]:
    """Let our errors show as one line without a key, and keep their trace for `%imagegen error`."""
    try:
        yield
    except (ImageGenError, UsageError) as error:
        keys = context.keys()
        context.last_error = redaction.redacted("".join(traceback.format_exception(error)), keys)
        if isinstance(error, ImageGenError):
            error.what = _one_line(redaction.redacted(error.what, keys))
            error.hint = _one_line(redaction.redacted(error.hint, keys))
            shown = [f"{type(error).__name__}: {error}"]
            error._render_traceback_ = lambda: shown  # type: ignore[attr-defined]  # IPython asks the exception itself
        raise


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _refuse_keys(context: NotebookContext, line: str, body: str | None) -> None:
    keys, where = context.keys(), ""
    if redaction.looks_like_key(line) or redaction.holds_known_key(line, keys):
        where = "line"
    elif redaction.holds_known_key(body or "", keys):
        where = "prompt"
    if where:
        from imagegen_magic.engine.credentials import holds_key

        raise holds_key(where)


def _run_cell(context: NotebookContext, line: str, body: str) -> None:
    from imagegen_magic.notebook.arguments import mistakes

    if words := mistakes.continued(line, body):
        raise UsageError(words)
    asked = parser.read(line, prompt=False)
    if asked.given.get("help"):
        print(options.help_text())
        return
    if asked.given.get("version"):
        show_version()
        return
    if asked.strays:
        raise UsageError(without_queries(mistakes.on_line(asked, body, context.folder)))
    prompt = body[:-1] if body.endswith("\n") else body  # the front end's own
    _generate(context, asked, prompt, mistakes.in_prompt(prompt))


def _run_line(context: NotebookContext, line: str) -> None:
    word, _, rest = line.partition(" ")
    if (command := options.command_for(word)) and parser.fits(command, rest):
        from imagegen_magic.notebook.commands import dispatch

        dispatch.run(context, command, rest.strip())
        return
    asked = parser.read(line)
    if line in ("", "help") or asked.given.get("help"):
        print(options.help_text())
        return
    if asked.given.get("version"):
        show_version()
        return
    _refuse_misspelt(asked)
    if asked.ambiguous:
        written, flag = next(each for each in asked.respelt if not each[0].isascii())
        raise UsageError(
            f"{written} may be the option {flag} or words of the prompt, so nothing was sent. "
            f"For the option write `%imagegen {asked.plain}`; for the words put -- before the prompt, behind all options."
        )
    from imagegen_magic.notebook.arguments import mistakes

    _generate(context, asked, asked.text, "" if asked.forced else mistakes.comment_in(asked.text))


def show_version() -> None:
    """Print the version of this package."""
    from imagegen_magic import __version__

    print(f"imagegen_magic {__version__}")


def _refuse_misspelt(asked: parser.Line) -> None:
    if asked.forced or not asked.text or len(asked.text.split()) > 1:
        return
    if near := options.misspelt(asked.text):
        known = f"%imagegen {near}" if options.command_for(near) else "%imagegen --help"
        raise UsageError(
            f"{asked.text!r} is nearly the subcommand {near!r}, so nothing was sent: {known}, or %imagegen -- {asked.text} to draw it."
        )


def _generate(context: NotebookContext, asked: parser.Line, prompt: str, warning: str = "") -> None:
    """Make pictures, or show the plan; what was read otherwise than it was written is said before anything is sent."""
    if asked.twice:
        raise UsageError(asked.twice)
    _refuse_together(asked.given)
    notes = (asked.note, warning)
    if asked.given.get("dry_run"):
        _make(context, asked.given, prompt)
        for words in notes:
            say(words)
        return
    for words in notes:
        say(words)
    _make(context, asked.given, prompt)


def _make(context: NotebookContext, given: Mapping[str, Any], prompt: str) -> None:
    if "sweep" in given or "repeat" in given:
        from imagegen_magic.notebook.magic import sweep_cell

        sweep_cell.run(context, given, prompt)
        return
    request = request_of(given, prompt, context.shell.user_ns, context.folder)
    settings = context.settings().replace("this cell", reuse=False if given.get("fresh") else given.get("reuse"))
    refuse_keys_in([request], settings)
    chosen = {name: given[name] for name in _JOB_OPTIONS if name in given}
    if given.get("dry_run"):
        _show_plan(request, chosen, settings)
        return
    tell_of_waiting(context, settings)
    from imagegen_magic.engine import api as generation
    from imagegen_magic.engine.storage import folders

    settings.check("keep_loop", "drift_above")  # which are needed when it is paid for
    edge = chosen.get("preview") or settings.get("preview")
    said = {name: chosen[name] for name in _OF_THE_JOB if name in chosen}
    settings = settings.replace("this cell", **said)
    wish = generation.wish(request, settings, chosen.get("provider"), fit=bool(chosen.get("fit")))
    folders.check(settings)
    if not given.get("yes"):
        from imagegen_magic.notebook.magic import confirmation

        confirmation.before(wish, settings, context.shell)
    job = generation.begin([wish], settings, preview=edge)
    if given.get("no_wait"):
        leave(context, job, given.get("out"), edge=edge)
    else:
        follow(context, job, given.get("out"), edge=edge, keep_loop=given.get("keep_loop") or settings.get("keep_loop"))


def refuse_keys_in(requests: Sequence[ImageRequest], settings: Settings, others: Sequence[Any] = ()) -> None:
    """Raise UnsupportedOption where variables put a known key into what is asked: a plan would show it, and a ledger keep it."""
    from imagegen_magic.engine import credentials as keys

    keys.refuse_in(requests, others, settings)


def _refuse_together(given: Mapping[str, Any]) -> None:
    if given.get("reuse") and given.get("fresh"):
        raise UsageError("--reuse and --fresh say the opposite of one another.")
    if given.get("skip_impossible") and "sweep" not in given and "repeat" not in given:
        raise UsageError("--skip-impossible is for a sweep: it needs --sweep or --repeat.")


def request_of(given: Mapping[str, Any], prompt: str, variables: Mapping[str, Any], folder: Path) -> ImageRequest:
    """Return what a cell asks for; raises UnsupportedOption where it has no prompt, or names a picture that is not there."""
    from imagegen_magic.providers.describe import shown
    from imagegen_magic.request import ImageRequest, is_blank

    if given.get("vars"):
        prompt = with_variables(prompt, variables)
    if is_blank(prompt):
        seen = any(mark.isprintable() and not mark.isspace() for mark in prompt)
        what = f"There is no prompt in {shown(prompt)}" if seen else "There is no prompt"
        step = "say in words what to draw, below %%imagegen or after %imagegen; %imagegen --help shows how"
        raise UnsupportedOption(what, option="prompt", value=prompt, hint=step)
    said = {name: given[name] for name in {item.name for item in fields(ImageRequest)} & set(given)}
    if "references" in said or "mask" in said:
        said |= _pictures(said, variables, folder)
    return ImageRequest(prompt, **said)


def _pictures(said: Mapping[str, Any], variables: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Return what the words after --ref and --mask name."""
    from imagegen_magic.notebook.arguments.image_sources import named

    named_ones: dict[str, Any] = {"references": tuple(named(word, variables, folder) for word in said.get("references", ()))}
    if "mask" in said:
        named_ones["mask"] = named(said["mask"], variables, folder, option="mask")
    return named_ones


def with_variables(prompt: str, variables: Mapping[str, Any]) -> str:
    """Replace each `{{name}}` by the variable of that name, once and without evaluating anything; the rest stays.

    Raises UnsupportedOption for a name that the notebook does not have.
    """

    def value(match: re.Match[str]) -> str:
        return variable(match[1], variables) if match[1].isidentifier() else match[0]

    return _VARIABLE.sub(value, prompt)


def variable(name: str, variables: Mapping[str, Any]) -> str:
    """Return the text of a variable that a prompt names; raises UnsupportedOption where the notebook does not have it."""
    if name not in variables:
        raise _no_variable(name, variables)
    return str(variables[name])


def _no_variable(name: str, variables: Mapping[str, Any]) -> UnsupportedOption:
    import difflib

    near = difflib.get_close_matches(name, [other for other in variables if not other.startswith("_")], n=1)
    return UnsupportedOption(
        f"The prompt asks for the variable {name!r}, which the notebook does not have",
        option="vars",
        value=name,
        nearest=near[0] if near else None,
        hint="define it first, or leave --vars out to send {{…}} as it stands",
    )


def _show_plan(request: ImageRequest, chosen: Mapping[str, Any], settings: Settings) -> None:
    from IPython.display import display

    from imagegen_magic.engine import api as generation
    from imagegen_magic.engine.storage import folders
    from imagegen_magic.notebook.output import tables

    where = {name: chosen[name] for name in ("provider", "sandbox") if name in chosen}
    plan = generation.plan(request, settings=settings, fit=bool(chosen.get("fit")), **where)
    gateway = generation.foreseen(plan, settings, **where)
    uploads = generation.outlook(plan, gateway, settings)
    display(tables.plan_page(plan, uploads, sandbox=gateway.sandbox, wrong=folders.troubles(settings)))


def tell_of_waiting(context: NotebookContext, settings: Settings) -> None:
    """Say once a session, in one quiet line, that paid pictures wait to be collected."""
    if context.reminded:
        return
    context.reminded = True
    from imagegen_magic.engine import api as generation

    waiting = generation.ledger(settings).count_resumable()
    if waiting:
        say(f"{waiting} picture{'s are' if waiting > 1 else ' is'} waiting: %imagegen resume")


def say(words: str) -> None:
    """Show one quiet line in the cell."""
    from IPython.display import display

    from imagegen_magic.notebook.output.tables import Note, Page

    if words:
        display(Page(Note(words)))


def follow(
    context: NotebookContext,
    job: Job,
    out: str | None = None,
    *,
    edge: int = readers.MOST_PREVIEW,
    keep_loop: bool = False,
    looking: Callable[..., Any] | None = None,
) -> None:
    """Show a job's progress and pictures until it ends, and bind its Generation; raises Interrupted, or why nothing was made.

    `looking` makes the view of it, where that is not the usual one.
    """
    from imagegen_magic.engine import loop
    from imagegen_magic.notebook.progress import view as progress_view

    wait = _run_on_kernel_loop if keep_loop else loop.run
    try:
        say(job.note)
        job.wait_until_submitted(_HEAD_START)
        view = looking(job, context.shell) if looking else progress_view.view(job, context.shell, edge=edge)
        wait(view.follow())
        generation = wait(job.result())
    except KeyboardInterrupt:
        job.cancel()
        if job.generation is not None:  # what stands in the output can be named, as after Cancel
            bind(context, job.generation, out)
        raise Interrupted(_stopped(job)) from None
    bind(context, generation, out)


def _stopped(job: Job) -> str:
    if not job.submitted:
        return "the waiting stopped. Nothing was sent, and nothing is charged."
    return (
        "the waiting stopped. Your move: the gateway goes on with what it accepted, and charges for it; "
        "%imagegen resume collects it without paying again."
    )


def _run_on_kernel_loop(coroutine: Any) -> Any:
    import asyncio

    from imagegen_magic.engine import loop

    try:
        kernel_loop = asyncio.get_running_loop()
    except RuntimeError:
        return loop.run(coroutine)  # no loop runs in this thread, so nothing stands still
    import nest_asyncio2  # type: ignore[import-untyped]

    nest_asyncio2.apply(kernel_loop)
    return kernel_loop.run_until_complete(loop.bridge(coroutine))


def leave(
    context: NotebookContext,
    job: Job,
    out: str | None = None,
    *,
    edge: int = readers.MOST_PREVIEW,
    looking: Callable[..., Any] | None = None,
) -> None:
    """Let a job go on behind the cell, whose output shows it; bind the job, and its Generation when there is one."""
    from imagegen_magic.engine import loop
    from imagegen_magic.notebook.progress import view as progress_view

    say(job.note)
    view = looking(job, context.shell, background=True) if looking else progress_view.view(job, context.shell, background=True, edge=edge)
    context.jobs = [*(one for one in context.jobs if not one.done), job]
    if out:
        context.shell.push({out: job})
    handle = loop.submit(view.follow())
    handle.add_done_callback(lambda _: _bind_finished(context, job))


def _bind_finished(context: NotebookContext, job: Job) -> None:
    if job.generation is not None:
        context.shell.user_ns["_imagegen"] = job.generation


def bind(context: NotebookContext, generation: Any, out: str | None) -> None:
    """Bind a Generation to `_imagegen` and to the chosen variable."""
    context.shell.push({"_imagegen": generation} | ({out: generation} if out else {}))
