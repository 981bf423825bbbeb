"""What one cell does: from its option line and its prompt to the images in its output."""

from __future__ import annotations

import re
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

from IPython.core.error import UsageError
from IPython.display import display

from imagegen_magic._version import __version__
from imagegen_magic.engine import api, credentials
from imagegen_magic.engine.settings import NOTEBOOK_OPTIONS
from imagegen_magic.engine.storage import folders
from imagegen_magic.errors import ImageGenError
from imagegen_magic.notebook import subcommands
from imagegen_magic.notebook.arguments import confirmation, mistakes, parser, provider_choice
from imagegen_magic.notebook.arguments.request_builder import build_request
from imagegen_magic.notebook.commands import dispatch
from imagegen_magic.notebook.output import tables
from imagegen_magic.notebook.output.tables import show_note
from imagegen_magic.notebook.progress import run as runs
from imagegen_magic.notebook.progress.view import View
from imagegen_magic.secret_patterns import contains_any, looks_like_key, redact, without_queries

if TYPE_CHECKING:
    from imagegen_magic.engine.jobs.job import Job
    from imagegen_magic.engine.settings import Settings
    from imagegen_magic.notebook.context import NotebookContext
    from imagegen_magic.request import ImageRequest


def run(context: NotebookContext, line: str, body: str | None) -> None:
    """Do what a line (`body` None) or a cell requests. Raises errors that are shown as one line."""
    with one_line_errors(context):
        _refuse_keys(context, line, body)
        if body is None:
            _run_line(context, line.strip())
        else:
            _run_cell(context, line, body)


@contextmanager
def one_line_errors(context: NotebookContext) -> Iterator[None]:
    """Show our errors as one line without a key, and keep their traceback for `%imagegen error`."""
    try:
        yield
    except (ImageGenError, UsageError) as error:
        keys = context.keys()
        context.last_error = redact("".join(traceback.format_exception(error)), keys)
        if isinstance(error, ImageGenError):
            error.what = _one_line(redact(error.what, keys))
            error.hint = _one_line(redact(error.hint, keys))
            shown = [f"{type(error).__name__}: {error}"]
            error._render_traceback_ = lambda: shown  # type: ignore[attr-defined]  # IPython asks the exception itself
        raise


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _refuse_keys(context: NotebookContext, line: str, body: str | None) -> None:
    keys = context.keys()
    if looks_like_key(line) or contains_any(line, keys):
        raise credentials.holds_key("line")
    if contains_any(body or "", keys):
        raise credentials.holds_key("prompt")


def _run_cell(context: NotebookContext, line: str, body: str) -> None:
    if mistake := mistakes.continued(line, body):
        raise UsageError(mistake)
    parsed = parser.read(line, prompt=False)
    if _show_help(parsed.given):
        return
    if parsed.strays:
        raise UsageError(without_queries(mistakes.on_line(parsed, body, context.folder)))
    prompt = body[:-1] if body.endswith("\n") else body  # the front end adds the last line break
    _generate(context, parsed, prompt, mistakes.in_prompt(prompt))


def _run_line(context: NotebookContext, line: str) -> None:
    word, _, rest = line.partition(" ")
    if (command := subcommands.command_for(word)) and parser.fits(command, rest, context.shell.user_ns):
        dispatch.run(context, command, rest.strip())
        return
    parsed = parser.read(line)
    if _show_help({"help": True} if line in ("", "help") else parsed.given):
        return
    _refuse_misspelt(parsed)
    if parsed.ambiguous:
        written, flag = next(spelling for spelling in parsed.respelt if not spelling[0].isascii())
        raise UsageError(
            f"Nothing was sent: {written} can be the option {flag} or a part of the prompt. "
            f"For the option write `%imagegen {parsed.plain}`; for the prompt write -- before it, after all options."
        )
    _generate(context, parsed, parsed.text, "" if parsed.forced else mistakes.comment_in(parsed.text))


def _show_help(given: Mapping[str, Any]) -> bool:
    """Show the help or the version if that is what was requested."""
    if given.get("help"):
        print(subcommands.help_text())
    elif given.get("version"):
        print(f"imagegen_magic {__version__}")
    else:
        return False
    return True


def _refuse_misspelt(parsed: parser.Line) -> None:
    if parsed.forced or not parsed.text or len(parsed.text.split()) > 1:
        return
    if near := mistakes.misspelt(parsed.text):
        known = f"%imagegen {near}" if subcommands.command_for(near) else "%imagegen --help"
        raise UsageError(
            f"Unknown subcommand {parsed.text!r}. Did you mean `{known}`? Nothing was sent. "
            f"For a picture of this word: %imagegen -- {parsed.text}."
        )


_SCORER = re.compile(r"""(?:[^,("']|\([^)]*\)|"[^"]*"|'[^']*')+""")  # a name, perhaps with an argument


def _generate(context: NotebookContext, parsed: parser.Line, prompt: str, warning: str = "") -> None:
    """Make images, or show the plan; a note on what was read differently than written is shown before anything is sent."""
    if parsed.twice:
        raise UsageError(parsed.twice)
    given = parsed.given
    if given.get("reuse") and given.get("fresh"):
        raise UsageError("--reuse and --fresh exclude each other.")
    if given.get("skip_impossible") and not {"sweep", "repeat"} & given.keys():
        raise UsageError("--skip-impossible is for a sweep: it needs --sweep or --repeat.")
    if given.get("score") and given.get("no_wait"):
        raise UsageError("--score measures pictures that are there: leave out --no-wait, or run %imagegen score afterwards.")
    dry_run = given.get("dry_run")
    if not dry_run:
        show_note(parsed.note, warning)
    _make(context, given, prompt)
    if dry_run:
        show_note(parsed.note, warning)


def _make(context: NotebookContext, given: Mapping[str, Any], prompt: str) -> None:
    settings = context.settings(given)
    scorers = _scorers(context, given.get("score", ""))
    if {"sweep", "repeat"} & given.keys():
        from imagegen_magic.notebook.magic import sweep_cell

        started = sweep_cell.start(context, given, prompt, settings)
    else:
        started = _start(context, given, prompt, settings)
    if started is None:
        return
    job, make_view = started
    if given.get("no_wait"):
        runs.run_in_background(context, job, given.get("out"), make_view=make_view)
    else:
        runs.wait_in_cell(context, job, given.get("out"), make_view=make_view, keep_loop=settings.get("keep_loop"))
    if scorers:
        from imagegen_magic.notebook.commands import scores

        scores.run(context, given.get("out") or "_imagegen", scorers, ["--yes"] if given.get("yes") else [], settings)


def _scorers(context: NotebookContext, text: str) -> list[str]:
    """Return the names of scorers in an option, each of which exists. Raises UsageError before anything is sent."""
    names = [name for each in _SCORER.findall(text) if (name := each.strip())]
    if names:
        from imagegen_magic.notebook.commands import scores

        for name in names:
            scores.find(context, name)
    return names


def _start(context: NotebookContext, given: Mapping[str, Any], prompt: str, settings: Settings) -> tuple[Job, runs.MakeView] | None:
    """Start the job of a cell, and return it with its view; None after a dry run."""
    request = build_request(given, prompt, context.shell.user_ns, context.folder)
    credentials.reject_embedded_keys([request], (), settings)  # of variables; a plan would show a key, and the ledger keep it
    if given.get("dry_run"):
        _show_plan(request, given, settings)
        return None
    runs.remind_of_waiting(context, settings)
    settings.check(*NOTEBOOK_OPTIONS)  # most are used only after the job was paid for
    edge = settings.get("preview")
    settings = provider_choice.choose(request, settings, given.get("provider"), context.shell)
    planned = api.prepare(request, settings, given.get("provider"), fit=bool(given.get("fit")))
    folders.check(settings)
    if not given.get("yes"):
        confirmation.confirm_request(planned, settings, context.shell)
    return api.start_batch([planned], settings, preview=edge), partial(View, edge=edge)


def _show_plan(request: ImageRequest, given: Mapping[str, Any], settings: Settings) -> None:
    provider = given.get("provider")
    plan = api.plan(request, provider=provider, settings=settings, fit=bool(given.get("fit")))
    gateway = api.planned_endpoint(plan, settings, provider=provider)
    uploads = api.upload_preview(plan, gateway, settings)
    display(tables.plan_page(plan, uploads, sandbox=gateway.sandbox, wrong=folders.problems(settings)))
