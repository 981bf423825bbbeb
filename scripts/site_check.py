"""Checks a built site: `python scripts/site_check.py build/site`. No page loads a file of another host, and the whole is small."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import NamedTuple

MOST_BYTES = 12_000_000  # of the whole site
LOADED = {  # what a browser fetches by itself: the tag and its attribute
    ("script", "src"),
    ("img", "src"),
    ("img", "srcset"),
    ("source", "src"),
    ("source", "srcset"),
    ("iframe", "src"),
    ("video", "src"),
    ("audio", "src"),
    ("embed", "src"),
    ("object", "data"),
    ("link", "href"),
}


class Fault(NamedTuple):
    """What is wrong with a page."""

    page: str
    what: str


class _Page(HTMLParser):
    """Collects what a page loads, and its pictures without alternative text."""

    def __init__(self) -> None:
        super().__init__()
        self.loaded: list[str] = []
        self.nameless: list[str] = []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        """Note the addresses of a tag."""
        self.loaded += [value or "" for name, value in attributes if (tag, name) in LOADED]
        if tag == "img" and not dict(attributes).get("alt"):
            self.nameless.append((dict(attributes).get("src") or "")[:60])


def faults(site: Path) -> Iterator[Fault]:
    """Return what is wrong with a site: files of other hosts, pictures without alternative text, and its size."""
    for path in sorted(site.rglob("*.html")):
        page = _Page()
        page.feed(path.read_text(encoding="utf-8"))
        name = path.relative_to(site).as_posix()
        yield from (Fault(name, f"loads {address}") for address in page.loaded if address.startswith(("http:", "https:", "//")))
        yield from (Fault(name, f"has a picture without alternative text: {source}") for source in page.nameless)
    size = sum(path.stat().st_size for path in site.rglob("*") if path.is_file())
    if size > MOST_BYTES:
        yield Fault(".", f"has {size / 1e6:.1f} MB, more than {MOST_BYTES / 1e6:.0f}")


if __name__ == "__main__":
    found = list(faults(Path(sys.argv[1])))
    for fault in found:
        print(f"{fault.page} {fault.what}", file=sys.stderr)
    sys.exit(bool(found))
