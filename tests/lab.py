"""A real JupyterLab and a real browser, for tests and for the README's pictures (scripts/screenshots.py)."""

from __future__ import annotations

import ast
import contextlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from axe_playwright_python.sync_playwright import Axe
from frontend import environment
from playwright.sync_api import Browser, Page, Playwright, sync_playwright

PATIENCE = 120.0  # seconds; a bound for broken code, not a measure of good code
_VIEWPORT: Any = {"width": 1100, "height": 1700}
_LIGHT = "JupyterLab Light"
_MOTION = "reduce"  # animations keep a processor busy where no graphics card draws them
_ARGUMENTS = (
    "--no-sandbox --no-proxy-server --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync"
)
_STARTUP = "import resets; resets.apply_settings(); del resets"
_RESET = "import resets; resets.reset_kernel()"
_MISSING = "no Chromium for the browser tests: install one (apt-get install chromium) or run `python -m playwright install chromium`"
_IGNORED = re.compile("favicon|ResizeObserver loop")  # errors of a console that are none of ours
_SERVER = (
    "--ip=127.0.0.1 --ServerApp.port_retries=0 --IdentityProvider.token= --ServerApp.password= --ServerApp.disable_check_xsrf=True "
    "--expose-app-in-browser --allow-root --no-browser"
)


def chromium(playwright: Playwright) -> str:
    """Return the path of a Chromium: the system's, else Playwright's own. Raises RuntimeError with the package to install."""
    for name in ("chromium", "chromium-browser", "google-chrome", "chrome"):
        if found := shutil.which(name):
            return found
    own = playwright.chromium.executable_path
    if Path(own).exists():
        return own
    raise RuntimeError(_MISSING)


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
        self.idle: Notebook | None = None  # one that a test has left open for the next
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
        self._spare = self.idle = None
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
        self, name: str, cells: Sequence[str] = (), *, theme: str = _LIGHT, density: int = 1, workspace: Workspace | None = None
    ) -> Notebook:
        """Open a notebook of that name, alone in its page; `cells` are written into it first, `density` is pixels per CSS pixel.

        The page may be one that an earlier notebook left: loading JupyterLab takes four times as long as opening a notebook in it.
        With a workspace the kernel may be one that an earlier notebook left there, reset.
        """
        if self.idle:
            self.idle.put_away()
        if cells:
            write_notebook(self.folder / name, cells)
        spare, self._spare = (self._spare, None) if density == 1 else (None, self._spare)
        assert self._browser is not None
        page = spare or self._browser.new_page(viewport=_VIEWPORT, device_scale_factor=density)
        page.emulate_media(reduced_motion=_MOTION if density == 1 else "no-preference")
        page.set_default_timeout(PATIENCE * 1000)
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
        """Connect a kernel with a notebook on the server, as a page does."""
        body = {"path": name, "name": name, "type": "notebook", "kernel": {"id": kernel}}
        request = urllib.request.Request(f"{self.url}/api/sessions", json.dumps(body).encode(), {"Content-Type": "application/json"})
        with _DIRECT.open(request, timeout=PATIENCE):
            return

    def keep_page(self, page: Page, kernel: str = "") -> None:
        """Close the notebooks of a page, end all their kernels but the one to keep, and keep the page for the next notebook."""
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

    def shared(self, cells: Sequence[str], *, theme: str = _LIGHT) -> Notebook:
        """Return a notebook with these cells: one that a test has left open here, with its kernel reset, else a new one.

        It is for tests to which the file's name is nothing: it saves opening a notebook and a kernel.
        """
        notebook, self.lab.idle = self.lab.idle, None
        if notebook and notebook.belongs_to(self):
            notebook.reuse(cells, theme)
        else:
            if notebook:
                notebook.put_away()
            notebook = self.open("shared.ipynb", cells, theme=theme)
        notebook.is_shared = True
        return notebook

    def take_kernel(self) -> str:
        """Return the id of the idle kernel, or an empty text."""
        kernel, self.idle_kernel = self.idle_kernel, ""
        return kernel


_OPEN = """async ([path, id]) => {  // it returns nothing: Playwright would copy the whole widget, 4 s of work
    await jupyterapp.commands.execute('docmanager:open', {path, factory: 'Notebook', ...(id && {kernel: {id}})});
}"""
_REOPEN = """async ([path, kernel]) => {
    const widget = jupyterapp.shell.currentWidget;
    await widget.sessionContext.shutdown();
    widget.dispose();
    const factory = jupyterapp.docRegistry.getWidgetFactory('Notebook');
    if (!kernel) Object.defineProperty(factory, 'preferKernel', {value: false, configurable: true});
    try {
        await jupyterapp.commands.execute('docmanager:open', {path, factory: 'Notebook'});
    } finally {
        delete factory.preferKernel;
    }
}"""
_EXECUTE = """async code => {
    const kernel = jupyterapp.shell.currentWidget.sessionContext.session.kernel;
    const future = kernel.requestExecute({code, store_history: false});
    let text = "";
    future.onIOPub = ({content}) => { text += content.text || content.evalue || ""; };
    return [(await future.done).content.status, text];
}"""
_REPLACE_CELLS = """cells => {
    const shared = jupyterapp.shell.currentWidget.content.model.sharedModel;
    shared.transact(() => {
        shared.deleteCellRange(0, shared.cells.length);
        shared.insertCells(0, cells.map(source => ({cell_type: 'code', source, metadata: {trusted: true}})));
    }, false);
    shared.clearUndoHistory();
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
    """One notebook in one page; a test that leaves the page changed sets `keeps_page = False`, and the next test gets another page.

    `keeps_kernel = False` is for a test after which no other could use the kernel. `console_errors` are the errors that the
    page's console has shown.
    """

    def __init__(self, lab: Lab, page: Page, url: str, path: Path, workspace: Workspace | None = None) -> None:
        self.page = page
        self.path = path
        self.url = url
        self.keeps_page = False
        self.keeps_kernel = workspace is not None
        self.is_shared = False
        self.console_errors: list[str] = []
        self._lab = lab
        self._workspace = workspace
        self._listens = False
        self._listen(True)

    def _listen(self, listens: bool) -> None:
        """Begin or end to record the errors of the page's console."""
        if listens != self._listens:
            change = self.page.on if listens else self.page.remove_listener
            change("console", self._on_console)
            change("pageerror", self._on_page_error)
        self._listens = listens

    def _on_console(self, message: Any) -> None:
        if message.type == "error":
            self._on_page_error(message.text)

    def _on_page_error(self, error: Any) -> None:
        if not _IGNORED.search(str(error)):
            self.console_errors.append(str(error))

    def __enter__(self) -> Notebook:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self.keeps_page = self.keeps_page and kind is None
        self.keeps_kernel = self.keeps_kernel and kind is None
        self.close()

    def close(self) -> None:
        """Close the notebook, and its page if that cannot serve another; its kernel is reset and waits for the next notebook.

        A shared notebook stays open.
        """
        self._listen(False)
        kernel = ""
        if self._workspace and self.keeps_kernel:
            kernel = self.page.evaluate(_RUN_RESET, _RESET)
        if not self.keeps_page:
            if self._workspace:
                self._workspace.idle_kernel = kernel
            self.page.evaluate(_CLEAR, kernel)
            self.page.close()
            return
        self._reset_page()
        if kernel and self.is_shared and not self.page.locator(".jp-Dialog").count():
            self._lab.idle = self
        else:
            self._leave(kernel)

    def _reset_page(self) -> None:
        self.page.unroute_all()
        self.page.emulate_media(reduced_motion=_MOTION)
        self.page.mouse.move(0, 0)
        self.page.set_viewport_size(_VIEWPORT)

    def _leave(self, kernel: str) -> None:
        if self._workspace:
            self._workspace.idle_kernel = kernel
        self._lab.keep_page(self.page, kernel)

    def put_away(self) -> None:
        """Close a notebook that was left open; its page and its kernel are for the next."""
        self._lab.idle = None
        self._leave(self.page.evaluate("() => jupyterapp.shell.currentWidget.sessionContext.session.kernel.id"))

    def belongs_to(self, workspace: Workspace) -> bool:
        """Return whether it is a notebook of that workspace."""
        return self._workspace is workspace

    def reuse(self, cells: Sequence[str], theme: str) -> None:
        """Replace the cells of a notebook that was left open, for another test."""
        self.console_errors = []
        self._listen(True)
        self.page.evaluate(_REPLACE_CELLS, list(cells))
        self.change_theme(theme)

    def reopen(self, *, kernel: bool) -> None:
        """Shut the kernel down, close the notebook, and open it from its file, with a new kernel or with none, as a reader does.

        From then on `console_errors` does not grow: JupyterLab itself reports missing kernels and models there.
        """
        self._listen(False)
        self.keeps_kernel = kernel and self._workspace is not None
        self.page.evaluate(_REOPEN, [self._name, kernel])
        self.wait(kernel=kernel)

    @property
    def _name(self) -> str:
        return self.path.relative_to(self._lab.folder).as_posix()

    def load(self, *, theme: str = "", kernel: bool = True) -> None:
        """Reload the page, and wait for the notebook and its kernel."""
        self.page.goto(self.url)
        self.wait(theme=theme, kernel=kernel)

    def wait(self, *, theme: str = "", kernel: bool = True) -> None:
        """Wait for the notebook and its kernel."""
        is_open = """name => {
            const shown = window.jupyterapp?.shell?.currentWidget;
            return shown?.context?.path === name && shown.isRevealed && shown.content.widgets.length;
        }"""
        self.page.wait_for_function(is_open, arg=self._name, timeout=PATIENCE * 1000)
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

    def execute(self, code: str) -> str:
        """Run code in the kernel without a cell, and return what it prints. Raises AssertionError if it fails."""
        status, text = self.page.evaluate(_EXECUTE, code)
        assert status == "ok", text
        return str(text)

    def value(self, expression: str) -> Any:
        """Return the value of an expression in the kernel: text, numbers and what holds them."""
        return ast.literal_eval(self.execute(f"print(repr({expression}))"))

    def wait_for_value(self, expression: str, expected: Any) -> None:
        """Wait until an expression has this value in the kernel; raises TimeoutError with the last one."""
        values: list[Any] = []

        def reached() -> bool:
            values[:] = [self.value(expression)]
            return bool(values[0] == expected)

        try:
            self.until(reached, f"{expression} to be {expected!r}")
        except TimeoutError as error:
            raise TimeoutError(f"{expression} is {values}, not {expected!r}") from error

    def command(self, name: str) -> Any:
        """Execute one of JupyterLab's commands to its end."""
        return self.page.evaluate("async name => { await jupyterapp.commands.execute(name) }", name)

    def outputs(self, cell: int) -> list[dict[str, Any]]:
        """Return a cell's outputs as the page holds them."""
        found = self.page.evaluate(f"() => jupyterapp.shell.currentWidget.content.widgets[{cell}].model.toJSON().outputs")
        return list(found or [])

    def busy(self, cell: int) -> bool:
        """Return whether a cell runs or is queued."""
        return bool(self.page.evaluate(f"() => jupyterapp.shell.currentWidget.content.widgets[{cell}].model.executionState !== 'idle'"))

    def until(self, condition: Callable[[], Any], what: str = "it") -> None:
        """Wait until a condition of the page holds; raises TimeoutError."""
        deadline = time.monotonic() + PATIENCE
        while not condition():
            if time.monotonic() > deadline:
                raise TimeoutError(f"waited {PATIENCE:.0f} s for {what}; the page holds {json.dumps(self._all_outputs())[:3000]}")
            self.page.wait_for_timeout(50)

    def _all_outputs(self) -> list[Any]:
        found = self.page.evaluate("() => jupyterapp.shell.currentWidget.content.widgets.map(cell => cell.model.toJSON().outputs)")
        return [[{**output, "data": list(output.get("data", {}))} for output in outputs or []] for outputs in found]

    def output_area(self, cell: int) -> Any:
        """Return the locator of a cell's outputs."""
        return self.page.locator(".jp-Notebook .jp-Cell").nth(cell).locator(".jp-Cell-outputArea")

    def reopen_with_broken_widget(self, cell: int) -> None:
        """Save the notebook, reopen it with a new kernel, and wait until JupyterLab misses the cell's widget: that must not be visible."""
        self.save()
        self.reopen(kernel=True)
        message = self.output_area(cell).get_by_text("Error displaying widget").first
        message.wait_for(state="attached")
        assert not message.is_visible()

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


def violations(page: Page, context: str) -> list[tuple[str, str, list[str]]]:
    """Return axe-core's findings within a selector: each rule, its impact, and the markup that breaks it."""
    found = Axe().run(page, context=context, options={"resultTypes": ["violations"]}).response["violations"]
    return [(rule["id"], rule["impact"], [node["html"] for node in rule["nodes"]]) for rule in found]


def serious_violations(page: Page, context: str) -> list[tuple[str, list[str]]]:
    """Return axe-core's serious findings within a selector: each rule and the markup that breaks it."""
    return [(rule, nodes) for rule, impact, nodes in violations(page, context) if impact in ("serious", "critical")]


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
    """Wait until a server answers; raises RuntimeError with the end of its log if it does not."""
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
