"""`%load_ext imagegen_magic` is cheap: few modules, none of the heavy ones, no scan of entry points, nothing on disk."""

import ast

import pytest
from frontend import Frontend

MOST_MODULES = 12
HEAVY = {
    "httpx",
    "h11",
    "httpcore",
    "PIL",
    "ipywidgets",
    "starlette",
    "tomllib",
    "sqlite3",
    "keyring",
    "nest_asyncio2",
    "tenacity",
    "platformdirs",
}

_WATCH = """
import sys, importlib.metadata
before, scans = set(sys.modules), []
scan = importlib.metadata.entry_points
importlib.metadata.entry_points = lambda *a, **k: scans.append(k) or scan(*a, **k)
"""


@pytest.fixture(scope="module")
def loaded(tmp_path_factory):
    """A kernel's own account of loading the extension: new modules, scans of entry points, files in its folders."""
    folder = tmp_path_factory.mktemp("kernel")
    with Frontend(folder) as kernel:
        kernel.run(_WATCH)
        assert kernel.run("%load_ext imagegen_magic").status == "ok"
        cell = kernel.run(
            "import os; (sorted(set(sys.modules) - before), scans, os.path.exists(os.environ['IMAGEGEN_HOME']), 'imagegen' in os.listdir())"
        )
        yield ast.literal_eval(cell.of("text/plain")[0])


def test_loading_brings_few_modules(loaded):
    """At most twelve modules are new to a running kernel."""
    assert len(loaded[0]) <= MOST_MODULES, loaded[0]


def test_loading_brings_nothing_heavy(loaded):
    """No HTTP client, picture library, widgets, server, TOML, database or keyring is imported yet, and nothing of the engine."""
    assert {name.partition(".")[0] for name in loaded[0]} & HEAVY == set()
    house = ("imagegen_magic.engine", "imagegen_magic.providers", "imagegen_magic.sandbox")
    assert not {name for name in loaded[0] if name.startswith(house)}


def test_loading_scans_no_entry_points(loaded):
    """Plugged-in gateways are looked for when one is needed, not at load."""
    assert loaded[1] == []


def test_loading_touches_no_folder(loaded):
    """Neither ledger nor pictures' folder is made at load."""
    assert loaded[2:] == (False, False)
