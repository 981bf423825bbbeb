"""Kernels killed amid a sweep of 200, at a gateway that refuses and drops: in the end each combination is there, and paid, once."""

import contextlib
import json
import re
import sqlite3
import time
from collections import Counter

import pytest
from frontend import Frontend
from servers import sandbox_server

AXES = "a = [f'first {n}' for n in range(20)]\nb = [f'second {n}' for n in range(10)]"
CELL = "%%imagegen -p evolink --size 1:1 -q low --sweep a=@a --sweep b=@b --yes -o made{options}\n{name}: {{{{a}}}} and {{{{b}}}}"
FAULTS = {"rate-limited": 6, "unavailable": 4, "dropped-download": 6, "truncated": 3, "expired": 5, "download-500": 3, "look-500": 2}


@pytest.fixture(scope="module")
def server():
    """One gateway process with one picture for all; it outlives every kernel."""
    with sandbox_server(duration=1, plain=True) as running:
        yield running


@pytest.fixture
def notebook(server, tmp_path):
    """A kernel with the extension and the axes' values, in front of a gateway with faults."""
    server.disarm()
    for kind, times in FAULTS.items():
        server.arm(kind, times=times)
    with Frontend(tmp_path / "nb", IMAGEGEN_POLL_SECONDS="0.1", **server.environ("evolink")) as frontend:
        _prepare(frontend)
        yield frontend


def _prepare(notebook):
    assert notebook.run("%load_ext imagegen_magic").status == "ok"
    assert notebook.run(AXES).status == "ok"


def _states(notebook):
    path = notebook.folder / "imagegen-home" / "ledger.sqlite"
    with contextlib.closing(sqlite3.connect(path)) as connection, contextlib.suppress(sqlite3.OperationalError):
        return Counter(state for (state,) in connection.execute("SELECT state FROM tasks"))
    return Counter()


def _until(true, what):
    deadline = time.monotonic() + 90
    while not true():
        assert time.monotonic() < deadline, f"waited for {what}"
        time.sleep(0.02)


def _killed_when(notebook, name, true, what):
    """Start the sweep and kill its kernel at that moment; a new kernel takes its place."""
    notebook.send(CELL.format(name=name, options=""))
    path = notebook.folder / "imagegen-home" / "ledger.sqlite"
    _until(lambda: path.exists() and true(), what)
    notebook.kill()
    notebook.restart()
    _prepare(notebook)


def _paid(server, name):
    """Return how often the gateway accepted each combination."""
    return Counter(entry["prompt"] for entry in server.accepted() if entry["prompt"].startswith(f"{name}:"))


def _combinations(name):
    return {f"{name}: first {a} and second {b}" for a in range(20) for b in range(10)}


def _whole(notebook):
    """Return the sweep of the ledger: how many pictures, at how many places, of how many files, and what is missing."""
    code = (
        "import json\nfrom imagegen_magic.studies.sweeps.plan import load\nfound = load()\n"
        "print(json.dumps([len(found), len({tuple(found.place(image).items()) for image in found}), "
        "len({image.path for image in found if image.path.exists()}), [word for word in found.words if word]]))"
    )
    return json.loads(notebook.run(code).text)


def test_killed_with_pictures_on_their_way(notebook, server):
    """Everything was submitted and something is home: resume brings the rest, and nothing is paid twice."""
    name = "on their way"
    _killed_when(
        notebook,
        name,
        lambda: (
            (states := _states(notebook))["saved"] > 20 and not states["planned"] and not states["submitting"] and states["saved"] < 200
        ),
        "the middle of the fetching",
    )
    cell = notebook.run("%imagegen resume")
    assert cell.status == "ok", cell.text
    assert _whole(notebook) == [200, 200, 200, []]
    assert _paid(server, name) == dict.fromkeys(_combinations(name), 1)
    assert set(_states(notebook)) == {"saved"}


def test_killed_while_submitting(notebook, server):
    """Some were never sent, some wait, of some nobody knows: the cell again with --reuse pays for what is missing, and only for that."""
    name = "while submitting"
    server.arm("hang-after-accept", times=2, match=f"{name}: first 3 and second")
    _killed_when(
        notebook, name, lambda: (states := _states(notebook))["submitted"] > 60 and states["planned"], "the middle of the submitting"
    )
    cell = notebook.run(CELL.format(name=name, options=" --reuse"))
    assert cell.status == "ok", cell.text
    unknown = _unknown(notebook)
    assert len(unknown) >= 2
    assert "not sent again" in cell.text
    assert f"%imagegen forget {unknown[0]} (and so {', '.join(map(str, unknown[1:]))})" in cell.text
    first = _paid(server, name)
    assert max(first.values()) == 1
    assert notebook.run("%imagegen resume").status == "ok"  # what was asked about in a bad moment
    assert _whole(notebook)[:2] == [200 - len(unknown)] * 2

    for row in unknown:
        assert notebook.run(f"%imagegen forget {row}").status == "ok"
    cell = notebook.run(CELL.format(name=name, options=" --reuse"))
    assert cell.status == "ok", cell.text
    assert re.search(rf"{200 - len(unknown)} there already · {len(unknown)} to make", cell.text)
    assert _whole(notebook) == [200, 200, 200, []]
    second = _paid(server, name) - first
    assert sum(second.values()) == len(unknown)
    assert set(_paid(server, name)) == _combinations(name)
    assert notebook.run("print(len(made), sum(image.reused for image in made))").text.strip() == f"200 {200 - len(unknown)}"


def _unknown(notebook):
    path = notebook.folder / "imagegen-home" / "ledger.sqlite"
    with contextlib.closing(sqlite3.connect(path)) as connection:
        return [row for (row,) in connection.execute("SELECT row FROM tasks WHERE state = 'unknown'")]
