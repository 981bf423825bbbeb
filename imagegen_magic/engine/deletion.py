"""Deletes images: their files, then their words in the ledger, in one transaction, then what is left of these in the ledger's file.

A kill at any moment leaves a state from which the same call finishes: files that are missing are no obstacle, and the ledger notes what
remains to be done until its file was rewritten.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from imagegen_magic.engine import threads
from imagegen_magic.engine.ledger import deletion
from imagegen_magic.engine.ledger.deletion import Deletion, StoredFile
from imagegen_magic.engine.ledger.ledger import Ledger
from imagegen_magic.engine.storage import source_copies, spool
from imagegen_magic.engine.storage.stores import open_store
from imagegen_magic.errors import LedgerError, SaveError, UnsupportedOption
from imagegen_magic.paths import Location, located


class Deleted(NamedTuple):
    """What was deleted: from the ledger, `freed` bytes of files; `changed` are files that hold another picture now, and are left."""

    ledger: Deletion
    freed: int
    changed: tuple[Location, ...]


async def check(ledger: Ledger, ids: Sequence[int]) -> None:
    """Raise UnsupportedOption if the ledger has no such image, or if its task is running or not settled."""
    known = await deletion.known_ids(ledger, ids)
    if missing := [number for number in ids if number not in known]:
        what = f"There is no picture {', '.join(map(str, missing))}"
        raise UnsupportedOption(what, option="id", value=missing[0], hint="%imagegen history lists them")
    if rows := await deletion.open_tasks(ledger, ids):
        what = f"Pictures of tasks that are still open cannot be deleted: {', '.join(map(str, rows))}"
        hint = f"%imagegen resume {rows[0]} collects the rest, or %imagegen forget {rows[0]} gives it up; then delete"
        raise UnsupportedOption(what, option="id", value=rows[0], hint=hint)


async def preview(ledger: Ledger, ids: Sequence[int]) -> Deletion:
    """Return what `delete` would delete, of copies those that exist. Raises as `check`."""
    await check(ledger, ids)
    found = await deletion.preview_deletion(ledger, ids)
    copies = await threads.writing(_existing_copies, ledger.path.parent, found.copies)
    return replace(found, copies=copies)


async def delete(ledger: Ledger, ids: Sequence[int]) -> Deleted:
    """Delete images for good: files with sidecars, copies of their references that nothing else uses, prompts, annotations.

    What was paid stays as a sum, and so does a prompt that other images need. Raises as `check`, SaveError if a file cannot be removed, and
    LedgerError if words may still be in the ledger's file; the same call then continues.
    """
    await check(ledger, ids)
    freed, changed = await threads.writing(_remove_files, await deletion.stored_files(ledger, ids))
    done = await deletion.delete_images(ledger, ids)
    await finish(ledger)
    return Deleted(done, freed, changed)


async def finish(ledger: Ledger) -> None:
    """Do what remains of earlier deletions: remove the copies that nothing uses, and rewrite the ledger's file. Raises as `delete`."""
    left = deletion.unfinished_now(ledger)
    if left is None:
        return
    unused = set(left.copies) - await deletion.needed_copies(ledger, left.copies)
    await threads.writing(_remove_copies, ledger.path.parent, unused)
    for name in left.answers:
        await threads.writing(spool.remove, ledger.path.parent, name)
    try:
        await threads.writing(ledger.rewrite)
    except LedgerError as error:
        what = f"Deleted, but the words may still be in the ledger's file. {error.what}"
        hint = f"close what uses it, then repeat %imagegen delete {left.images[0]}" if left.images else error.hint
        raise LedgerError(what, hint=hint) from error
    await deletion.finish_deletion(ledger)


def _remove_files(files: Sequence[StoredFile]) -> tuple[int, tuple[Location, ...]]:
    freed, changed = 0, []
    for each in files:
        path = located(each.path)
        try:
            size = open_store(path.parent).remove(path.name, each.sha256)
        except OSError as error:
            raise _not_removed(str(path), error) from error
        freed += size or 0
        changed += [path] if size is None else []
    return freed, tuple(changed)


def _existing_copies(home: Path, copies: Collection[str]) -> tuple[str, ...]:
    return tuple(sha256 for sha256 in copies if source_copies.find_copy(home, sha256))


def _remove_copies(home: Path, copies: Collection[str]) -> None:
    try:
        source_copies.remove_copies(home, copies)
    except OSError as error:
        raise _not_removed(f"A copy in {home / 'sources'}", error) from error


def _not_removed(what: str, error: OSError) -> SaveError:
    hint = "make its folder writable, then repeat the command, which continues"
    return SaveError(f"{what} cannot be removed: {error.strerror or error}", charge="no", hint=hint)
