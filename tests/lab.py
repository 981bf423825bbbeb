"""A real JupyterLab and a real browser, for tests and for the README's pictures.

`python tests/lab.py FOLDER` writes screenshots of a running and a finished cell, light and dark, into FOLDER.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from frontend import environment
from playwright.sync_api import Page, Playwright, sync_playwright

PATIENCE = 90.0  # seconds; a bound for broken code, not a measure of good code
_ARGUMENTS = (
    "--no-sandbox --no-proxy-server --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync"
)
_MISSING = "no Chromium for the browser tests: install one (apt-get install chromium) or run `python -m playwright install chromium`"
_SERVER = (
    "--ip=127.0.0.1 --ServerApp.port_retries=0 --IdentityProvider.token= --ServerApp.password= --ServerApp.disable_check_xsrf=True "
    "--expose-app-in-browser --allow-root --no-browser"
)


def chromium(playwright: Playwright) -> str:
    """Return the path of a Chromium: the system's, else Playwright's own; raises RuntimeError that says what to install."""
    for name in ("chromium", "chromium-browser", "google-chrome", "chrome"):
        if found := shutil.which(name):
            return found
    own = playwright.chromium.executable_path
    if Path(own).exists():
        return own
    raise RuntimeError(_MISSING)


class Lab:
    """A JupyterLab server with a browser; use it as a context manager.

    `folder` is its root and holds all of its configuration; `theme` is `JupyterLab Light` or `JupyterLab Dark`.
    """

    def __init__(self, folder: Path, **more_environment: str) -> None:
        self.folder = folder
        self._spare: Page | None = None  # one that has JupyterLab loaded and no notebook open
        homes = {name: str(folder / ".lab" / name.lower()) for name in ("JUPYTERLAB_SETTINGS_DIR", "JUPYTERLAB_WORKSPACES_DIR")}
        self.environment = environment(folder / ".lab", **homes, **more_environment)

    def __enter__(self) -> Lab:
        settings = Path(self.environment["JUPYTERLAB_SETTINGS_DIR"]) / "@jupyterlab" / "apputils-extension"
        settings.mkdir(parents=True)
        (settings / "notification.jupyterlab-settings").write_text('{"fetchNews": "false", "checkForUpdates": false}')
        self._start_server()
        try:
            self._start_browser()
        except BaseException:
            self._stop_server()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._spare = None
        self._browser.close()
        self._playwright.stop()
        self._stop_server()

    def _start_server(self) -> None:
        port = _free_port()
        self.url = f"http://127.0.0.1:{port}"
        self._log = (self.folder / ".lab" / "server.log").open("wb")
        command = [sys.executable, "-m", "jupyterlab", *_SERVER.split(), f"--port={port}", f"--ServerApp.root_dir={self.folder}"]
        self._server = subprocess.Popen(
            command, cwd=self.folder, env=self.environment, stdout=self._log, stderr=self._log, start_new_session=True
        )
        _wait_for(f"{self.url}/api", self._server, Path(self._log.name))

    def _stop_server(self) -> None:
        """End the server gently, so that it ends its kernels; then with force."""
        self._server.send_signal(signal.SIGTERM)
        try:
            self._server.wait(timeout=15)
        except subprocess.TimeoutExpired:
            os.killpg(self._server.pid, signal.SIGKILL)
            self._server.wait()
        self._log.close()

    def _start_browser(self) -> None:
        self._playwright = sync_playwright().start()
        try:
            path = chromium(self._playwright)
            self._browser = self._playwright.chromium.launch(executable_path=path, headless=True, args=_ARGUMENTS.split())
        except BaseException:
            self._playwright.stop()
            raise

    def open(self, name: str, cells: Sequence[str] = (), *, theme: str = "JupyterLab Light", density: int = 1) -> Notebook:
        """Open a notebook of that name, alone in its page; `cells` are written into it first, `density` is pixels per CSS pixel.

        The page may be one that a former notebook left: loading JupyterLab takes four times as long as opening a notebook in it.
        """
        if cells:
            write_notebook(self.folder / name, cells)
        spare, self._spare = (self._spare, None) if density == 1 else (None, self._spare)
        page = spare or self._browser.new_page(viewport=_VIEWPORT, device_scale_factor=density)
        notebook = Notebook(self, page, f"{self.url}/doc/tree/{name}?reset", self.folder / name)
        if spare:
            page.evaluate("path => jupyterapp.commands.execute('docmanager:open', {path, factory: 'Notebook'})", name)
        else:
            page.goto(notebook.url)
        notebook.wait(theme=theme)
        notebook.keeps_page = density == 1
        return notebook

    def take_back(self, page: Page) -> None:
        """Close what is open in a page, end its kernels, and keep the page for the next notebook."""
        page.unroute_all()
        page.mouse.move(0, 0)
        page.set_viewport_size(_VIEWPORT)
        page.evaluate(_CLEAR)
        if self._spare or page.locator(".jp-Dialog").count():
            page.close()
        else:
            self._spare = page


_VIEWPORT: Any = {"width": 1100, "height": 1700}
_CLEAR = """async () => {
    for (const widget of Array.from(jupyterapp.shell.widgets('main'))) {
        await widget.sessionContext?.shutdown();
        widget.dispose();
    }
}"""


class Notebook:
    """One notebook in one page; a test that changes the page itself says `keeps_page = False`, and the next one gets another."""

    def __init__(self, lab: Lab, page: Page, url: str, path: Path) -> None:
        self.page = page
        self.path = path
        self.url = url
        self.keeps_page = False
        self._lab = lab

    def __enter__(self) -> Notebook:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self.keeps_page = self.keeps_page and kind is None
        self.close()

    def close(self) -> None:
        """Close the notebook, and its page if that cannot serve another."""
        if self.keeps_page:
            self._lab.take_back(self.page)
        else:
            self.page.close()

    def load(self, *, theme: str = "", kernel: bool = True) -> None:
        """Load the page anew, and wait for the notebook and its kernel."""
        self.page.goto(self.url)
        self.wait(theme=theme, kernel=kernel)

    def wait(self, *, theme: str = "", kernel: bool = True) -> None:
        """Wait for the notebook and its kernel."""
        there = """name => {
            const shown = window.jupyterapp?.shell?.currentWidget;
            return shown?.context?.path === name && shown.isRevealed && shown.content.widgets.length;
        }"""
        name = self.path.relative_to(self._lab.folder).as_posix()
        self.page.wait_for_function(there, arg=name, timeout=PATIENCE * 1000)
        if theme:
            self.page.evaluate("theme => jupyterapp.commands.execute('apputils:change-theme', {theme})", theme)
            self.page.locator("#jupyterlab-splash").wait_for(state="detached")  # it covers the page while the theme changes
        if kernel:
            self.page.wait_for_function(
                "() => jupyterapp.shell.currentWidget.sessionContext.session?.kernel?.status === 'idle'", timeout=PATIENCE * 1000
            )

    def type(self, text: str, cell: int = 0) -> None:
        """Click into a cell and type."""
        self.page.locator(".jp-Notebook .jp-Cell .cm-content").nth(cell).click()
        self.page.keyboard.type(text)

    def start(self, cell: int) -> None:
        """Run a cell and do not wait."""
        self.page.evaluate(f"() => {{{_select(cell)}; jupyterapp.commands.execute('notebook:run-cell')}}")

    def run(self, cell: int) -> None:
        """Run a cell to its end."""
        self.page.evaluate(f"async () => {{{_select(cell)}; await jupyterapp.commands.execute('notebook:run-cell')}}")

    def command(self, name: str) -> Any:
        """Execute one of JupyterLab's commands to its end."""
        return self.page.evaluate("async name => { await jupyterapp.commands.execute(name) }", name)

    def outputs(self, cell: int) -> list[dict[str, Any]]:
        """Return a cell's outputs as the page holds them."""
        found = self.page.evaluate(f"() => jupyterapp.shell.currentWidget.content.widgets[{cell}].model.toJSON().outputs")
        return list(found or [])

    def busy(self, cell: int) -> bool:
        """Say whether a cell runs or waits for its turn."""
        return bool(self.page.evaluate(f"() => jupyterapp.shell.currentWidget.content.widgets[{cell}].model.executionState !== 'idle'"))

    def until(self, true: Any, what: str = "it") -> None:
        """Wait until something is true of the page; raises TimeoutError."""
        deadline = time.monotonic() + PATIENCE
        while not true():
            if time.monotonic() > deadline:
                raise TimeoutError(f"waited {PATIENCE:.0f} s for {what}; the page holds {json.dumps(self._all_outputs())[:3000]}")
            self.page.wait_for_timeout(50)

    def _all_outputs(self) -> list[Any]:
        found = self.page.evaluate("() => jupyterapp.shell.currentWidget.content.widgets.map(cell => cell.model.toJSON().outputs)")
        return [[{**output, "data": list(output.get("data", {}))} for output in outputs or []] for outputs in found]

    def output_area(self, cell: int) -> Any:
        """Return the locator of a cell's outputs."""
        return self.page.locator(".jp-Notebook .jp-Cell").nth(cell).locator(".jp-Cell-outputArea")

    def save(self) -> dict[str, Any]:
        """Save the notebook and return what is in the file."""
        self.command("docmanager:save")
        return dict(json.loads(self.path.read_text(encoding="utf-8")))

    def picture(self, cell: int, path: Path) -> None:
        """Take a screenshot of one cell, from its prompt to its last output, while another is the active one."""
        self.page.evaluate(f"() => {{{_select(0 if cell else 1)}}}")
        place = self.page.locator(".jp-Notebook .jp-Cell").nth(cell)
        place.scroll_into_view_if_needed()
        place.screenshot(path=path)


def _select(cell: int) -> str:
    return f"const content = jupyterapp.shell.currentWidget.content; content.deselectAll(); content.activeCellIndex = {cell}"


def write_notebook(path: Path, cells: Sequence[str], metadata: Mapping[str, Any] | None = None) -> None:
    """Write a notebook of code cells that asks for this Python's kernel."""
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    document = {
        "cells": [
            {"cell_type": "code", "id": f"c{n}", "execution_count": None, "metadata": {}, "outputs": [], "source": source}
            for n, source in enumerate(cells)
        ],
        "metadata": {**kernel, **(metadata or {})},
        "nbformat": 4,
        "nbformat_minor": 5,
    }
    path.write_text(json.dumps(document), encoding="utf-8")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait_for(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(url, timeout=5):
                return
        except OSError:
            time.sleep(0.1)
    raise RuntimeError(f"JupyterLab did not start:\n{log.read_text(errors='replace')[-2000:]}")


STORY = (
    "%load_ext imagegen_magic",
    "%%imagegen -p evolink --sandbox --size 16:9 --quality medium\nAn ancient castle beneath a starry sky",
    "%%imagegen -p apimart --sandbox --size 3:2 --quality medium -n 6 -o foxes\nA red fox asleep in fresh snow, seen from above",
)


def take_pictures(folder: Path) -> list[Path]:
    """Write `running-1-light.png`, `finished-2-dark.png`, … into `folder`: each of the story's cells, at work and done, in both themes."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as place, Lab(Path(place), IMAGEGEN_HOME=f"{place}/home") as lab:
        for theme in ("light", "dark"):
            with lab.open(f"{theme}.ipynb", STORY, theme=f"JupyterLab {theme.title()}", density=2) as notebook:
                notebook.run(0)
                for cell in range(1, len(STORY)):
                    _take_pair(notebook, cell, folder, theme)
    return sorted(folder.glob("*.png"))


def _take_pair(notebook: Notebook, cell: int, folder: Path, theme: str) -> None:
    notebook.start(cell)
    notebook.output_area(cell).get_by_role("button", name="Cancel").wait_for()
    notebook.page.wait_for_timeout(1200)
    notebook.picture(cell, folder / f"running-{cell}-{theme}.png")
    notebook.until(lambda: not notebook.busy(cell), "the cell to end")
    notebook.page.wait_for_timeout(500)
    notebook.picture(cell, folder / f"finished-{cell}-{theme}.png")


if __name__ == "__main__":
    for taken in take_pictures(Path(sys.argv[1])):
        print(taken)
