"""A real kernel killed with SIGKILL at any moment loses no picture that was paid for, and nothing is paid twice."""

import contextlib
import hashlib
import os
import sqlite3
import time

import pytest
from frontend import Frontend
from PIL import Image
from servers import sandbox_server

CELL = "%%imagegen -p evolink --size 1024x1024 -n {n}{options}\n{prompt}"

# run in the kernel before the picture: the first large write, flush or publication of a picture is the kernel's last act
DIE_WHILE_WRITING = """
import os
_write = os.write
def write(descriptor, content):
    if len(content) > 4096:
        _write(descriptor, bytes(content)[: len(content) // 2])
        os.kill(os.getpid(), 9)
    return _write(descriptor, content)
os.write = write
"""
DIE_BEFORE = """
import os
from imagegen_magic.engine.storage import images as files
_save, _real = files.save, os.{call}
def die(*_, **__):
    os.kill(os.getpid(), 9)
def save(*given, **more):
    os.{call} = die
    try:
        return _save(*given, **more)
    finally:
        os.{call} = _real
files.save = save
"""
DIE_AFTER_SAVING = """
import os
from imagegen_magic.engine.storage import images as files
_save = files.save
def save(*given, **more):
    _save(*given, **more)
    os.kill(os.getpid(), 9)
files.save = save
"""


@pytest.fixture(scope="module")
def server():
    """One gateway process; it outlives every kernel."""
    with sandbox_server(duration=0.8) as running:
        yield running


@pytest.fixture
def notebook(server, tmp_path):
    """A kernel with the extension loaded, talking to the server."""
    server.disarm()
    with Frontend(tmp_path / "nb", IMAGEGEN_POLL_SECONDS="0.1", **server.environ("evolink")) as frontend:
        assert frontend.run("%load_ext imagegen_magic").status == "ok"
        yield frontend


def _states(notebook):
    path = notebook.folder / "imagegen-home" / "ledger.sqlite"
    if not path.exists():
        return []
    with contextlib.closing(sqlite3.connect(path)) as connection, contextlib.suppress(sqlite3.OperationalError):
        return [state for (state,) in connection.execute("SELECT state FROM tasks ORDER BY row")]
    return []


def _until(true, what):
    deadline = time.monotonic() + 60
    while not true():
        assert time.monotonic() < deadline, f"waited for {what}"
        time.sleep(0.01)


def _dead(notebook):
    _until(lambda: not notebook.manager.is_alive(), "the kernel's death")


def _all_home(notebook, server, prompt, pictures, submissions=1):
    """A new kernel resumes: every picture is on disk, whole, and the server counted each submission once."""
    notebook.restart()
    assert notebook.run("%load_ext imagegen_magic").status == "ok"
    cell = notebook.run("%imagegen resume")
    assert cell.status == "ok", cell.text
    saved = sorted((notebook.folder / "imagegen").glob("*.png"))
    assert len(saved) == pictures
    for path in saved:
        with Image.open(path) as picture:
            picture.load()
            assert picture.size == (1024, 1024)
    assert len({hashlib.sha256(path.read_bytes()).hexdigest() for path in saved}) == pictures
    assert len(cell.images) == pictures
    assert set(_states(notebook)) == {"saved"}
    assert len(server.submissions(prompt)) == submissions
    assert list((notebook.folder / "imagegen").glob(".*.part")) == []


def test_killed_after_the_submit_was_accepted(notebook, server):
    """The task id is in the ledger before anything else happens."""
    notebook.send(CELL.format(n=2, prompt="killed after the submit", options=""))
    _until(lambda: _states(notebook) == ["submitted"], "the task id in the ledger")
    notebook.kill()
    _all_home(notebook, server, "killed after the submit", 2)


def test_killed_while_looking(notebook, server):
    """In the middle of the waiting, with several tasks open."""
    before = server.log()["looks"] + server.log()["batch_looks"]
    notebook.send(CELL.format(n=12, prompt="killed while looking", options=""))
    _until(lambda: _states(notebook).count("submitted") == 2 and server.log()["looks"] + server.log()["batch_looks"] > before, "looks")
    notebook.kill()
    _all_home(notebook, server, "killed while looking", 12, submissions=2)


def test_killed_while_downloading(notebook, server):
    """The bytes were trickling in; nothing half is ever visible."""
    server.arm("slow", times=1)
    before = server.log()["downloads"]
    notebook.send(CELL.format(n=1, prompt="killed while downloading", options=""))
    _until(lambda: server.log()["downloads"] > before, "a download")
    time.sleep(0.2)
    notebook.kill()
    assert list((notebook.folder / "imagegen").glob("*")) == []
    _all_home(notebook, server, "killed while downloading", 1)


@pytest.mark.parametrize(
    "death",
    [DIE_WHILE_WRITING, DIE_BEFORE.format(call="fsync"), DIE_BEFORE.format(call="link"), DIE_AFTER_SAVING],
    ids=["between the bytes", "before the flush", "before the name", "before the ledger knows"],
)
def test_killed_while_saving(death, notebook, server):
    """Between the bytes of a file, before it is flushed, before it has its name, before the ledger knows of it."""
    prompt = f"killed while saving {hashlib.md5(death.encode()).hexdigest()}"
    assert notebook.run(death).status == "ok"
    notebook.send(CELL.format(n=1, prompt=prompt, options=""))
    _dead(notebook)
    _all_home(notebook, server, prompt, 1)


def test_killed_before_the_submits_answer_came(notebook, server):
    """Nobody here can know whether it was accepted: told, never sent again, and no longer counted as waiting."""
    server.arm("hang-after-accept")
    notebook.send(CELL.format(n=1, prompt="killed too early", options=""))
    _until(lambda: server.submissions("killed too early"), "the submit at the server")
    notebook.kill()
    notebook.restart()
    notebook.run("%load_ext imagegen_magic")
    cell = notebook.run("%imagegen resume")
    assert "1 submission was cut off before an answer came" in cell.text
    assert "nothing was sent again" in cell.text
    assert _states(notebook) == ["unknown"]
    assert len(server.submissions("killed too early")) == 1


def test_the_next_session_says_that_pictures_are_waiting(notebook, server):
    """At its first cell, in one line, with what to do."""
    notebook.send(CELL.format(n=2, prompt="waiting for you", options=""))
    _until(lambda: _states(notebook) == ["submitted"], "the task id in the ledger")
    notebook.kill()
    notebook.restart()
    notebook.run("%load_ext imagegen_magic")
    cell = notebook.run(CELL.format(n=1, prompt="something else", options=" --sandbox"))
    assert "2 pictures are waiting: %imagegen resume" in cell.text
    _all_home_count(notebook)


def _all_home_count(notebook):
    assert len(notebook.run("%imagegen resume").images) == 2


def test_a_second_kernel_does_not_take_what_the_first_is_waiting_for(notebook, server, tmp_path):
    """Two kernels on one ledger: resume collects only what nobody alive waits for."""
    running = notebook.send(CELL.format(n=1, prompt="mine", options=""))
    _until(lambda: _states(notebook) == ["submitted"], "the task id in the ledger")
    home = {"IMAGEGEN_HOME": str(notebook.folder / "imagegen-home")}
    with Frontend(tmp_path / "other", IMAGEGEN_POLL_SECONDS="0.1", **home, **server.environ("evolink")) as other:
        other.run("%load_ext imagegen_magic")
        assert other.run("%imagegen resume").images == []
        mine = other.run(CELL.format(n=1, prompt="another's", options=""))
        assert len(mine.images) == 1
    assert len(notebook.wait(running).images) == 1
    assert len(server.submissions("mine")) == 1
    assert os.listdir(notebook.folder / "imagegen")
