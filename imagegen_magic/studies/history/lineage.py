"""Which picture came from which: what one was made from, and what was made from it, as trees."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from imagegen_magic.engine.ledger.ledger import Ledger, PictureRow
from imagegen_magic.records import Record

MOST = 60  # pictures and files in both trees


@dataclass(frozen=True, slots=True, repr=False)
class Node(Record):
    """A picture or, where the ledger has none, the `name` of a file, variable or address; `role` is how the other was used.

    `again` says that it stands elsewhere in the tree already, with all that belongs beneath it.
    """

    name: str
    role: str
    picture: PictureRow | None = None
    children: tuple[Node, ...] = ()
    again: bool = False


@dataclass(frozen=True, slots=True)
class Lineage(Record):
    """A picture, what it was made from and what was made from it; `left_out` counts what there was no room for."""

    picture: PictureRow
    origins: tuple[Node, ...] = ()
    offspring: tuple[Node, ...] = ()
    left_out: int = 0


async def lineage(ledger: Ledger, picture: int, *, most: int = MOST) -> Lineage:
    """Return where a picture stands. Raises LookupError where the ledger has no such picture."""
    origins, offspring = await ledger.run(
        lambda connection: (_Walk(connection, _origins, most).edges(picture), _Walk(connection, _offspring, most).edges(picture)),
        writes=False,
    )
    ids = {picture} | {edge.picture for edges in (origins, offspring) for found in edges.found.values() for edge in found if edge.picture}
    known = {row.id: row for row in await ledger.pictures(ids=sorted(ids), limit=None)}
    if picture not in known:
        raise LookupError(f"there is no picture {picture}")
    above, below = (tuple(_nodes(edges.found, known, picture, {picture})) for edges in (origins, offspring))
    return Lineage(known[picture], above, below, origins.left_out + offspring.left_out)


class _Edge(NamedTuple):
    """A step from one picture to another, or to something that has but a name."""

    role: str
    name: str
    picture: int | None


@dataclass
class _Walk:
    """All steps that lead on from a picture in one direction."""

    connection: sqlite3.Connection
    step: Callable[[sqlite3.Connection, int], Iterator[_Edge]]
    most: int
    found: dict[int, list[_Edge]] = field(default_factory=dict)
    left_out: int = 0

    def edges(self, picture: int) -> _Walk:
        """Walk from this picture, breadth first, so that what there is no room for is what is farthest."""
        waiting, room = [picture], self.most
        while waiting:
            number = waiting.pop(0)
            edges = list(dict.fromkeys(self.step(self.connection, number)))
            self.found[number] = edges[:room]
            self.left_out += len(edges[room:])
            room -= len(edges[:room])
            further = dict.fromkeys(edge.picture for edge in self.found[number] if edge.picture)
            waiting += [picture for picture in further if picture not in self.found and picture not in waiting]
        return self


def _nodes(found: dict[int, list[_Edge]], known: dict[int, PictureRow], number: int, seen: set[int]) -> Iterator[Node]:
    for edge in found.get(number, ()):
        row = known.get(edge.picture) if edge.picture else None
        if row is None:
            yield Node(edge.name, edge.role)
            continue
        again = row.id in seen
        seen.add(row.id)
        children = () if again else tuple(_nodes(found, known, row.id, seen))
        yield Node(f"@{row.id}", edge.role, row, children, again and bool(found.get(row.id)))


def _origins(connection: sqlite3.Connection, number: int) -> Iterator[_Edge]:
    for source in connection.execute(_MADE_FROM, (number,)).fetchall():
        yield _Edge(source["role"], source["name"], source["picture"] or _by_content(connection, source, number))


def _by_content(connection: sqlite3.Connection, source: sqlite3.Row, child: int) -> int | None:
    """Return the picture that a source is though it was not named as one: by its bytes, or by the address at the gateway."""
    name: str = source["name"]
    if source["sha256"]:
        rows = connection.execute("SELECT max(id) AS id FROM pictures WHERE sha256 = ? AND id < ?", (source["sha256"], child))
    elif name.startswith(("http://", "https://")):
        both = (name, name.replace("https://", "http://", 1))  # the sandbox in this process goes by both
        rows = connection.execute("SELECT max(id) AS id FROM pictures WHERE url IN (?, ?) AND id < ?", (*both, child))
    else:
        return None
    found: int | None = rows.fetchone()["id"]
    return found


def _offspring(connection: sqlite3.Connection, number: int) -> Iterator[_Edge]:
    row = connection.execute("SELECT sha256, url FROM pictures WHERE id = ?", (number,)).fetchone()
    if row is None:
        return
    values = (number, row["sha256"], row["url"], row["url"].replace("http://", "https://", 1), number)
    for child in connection.execute(_MADE_INTO, values).fetchall():
        yield _Edge(child["role"], f"@{child['id']}", child["id"])


_MADE_FROM = """SELECT role, name, picture, sha256 FROM sources
    WHERE job = (SELECT tasks.job FROM pictures JOIN tasks ON tasks.row = pictures.task WHERE pictures.id = ?) ORDER BY position"""
_MADE_INTO = """SELECT pictures.id, sources.role FROM sources
        JOIN tasks ON tasks.job = sources.job JOIN pictures ON pictures.task = tasks.row
    WHERE pictures.saved_at IS NOT NULL AND (sources.picture = ? OR (sources.picture IS NULL
        AND (sources.sha256 = ? OR (sources.sha256 IS NULL AND sources.name IN (?, ?))))) AND pictures.id != ? ORDER BY pictures.id"""


def drawn(tree: Lineage, words: Sequence[str] = ("made from", "made into")) -> Iterator[tuple[str, Node | str | None]]:
    """Yield the tree line by line: its lines in box characters, and the node, the heading, or None for the picture itself."""
    yield "", None
    parts = [(word, nodes) for word, nodes in zip(words, (tree.origins, tree.offspring), strict=True) if nodes]
    for number, (word, nodes) in enumerate(parts, 1):
        last = number == len(parts)
        yield "└─ " if last else "├─ ", word
        yield from _drawn(nodes, "   " if last else "│  ")


def _drawn(nodes: Sequence[Node], before: str) -> Iterator[tuple[str, Node]]:
    for number, node in enumerate(nodes, 1):
        last = number == len(nodes)
        yield before + ("└─ " if last else "├─ "), node
        yield from _drawn(node.children, before + ("   " if last else "│  "))
