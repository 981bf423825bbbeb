"""What every test starts from: no key, no configuration, no ledger but its own."""

import functools
import os
import re
import signal

import pytest

signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell starts its background jobs with interrupts ignored


@functools.cache
def _haste(path):
    """Return how early a file of tests is to begin: those that start a browser first, then those that start kernels and environments."""
    imported = re.findall(r"^(?:from|import) (\w+)", path.read_text(), re.MULTILINE)
    return next((haste for haste, module in enumerate(("lab", "venv", "frontend", "nbclient", "papermill")) if module in imported), 9)


def pytest_collection_modifyitems(items):
    """Begin with the files that take longest, so that no process is left alone with one of them at the end."""
    items.sort(key=lambda item: _haste(item.path))


@pytest.fixture(autouse=True)
def own_world(tmp_path, monkeypatch):
    """Give each test an empty environment, home and working folder of its own, and a fresh engine."""
    for name in list(os.environ):
        if name.startswith("IMAGEGEN_") or name.endswith(("_API_KEY", "_BASE_URL")) or name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("IMAGEGEN_HOME", str(tmp_path / "home"))
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    yield work
    import sys

    if loop := sys.modules.get("imagegen_magic.engine.loop"):
        loop.stop()
    if keys := sys.modules.get("imagegen_magic.engine.credentials"):
        keys._remembered.clear()
    if peers := sys.modules.get("imagegen_magic.engine.net.peers"):
        peers._resolved.clear()
