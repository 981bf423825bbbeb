"""A real JupyterLab and a real browser, for tests and for the README's pictures.

`python tests/lab.py FOLDER` writes screenshots of a running and a finished cell, light and dark, into FOLDER.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from frontend import environment
from playwright.sync_api import Browser, Page, Playwright, sync_playwright

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


_STARTUP = "import resets; resets.apply_settings(); del resets"
_RESET = "import resets; resets.reset_kernel()"


@contextlib.contextmanager
def open_browser() -> Iterator[Browser]:
    """Run a Chromium without a window for the length of a `with` block."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium(playwright), headless=True, args=_ARGUMENTS.split())
        try:
            yield browser
        finally:
            browser.close()


class Lab:
    """A JupyterLab server with a browser, its own unless one is given; use it as a context manager.

    `folder` is its root and holds all of its configuration; `theme` is `JupyterLab Light` or `JupyterLab Dark`.
    """

    def __init__(self, folder: Path, browser: Browser | None = None, **more_environment: str) -> None:
        self.folder = folder
        self._browser = browser
        self._stack = contextlib.ExitStack()
        self._spare: Page | None = None  # one that has JupyterLab loaded and no notebook open
        homes = {name: str(folder / ".lab" / name.lower()) for name in ("JUPYTERLAB_SETTINGS_DIR", "JUPYTERLAB_WORKSPACES_DIR")}
        self.environment = environment(folder / ".lab", **homes, **more_environment)

    def __enter__(self) -> Lab:
        settings = Path(self.environment["JUPYTERLAB_SETTINGS_DIR"]) / "@jupyterlab" / "apputils-extension"
        settings.mkdir(parents=True)
        (settings / "notification.jupyterlab-settings").write_text('{"fetchNews": "false", "checkForUpdates": false}')
        startup = Path(self.environment["IPYTHONDIR"]) / "profile_default" / "startup"
        startup.mkdir(parents=True)
        (startup / "settings.py").write_text(_STARTUP)
        with contextlib.ExitStack() as stack:
            self._start_server()
            stack.callback(self._stop_server)
            self._browser = self._browser or stack.enter_context(open_browser())
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._spare = None
        self._stack.close()

    def _start_server(self) -> None:
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        self._log = (self.folder / ".lab" / "server.log").open("wb")
        command = [sys.executable, "-m", "jupyterlab", *_SERVER.split(), f"--port={port}", f"--ServerApp.root_dir={self.folder}"]
        self._server = subprocess.Popen(
            command, cwd=self.folder, env=self.environment, stdout=self._log, stderr=self._log, start_new_session=True
        )
        wait_for_server(f"{self.url}/api", self._server, Path(self._log.name))

    def _stop_server(self) -> None:
        """End the server gently, so that it ends its kernels; then with force."""
        self._server.send_signal(signal.SIGTERM)
        try:
            self._server.wait(timeout=15)
        except subprocess.TimeoutExpired:
            os.killpg(self._server.pid, signal.SIGKILL)
            self._server.wait()
        self._log.close()

    def workspace(self, name: str, **settings: str) -> Workspace:
        """Make a folder below the root whose kernels have a ledger of their own and these environment variables."""
        workspace = Workspace(self, self.folder / name)
        workspace.folder.mkdir()
        settings = {"IMAGEGEN_HOME": str(workspace.folder / "home"), **settings}
        (workspace.folder / ".settings.json").write_text(json.dumps(settings))
        return workspace

    def open(
        self, name: str, cells: Sequence[str] = (), *, theme: str = "JupyterLab Light", density: int = 1, workspace: Workspace | None = None
    ) -> Notebook:
        """Open a notebook of that name, alone in its page; `cells` are written into it first, `density` is pixels per CSS pixel.

        The page may be one that an earlier notebook left: loading JupyterLab takes four times as long as opening a notebook in it.
        With a workspace the kernel may be one that an earlier notebook left there, reset.
        """
        if cells:
            write_notebook(self.folder / name, cells)
        spare, self._spare = (self._spare, None) if density == 1 else (None, self._spare)
        assert self._browser is not None
        page = spare or self._browser.new_page(viewport=_VIEWPORT, device_scale_factor=density)
        notebook = Notebook(self, page, f"{self.url}/doc/tree/{name}?reset", self.folder / name, workspace)
        kernel = workspace.take_kernel() if workspace else ""
        if spare:
            page.evaluate(_OPEN, [name, kernel])
        else:
            if kernel:
                self._start_session(name, kernel)
            page.goto(notebook.url)
        notebook.wait(theme=theme)
        notebook.keeps_page = density == 1
        return notebook

    def _start_session(self, name: str, kernel: str) -> None:
        """Tell the server that this kernel belongs to that notebook, as it does when a page connects them."""
        body = {"path": name, "name": name, "type": "notebook", "kernel": {"id": kernel}}
        request = urllib.request.Request(f"{self.url}/api/sessions", json.dumps(body).encode(), {"Content-Type": "application/json"})
        with _DIRECT.open(request, timeout=PATIENCE):
            return

    def keep_page(self, page: Page, kernel: str = "") -> None:
        """Close what is open in a page, end its kernels but the one to keep, and keep the page for the next notebook."""
        page.unroute_all()
        page.mouse.move(0, 0)
        page.set_viewport_size(_VIEWPORT)
        page.evaluate(_CLEAR, kernel)
        if self._spare or page.locator(".jp-Dialog").count():
            page.close()
        else:
            self._spare = page


@dataclass
class Workspace:
    """A folder of a shared JupyterLab, with its own ledger and settings, and a kernel that serves one notebook after another."""

    lab: Lab
    folder: Path
    idle_kernel: str = ""

    def open(self, name: str, cells: Sequence[str] = (), **options: Any) -> Notebook:
        """Open a notebook of this folder; the options are those of `Lab.open`."""
        return self.lab.open(f"{self.folder.name}/{name}", cells, workspace=self, **options)

    def take_kernel(self) -> str:
        """Return the id of the kernel that waits for a notebook, or an empty text."""
        kernel, self.idle_kernel = self.idle_kernel, ""
        return kernel


_VIEWPORT: Any = {"width": 1100, "height": 1700}
_OPEN = """async ([path, id]) => {  // it returns nothing: Playwright would copy the whole widget, 4 s of work
    await jupyterapp.commands.execute('docmanager:open', {path, factory: 'Notebook', ...(id && {kernel: {id}})});
}"""
_CLEAR = """async kept => {
    for (const widget of Array.from(window.jupyterapp?.shell.widgets('main') ?? [])) {
        if (widget.sessionContext?.session?.kernel?.id !== kept) await widget.sessionContext?.shutdown();
        widget.dispose();
    }
}"""
_RUN_RESET = """async code => {
    const kernel = window.jupyterapp?.shell.currentWidget?.sessionContext?.session?.kernel;
    if (!kernel || ['dead', 'terminating', 'unknown'].includes(kernel.status)) return '';
    const reply = kernel.requestExecute({code, silent: true, store_history: false, stop_on_error: false}).done;
    const late = new Promise(done => setTimeout(() => done(null), 20000));  // a failed test may have left it busy
    return (await Promise.race([reply, late]))?.content.status === 'ok' ? kernel.id : '';
}"""
_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class Notebook:
    """One notebook in one page; a test that changes the page itself sets `keeps_page = False`, and the next test gets another page.

    `keeps_kernel = False` is for a test after which no other could use the kernel.
    """

    def __init__(self, lab: Lab, page: Page, url: str, path: Path, workspace: Workspace | None = None) -> None:
        self.page = page
        self.path = path
        self.url = url
        self.keeps_page = False
        self.keeps_kernel = workspace is not None
        self._lab = lab
        self._workspace = workspace

    def __enter__(self) -> Notebook:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self.keeps_page = self.keeps_page and kind is None
        self.keeps_kernel = self.keeps_kernel and kind is None
        self.close()

    def close(self) -> None:
        """Close the notebook, and its page if that cannot serve another; its kernel is reset and waits for the next notebook."""
        kernel = ""
        if self._workspace and self.keeps_kernel:
            kernel = self._workspace.idle_kernel = self.page.evaluate(_RUN_RESET, _RESET)
        if self.keeps_page:
            self._lab.keep_page(self.page, kernel)
        else:
            self.page.evaluate(_CLEAR, kernel)
            self.page.close()

    def load(self, *, theme: str = "", kernel: bool = True) -> None:
        """Reload the page, and wait for the notebook and its kernel."""
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
            self.change_theme(theme)
        if kernel:
            self.page.wait_for_function(
                "() => jupyterapp.shell.currentWidget.sessionContext.session?.kernel?.status === 'idle'", timeout=PATIENCE * 1000
            )

    def change_theme(self, theme: str) -> None:
        """Change JupyterLab's theme, and wait until the page shows it."""
        self.page.evaluate("async theme => { await jupyterapp.commands.execute('apputils:change-theme', {theme}) }", theme)
        self.page.locator("#jupyterlab-splash").wait_for(state="detached")  # it covers the page while the theme changes

    def write(self, cell: int, source: str) -> None:
        """Replace a cell's source."""
        self.page.evaluate(
            "([cell, code]) => jupyterapp.shell.currentWidget.content.widgets[cell].model.sharedModel.setSource(code)", [cell, source]
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
        """Return whether a cell runs or waits for its turn."""
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
        shown = self.page.locator(".jp-Notebook .jp-Cell").nth(cell)
        shown.scroll_into_view_if_needed()
        shown.screenshot(path=path)


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


def free_port() -> int:
    """Return a TCP port that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for_server(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    """Wait until a server answers; raises RuntimeError with the end of its log where it does not."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with _DIRECT.open(url, timeout=5):
                return
        except urllib.error.HTTPError as refused:  # it answers
            refused.close()
            return
        except OSError:
            time.sleep(0.1)
    raise RuntimeError(f"the server did not start:\n{log.read_text(errors='replace')[-2000:]}")


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
