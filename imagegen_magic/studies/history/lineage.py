"""The lineage of an image as trees: what it was made from, and what was made from it."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from imagegen_magic.engine.ledger import history
from imagegen_magic.engine.ledger.deletion import deleted_among
from imagegen_magic.engine.ledger.history import Edge
from imagegen_magic.engine.ledger.ledger import Ledger, PictureRow
from imagegen_magic.records import Record

MAX_EDGES = 60  # in each direction


@dataclass(frozen=True, slots=True, repr=False)
class Node(Record):
    """An image or, if the ledger has none, the `name` of a file, variable or address; `role` is how it was used.

    `again` is True if the tree shows it elsewhere, with all its children.
    """

    name: str
    role: str
    picture: PictureRow | None = None
    children: tuple[Node, ...] = ()
    again: bool = False


@dataclass(frozen=True, slots=True)
class Lineage(Record):
    """An image, what it was made from and what was made from it; `left_out` counts what exceeded the limit."""

    picture: PictureRow
    origins: tuple[Node, ...] = ()
    offspring: tuple[Node, ...] = ()
    left_out: int = 0


async def lineage(ledger: Ledger, picture: int, *, max_edges: int = MAX_EDGES) -> Lineage:
    """Return the lineage of an image. Raises LookupError if the ledger has no such image."""
    origins, offspring = await history.lineage(ledger, picture, max_edges)
    ids = {picture} | {edge.picture for walk in (origins, offspring) for edges in walk.found.values() for edge in edges if edge.picture}
    known = {row.id: row for row in await ledger.pictures(ids=sorted(ids), limit=None)}
    deleted = await deleted_among(ledger, ids - known.keys())
    if picture not in known:
        raise LookupError(f"there is no picture {picture}")
    above, below = (tuple(_nodes(walk.found, known, picture, {picture}, deleted)) for walk in (origins, offspring))
    return Lineage(known[picture], above, below, origins.left_out + offspring.left_out)


def _nodes(
    found: Mapping[int, Sequence[Edge]], known: Mapping[int, PictureRow], number: int, seen: set[int], deleted: Collection[int]
) -> Iterator[Node]:
    for edge in found.get(number, ()):
        row = known.get(edge.picture) if edge.picture else None
        if row is None:
            yield Node(f"@{edge.picture}, deleted" if edge.picture in deleted else edge.name, edge.role)
            continue
        again = row.id in seen
        seen.add(row.id)
        children = () if again else tuple(_nodes(found, known, row.id, seen, deleted))
        yield Node(f"@{row.id}", edge.role, row, children, again and bool(found.get(row.id)))


def draw_lines(tree: Lineage) -> Iterator[tuple[str, Node | str | None]]:
    """Yield the tree line by line: its box-drawing characters, and the node, a heading, or None for the image itself."""
    yield "", None
    yield from _draw([(heading, nodes) for heading, nodes in (("made from", tree.origins), ("made into", tree.offspring)) if nodes], "")


def _draw(branches: Sequence[tuple[Node | str, Sequence[Node]]], before: str) -> Iterator[tuple[str, Node | str]]:
    for number, (what, nodes) in enumerate(branches, 1):
        last = number == len(branches)
        yield before + ("└─ " if last else "├─ "), what
        yield from _draw([(node, node.children) for node in nodes], before + ("   " if last else "│  "))
