"""What is kept on the disk, how much it takes and how to prune it: a table of `%imagegen doctor`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from imagegen_magic.engine import api
from imagegen_magic.engine.ledger import history
from imagegen_magic.engine.storage import images, usage
from imagegen_magic.engine.storage.spool import spool_folder
from imagegen_magic.engine.storage.usage import Usage
from imagegen_magic.humanize import file_size, pluralize
from imagegen_magic.notebook.output.tables import Table
from imagegen_magic.paths import located

if TYPE_CHECKING:
    from imagegen_magic.engine.settings import Settings

_HEADS = ("kept on this disk", "size", "where", "how to prune")
_DELETE = "%imagegen delete ID|NAME"


class Kept(NamedTuple):
    """One kind of files: how much they take, where they are, and how to prune them."""

    name: str
    used: Usage
    place: str
    prune: str

    def row(self) -> tuple[str, str, str, str]:
        """Return the row of the table."""
        size = f"{file_size(self.used.size)} in {pluralize(self.used.files, 'file')}" if self.used.files else "none"
        return self.name, size, self.place, self.prune


def kept_table(settings: Settings) -> Table:
    """Return the table. Nothing in it is a problem."""
    return Table(_HEADS, [each.row() for each in _kept(settings)])


def _kept(settings: Settings) -> Iterator[Kept]:
    home, ledger = settings.home, api.ledger(settings)
    originals = Usage(*history.originals_now(ledger))
    yield Kept("originals", originals, "beside their notebooks, as the history lists them", f"{_DELETE}, also their sidecars and prompts")
    folders = _unreadable_folders(settings)
    unreadable = usage.of_folders(folders, without=".json")
    where = ", ".join(map(str, folders)) if unreadable.files else ""
    yield Kept("unreadable", unreadable, where, "arrived but cannot be read here; each has its reason in a .json file, delete both by hand")
    spool = spool_folder(home)
    yield Kept("answers with pictures", usage.of_folders([spool]), str(spool), "go once saved, or after 30 days; %imagegen resume collects")
    sources = home / "sources"
    yield Kept("copies of references", usage.of_folders([sources]), str(sources), f"go 30 days after the last use, or with {_DELETE}")
    yield Kept("thumbnails", Usage(), "", "made in memory; those in a notebook shrink with %imagegen slim NOTEBOOK.ipynb")
    yield Kept("ledger", usage.of_file(ledger.path), str(ledger.path), f"{_DELETE} takes words out; what was paid stays")


def _unreadable_folders(settings: Settings) -> list[Path]:
    """Return the folders on the disk; what is in a store is not counted."""
    paths = [located(path).parent for path in history.unreadable_paths_now(api.ledger(settings))]
    folders = [settings.save_dir.absolute() / images.UNREADABLE, *paths]
    return list(dict.fromkeys(folder for folder in folders if isinstance(folder, Path)))
