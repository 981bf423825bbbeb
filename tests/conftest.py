"""The start of every test: no key, no configuration, a ledger of its own."""

import contextlib
import itertools
import os
import re
import signal

import hypothesis
import pytest
from quick_sandbox import quicken, unquicken
from resets import OURS, reset_engine

signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell starts its background jobs with interrupts ignored


hypothesis.settings.register_profile("short", max_examples=25, deadline=None)
hypothesis.settings.register_profile("long", max_examples=500, deadline=None)
hypothesis.settings.load_profile("short")

STARTED_BY = {"browser": pytest.mark.browser, "kernels": pytest.mark.kernel}  # fixtures and the mark of what uses them


def pytest_ignore_collect(collection_path, config):
    """Import no file whose first marks say that it starts kernels if -m leaves those out: what they need takes seconds to import."""
    if "not kernel" not in config.option.markexpr or collection_path.suffix != ".py":
        return None
    return bool(re.search(r"^pytestmark = \[?pytest\.mark\.kernel", collection_path.read_text(encoding="utf-8"), re.MULTILINE)) or None


@pytest.hookimpl(tryfirst=True)  # before -m chooses by the marks
def pytest_collection_modifyitems(items):
    """Mark what starts a browser or a kernel, and begin with its files and the slow ones, so that none is alone at the end."""
    marks, early = ("browser", "kernel", "slow"), {}
    for item in items:
        for fixture, mark in STARTED_BY.items():
            if fixture in item.fixturenames:
                item.add_marker(mark)
        rank = next((number for number, name in enumerate(marks) if item.get_closest_marker(name)), len(marks))
        early[item.path] = min(rank, early.get(item.path, rank))
    items.sort(key=lambda item: early[item.path])


_folders = itertools.count(1)


@pytest.fixture
def tmp_path(tmp_path_factory):
    """A new folder; pytest's own fixture reads the folders of all earlier tests to find a number, and resolves each path."""
    folder = tmp_path_factory.getbasetemp() / f"test-{next(_folders)}"
    folder.mkdir(mode=0o700)
    return folder


SHARED_LABS = (  # files that use one JupyterLab after another; to start it takes a processor 20 s, so two processes have one
    ("test_export.py", "test_painter_jupyterlab.py", "test_studies_jupyterlab.py", "test_widgets_jupyterlab.py"),
    ("test_notebook_jupyterlab.py", "test_panel_jupyterlab.py"),
)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """Give each test process whole files, and the files that share a JupyterLab to one process."""
    from xdist.scheduler import LoadFileScheduling

    class Scheduling(LoadFileScheduling):
        def _split_scope(self, nodeid):
            file = super()._split_scope(nodeid)
            return next((" ".join(files) for files in SHARED_LABS if file.rpartition("/")[2] in files), file)

    return Scheduling(config, log) if config.getvalue("dist") == "loadfile" else None


@pytest.fixture(autouse=True)
def own_world(tmp_path, monkeypatch):
    """Give each test an empty environment, home and working folder of its own, a fresh engine, and a quick sandbox."""
    for name in filter(OURS.match, list(os.environ)):
        monkeypatch.delenv(name)
    monkeypatch.setenv("IMAGEGEN_HOME", str(tmp_path / "home"))
    quicken(monkeypatch)
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    yield work
    reset_engine()


@pytest.fixture
def real_sandbox(monkeypatch):
    """The sandbox as it is delivered: it draws for the eye, and its tasks take a second."""
    unquicken(monkeypatch)


@pytest.fixture(scope="session")
def sandbox_process():
    """The sandbox of this test process: every gateway on a socket, with tasks of a tenth of a second."""
    from servers import sandbox_thread

    with sandbox_thread(duration=0.1) as running:
        yield running


@pytest.fixture
def gateway(sandbox_process):
    """The sandbox of this test process, with no fault armed."""
    sandbox_process.disarm()
    return sandbox_process


_opened = {}  # the browser and the JupyterLab of this test process
_closing = contextlib.ExitStack()


def _close_browser():
    _opened.clear()
    _closing.close()


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item):
    """Close the browser before a test that does not use it: while Playwright runs, asyncio.run() is refused in this thread."""
    if "browser" not in item.fixturenames:
        _close_browser()


def pytest_sessionfinish():
    """Close the browser, if the last test used one."""
    _close_browser()


@pytest.fixture(scope="module")
def browser():
    """The browser of this test process, shared by consecutive files."""
    from lab import open_browser

    if "browser" not in _opened:
        _opened["browser"] = _closing.enter_context(open_browser())
    return _opened["browser"]


@pytest.fixture(scope="module")
def jupyterlab(browser, tmp_path_factory):
    """The JupyterLab of this test process; each file works in a workspace of its own."""
    from lab import Lab

    if "jupyterlab" not in _opened:
        _opened["jupyterlab"] = _closing.enter_context(Lab(tmp_path_factory.mktemp("jupyterlab"), browser))
    return _opened["jupyterlab"]


@pytest.fixture(scope="session")
def kernels(tmp_path_factory):
    """The kernels of this test process, shared by its tests."""
    from frontend import Kernels

    running = Kernels(tmp_path_factory.mktemp("kernels"))
    yield running
    running.close()
