"""`%imagegen delete`: what is kept of pictures is shown, and thrown away after a question."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from IPython.core.error import UsageError
from IPython.display import display

from imagegen_magic.engine import api, deletion, loop
from imagegen_magic.engine.jobs.reuse import generated
from imagegen_magic.engine.ledger.deletion import Deletion
from imagegen_magic.humanize import file_size, pluralize, truncate
from imagegen_magic.notebook.arguments import image_selector
from imagegen_magic.notebook.arguments.confirmation import can_answer, confirm
from imagegen_magic.notebook.output.captions import near
from imagegen_magic.notebook.output.tables import Note, Page, Table, show_note
from imagegen_magic.result import total

if TYPE_CHECKING:
    from imagegen_magic.notebook.context import NotebookContext
    from imagegen_magic.result import GeneratedImage

_SHOWN = 20  # pictures in the table, ids in a sentence
_ELSEWHERE = "Notebooks, IPython's input history, exports and the service keep their own copies"
_SANDBOX = ", the sandbox for eight days"


def delete(context: NotebookContext, arguments: list[str], flags: dict[str, str]) -> None:
    """Show what would be deleted and what stays, ask, and delete it; finish an earlier deletion that was interrupted."""
    ledger, ids = api.ledger(context.settings()), _ids(context, arguments)
    loop.run(ledger.recover_orphans())
    found = loop.run(deletion.preview(ledger, ids))
    images = [generated(row) for row in reversed(loop.run(ledger.pictures(ids=ids, limit=None)))]
    if not found.images and not found.requests:
        loop.run(deletion.finish(ledger))
        print(f"{_named(ids)} {'was' if len(ids) == 1 else 'were'} deleted before.")
        return
    display(_page(images, found))
    if "--yes" not in flags:
        _confirm(context, found)
    done = loop.run(deletion.delete(ledger, ids))
    changed = [f"{near(path)} holds another picture now and was left." for path in done.changed]
    show_note(f"Deleted: {pluralize(len(done.ledger.images), 'picture')}, {file_size(done.freed)} of files.", *changed)


def _ids(context: NotebookContext, words: Sequence[str]) -> list[int]:
    """Return the ids of the pictures that words name, each once. Raises UsageError."""
    try:
        return list(dict.fromkeys(number for word in words for number in _ids_of(context, word)))
    except UsageError as error:
        again = f"For a picture of these words: %imagegen -- delete {' '.join(words)}."
        raise UsageError(f"{error} Nothing was deleted or sent. {again}") from None


def _ids_of(context: NotebookContext, word: str) -> list[int]:
    if (number := image_selector.parse_id(word)) is not None:
        return [number]
    return [image.id for image in image_selector.named_images(context, word)]


def _confirm(context: NotebookContext, found: Deletion) -> None:
    if not can_answer(context.shell):
        raise UsageError("Nothing was deleted: this front end takes no input. Add --yes to delete without a question.")
    if not confirm(f"Delete {'it' if len(found.images) < 2 else f'these {len(found.images)} pictures'} for good?"):
        raise UsageError("Not confirmed: nothing was deleted.")


def _page(images: Sequence[GeneratedImage], found: Deletion) -> Page:
    rows = [[f"@{image.id}", truncate(image.request.prompt), near(image.file), str(image.cost)] for image in images[:_SHOWN]]
    if len(images) > _SHOWN:
        rows.append([f"and {len(images) - _SHOWN} more", "", "", ""])
    elsewhere = _ELSEWHERE + (_SANDBOX if any(image.sandbox for image in images) else "")
    table = [Table(("picture", "prompt", "file", "cost"), rows)] if rows else []
    return Page(*table, Note(f"Goes: {'; '.join(_going(found))}."), Note(f"Stays: {'; '.join(_staying(images, found))}. {elsewhere}."))


def _going(found: Deletion) -> Iterator[str]:
    if found.images:
        yield f"{pluralize(len(found.images), 'picture')} with sidecar, stars, tags and notes"
    if found.copies:
        yield f"{len(found.copies)} stored {'copy' if len(found.copies) == 1 else 'copies'} of references"
    if found.requests:
        yield f"the prompt, settings and search entry of {pluralize(found.requests, 'request')}"
    if found.sweeps:
        yield f"the prompt and axes of sweep {', '.join(map(str, found.sweeps))}"


def _staying(images: Sequence[GeneratedImage], found: Deletion) -> Iterator[str]:
    paid = " and ".join(map(str, total(image.cost for image in images)))
    yield f"what was paid ({paid}), as a sum without words"
    if found.sharing:
        yield f"the prompt that {_named(found.sharing)} of the same request {_need(found.sharing)}"
    if found.open_tasks:
        yield f"the prompt that open tasks need ({', '.join(map(str, found.open_tasks))})"
    if found.kept_sweeps:
        yield f"the prompt and axes of sweep {', '.join(map(str, found.kept_sweeps))}, which other pictures need"
    if found.offspring:
        yield f"what was made from it: {_named(found.offspring)}"


def _need(ids: Sequence[int]) -> str:
    return "needs" if len(ids) == 1 else "need"


def _named(ids: Sequence[int]) -> str:
    more = f" and {len(ids) - _SHOWN} more" if len(ids) > _SHOWN else ""
    return ", ".join(f"@{number}" for number in ids[:_SHOWN]) + more
