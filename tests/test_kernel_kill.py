"""A real kernel killed with SIGKILL, during a picture, an edit or a sweep, loses nothing that was paid for; nothing is paid twice."""

import contextlib
import hashlib
import json
import os
import re
import sqlite3
import time
from collections import Counter

import pytest
from PIL import Image, ImageDraw
from servers import sandbox_server, sandbox_thread

from imagegen_magic import mask_box

CELL = "%%imagegen -p evolink --size 1024x1024 -q low -n {n}{options}\n{prompt}"

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
    """A gateway; it outlives every kernel."""
    with sandbox_server(duration=0.8) as running:
        yield running


@pytest.fixture
def notebook(kernels, server, tmp_path):
    """A kernel with the extension loaded, talking to the server."""
    server.disarm()
    with kernels.kernel(tmp_path / "nb", IMAGEGEN_POLL_SECONDS="0.1", **server.environ("evolink", "gccai")) as frontend:
        assert frontend.run("%load_ext imagegen_magic").status == "ok"
        yield frontend


def _states(notebook):
    path = notebook.folder / "imagegen-home" / "ledger.sqlite"
    if not path.exists():
        return []
    with contextlib.closing(sqlite3.connect(path)) as connection, contextlib.suppress(sqlite3.OperationalError):
        return [state for (state,) in connection.execute("SELECT state FROM tasks ORDER BY row")]
    return []


def _until(condition, what):
    deadline = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < deadline, f"waited for {what}"
        time.sleep(0.01)


def _dead(notebook):
    _until(lambda: not notebook.manager.is_alive(), "the kernel's death")


def _resumes_all(notebook, server, prompt, pictures, submissions=1):
    """A new kernel resumes: every picture is complete on disk, and the server counted each submission once."""
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
    _resumes_all(notebook, server, "killed after the submit", 2)


def test_killed_while_polling(notebook, server):
    """During the waiting, with several open tasks."""
    before = server.log()["looks"] + server.log()["batch_looks"]
    notebook.send(CELL.format(n=11, prompt="killed while polling", options=""))
    _until(lambda: _states(notebook).count("submitted") == 2 and server.log()["looks"] + server.log()["batch_looks"] > before, "polls")
    notebook.kill()
    _resumes_all(notebook, server, "killed while polling", 11, submissions=2)


def test_killed_while_downloading(notebook, server):
    """While the bytes arrive slowly; no partial file is ever visible."""
    server.arm("slow", times=1)
    before = server.log()["downloads"]
    notebook.send(CELL.format(n=1, prompt="killed while downloading", options=""))
    _until(lambda: server.log()["downloads"] > before, "a download")
    notebook.kill()
    assert list((notebook.folder / "imagegen").glob("*")) == []
    _resumes_all(notebook, server, "killed while downloading", 1)


@pytest.mark.parametrize(
    "death",
    [
        pytest.param(DIE_WHILE_WRITING, marks=pytest.mark.long),  # tests/test_files.py kills a process at each of these
        DIE_BEFORE.format(call="fsync"),
        pytest.param(DIE_BEFORE.format(call="link"), marks=pytest.mark.long),
        DIE_AFTER_SAVING,
    ],
    ids=["between the bytes", "before the flush", "before the name", "before the ledger knows"],
)
def test_killed_while_saving(death, notebook, server):
    """Between the bytes of a file, before it is flushed, before it has its name, before the ledger knows of it."""
    prompt = f"killed while saving {hashlib.md5(death.encode()).hexdigest()}"
    assert notebook.run(death).status == "ok"
    notebook.send(CELL.format(n=1, prompt=prompt, options=""))
    _dead(notebook)
    _resumes_all(notebook, server, prompt, 1)


def _kill_before_the_answer(notebook, server, prompt, provider="evolink"):
    server.arm("hang-after-accept")
    notebook.send(CELL.format(n=1, prompt=prompt, options="").replace("evolink", provider))
    _until(lambda: server.submissions(prompt), "the submit at the server")
    notebook.kill()
    notebook.restart()
    notebook.run("%load_ext imagegen_magic")


def test_killed_before_the_submits_answer_came(notebook, server):
    """It is unknown whether it was accepted, and GCCAI has no list of tasks: reported, never sent again, and not counted as waiting."""
    _kill_before_the_answer(notebook, server, "killed too early", "gccai")
    cell = notebook.run("%imagegen resume")
    assert "1 submission was cut off before an answer came" in cell.text
    assert "nothing was sent again" in cell.text
    assert _states(notebook) == ["unknown"]
    assert len(server.submissions("killed too early")) == 1


def test_killed_before_the_answer_and_found_in_the_list(notebook, server):
    """EvoLink lists its tasks: the next session finds it there and collects it, without another submission."""
    _kill_before_the_answer(notebook, server, "killed and found")
    assert "imagegen/killed-found-" in notebook.run("%imagegen resume").text
    assert _states(notebook) == ["saved"]
    assert len(server.submissions("killed and found")) == 1


def test_the_next_session_names_waiting_pictures(notebook, server):
    """At its first cell, in one line, with what to do."""
    notebook.send(CELL.format(n=2, prompt="waiting for you", options=""))
    _until(lambda: _states(notebook) == ["submitted"], "the task id in the ledger")
    notebook.kill()
    notebook.restart()
    notebook.run("%load_ext imagegen_magic")
    cell = notebook.run(CELL.format(n=1, prompt="something else", options=" --sandbox"))
    assert "2 pictures are waiting: %imagegen resume" in cell.text
    _resumes_two(notebook)


def _resumes_two(notebook):
    assert len(notebook.run("%imagegen resume").images) == 2


def test_a_second_kernel_does_not_take_what_the_first_is_waiting_for(kernels, notebook, server, tmp_path):
    """Two kernels on one ledger: resume leaves a task alone that a live kernel waits for."""
    running = notebook.send(CELL.format(n=1, prompt="mine", options=""))
    _until(lambda: _states(notebook) == ["submitted"], "the task id in the ledger")
    home = {"IMAGEGEN_HOME": str(notebook.folder / "imagegen-home")}
    with kernels.kernel(tmp_path / "other", IMAGEGEN_POLL_SECONDS="0.1", **home, **server.environ("evolink")) as other:
        other.run("%load_ext imagegen_magic")
        assert other.run("%imagegen resume").images == []
        mine = other.run(CELL.format(n=1, prompt="another", options=""))
        assert len(mine.images) == 1
    assert len(notebook.wait(running).images) == 1
    assert len(server.submissions("mine")) == 1
    assert os.listdir(notebook.folder / "imagegen")


# --- during an edit

SIZE = (1024, 640)
EDIT = "%%imagegen -p gccai --size 1024x640 -q low --output-format png --ref scene.png --mask middle.png"
DIE_INSTEAD_OF_SAVING = """
import os
from imagegen_magic.engine.storage import images as files
files.save = lambda *_, **__: os.kill(os.getpid(), 9)
"""


def _pictures(folder):
    """Put a picture and a mask of its middle into a folder."""
    image = Image.linear_gradient("L").resize(SIZE).convert("RGB")
    ImageDraw.Draw(image).ellipse((200, 150, 500, 450), fill=(200, 90, 40))
    image.save(folder / "scene.png")
    mask_box(image, 300, 200, 700, 500).save(folder / "middle.png")


def test_a_killed_edit_is_compared_with_its_mask_when_it_is_resumed(kernels, tmp_path):
    """The share is computed from the copies, stored and shown, though the user's files are gone; nothing is paid or uploaded twice."""
    with (
        sandbox_thread(duration=0.05) as server,
        kernels.kernel(tmp_path / "nb", IMAGEGEN_POLL_SECONDS="0.1", **server.environ("gccai")) as kernel,
    ):
        _pictures(kernel.folder)
        assert kernel.run("%load_ext imagegen_magic").status == "ok"
        kernel.run(DIE_INSTEAD_OF_SAVING)
        kernel.send(f"{EDIT}\nkilled during an edit [[fault: mask-ignored]]")
        _until(lambda: not kernel.manager.is_alive(), "the kernel's death")
        for name in ("scene.png", "middle.png"):
            (kernel.folder / name).unlink()
        kernel.restart()
        kernel.run("%load_ext imagegen_magic")
        cell = kernel.run("%imagegen resume")
        assert cell.status == "ok", cell.text
        (percent,) = re.findall(r"the service changed (\d+) % of what the mask protects", cell.text)
        shown = kernel.run("%imagegen drift 1")
        assert len(shown.images) == 1
        assert "imagegen-slider" in "".join(shown.of("text/html"))
        share, mean = _kept(kernel)
        assert share > 0.9
        assert int(percent) == round(100 * share)
        assert 0 < mean < 1
        assert (len(server.submissions()), server.log()["uploads"]) == (1, 2)


def _kept(kernel):
    """Return the figures that the ledger holds."""
    ledger = sqlite3.connect(kernel.folder / "imagegen-home" / "ledger.sqlite")
    try:
        ((share, mean),) = ledger.execute("SELECT share, mean FROM drifts").fetchall()
    finally:
        ledger.close()
    return share, mean


# --- during a sweep of 60, at a gateway that refuses and drops

PICTURES = 60
AXES = "a = [f'first {n}' for n in range(10)]\nb = [f'second {n}' for n in range(6)]"
SWEEP = "%%imagegen -p {gateway} --size 1:1 -q low --sweep a=@a --sweep b=@b --yes -o made{options}\n{name}: {{{{a}}}} and {{{{b}}}}"
FAULTS = {"rate-limited": 4, "unavailable": 3, "dropped-download": 4, "truncated": 2, "expired": 3, "download-500": 2, "look-500": 2}


@pytest.fixture(scope="module")
def faulty():
    """A gateway with one picture for all; it outlives every kernel."""
    with sandbox_thread(duration=1, plain=True) as running:
        yield running


@pytest.fixture
def kernel(kernels, faulty, tmp_path):
    """A kernel with the extension and the axes' values, in front of a gateway with faults."""
    faulty.disarm()
    for kind, times in FAULTS.items():
        faulty.arm(kind, times=times)
    with kernels.kernel(tmp_path / "nb", IMAGEGEN_POLL_SECONDS="0.1", **faulty.environ("evolink", "gccai")) as frontend:
        _prepare(frontend)
        yield frontend


def _prepare(kernel):
    assert kernel.run("%load_ext imagegen_magic").status == "ok"
    assert kernel.run(AXES).status == "ok"


def _counts(kernel):
    path = kernel.folder / "imagegen-home" / "ledger.sqlite"
    with contextlib.closing(sqlite3.connect(path)) as connection, contextlib.suppress(sqlite3.OperationalError):
        return Counter(state for (state,) in connection.execute("SELECT state FROM tasks"))
    return Counter()


def _killed_when(kernel, name, condition, what, *, gateway="evolink"):
    """Start the sweep and kill its kernel at that moment; a new kernel takes its place."""
    kernel.send(SWEEP.format(name=name, options="", gateway=gateway))
    path = kernel.folder / "imagegen-home" / "ledger.sqlite"
    _until(lambda: path.exists() and condition(), what)
    kernel.kill()
    kernel.restart()
    _prepare(kernel)


def _paid(faulty, name):
    """Return how often the gateway accepted each combination."""
    return Counter(entry["prompt"] for entry in faulty.accepted() if entry["prompt"].startswith(f"{name}:"))


def _combinations(name):
    return {f"{name}: first {a} and second {b}" for a in range(10) for b in range(6)}


def _sweep(kernel):
    """Return the ledger's sweep: how many pictures, at how many combinations, of how many files, and what is missing."""
    code = (
        "import json\nfrom imagegen_magic.studies.sweeps.plan import load\nfound = load()\n"
        "print(json.dumps([len(found), len({tuple(found.place(image).items()) for image in found}), "
        "len({image.path for image in found if image.path.exists()}), [word for word in found.words if word]]))"
    )
    return json.loads(kernel.run(code).text)


def test_killed_while_pictures_are_downloaded(kernel, faulty):
    """Everything is submitted and some pictures are saved: resume brings the rest, and nothing is paid twice."""
    name = "on their way"

    def is_downloading():
        states = _counts(kernel)
        return 6 < states["saved"] < PICTURES and not states["planned"] and not states["submitting"]

    _killed_when(kernel, name, is_downloading, "some of the downloads")
    cell = kernel.run("%imagegen resume")
    assert cell.status == "ok", cell.text
    assert _sweep(kernel) == [PICTURES, PICTURES, PICTURES, []]
    assert _paid(faulty, name) == dict.fromkeys(_combinations(name), 1)
    assert set(_counts(kernel)) == {"saved"}


def test_killed_while_submitting(kernel, faulty):
    """Some were never sent, some wait, some are unknown: the cell again with --reuse pays for what is missing, and only for that.

    At a gateway that cannot be asked about a submission.
    """
    name, again = "while submitting", SWEEP.format(name="while submitting", options=" --reuse", gateway="gccai")
    faulty.arm("hang-after-accept", times=2, match=f"{name}: first 3 and second")
    _killed_when(
        kernel,
        name,
        lambda: (states := _counts(kernel))["submitted"] > 15 and states["planned"] and states["submitting"] > 1,
        "some of the submissions",
        gateway="gccai",
    )
    faulty.disarm()  # the kill may have been before both faults
    cell = kernel.run(again)
    assert cell.status == "ok", cell.text
    unknown = _unknown(kernel)
    assert len(unknown) >= 2
    assert "not sent again" in cell.text
    assert f"%imagegen forget {unknown[0]} (likewise {', '.join(map(str, unknown[1:]))})" in cell.text
    first = _paid(faulty, name)
    assert max(first.values()) == 1
    assert kernel.run("%imagegen resume").status == "ok"  # what a fault had kept from being collected
    assert _sweep(kernel)[:2] == [PICTURES - len(unknown)] * 2

    for row in unknown:
        assert kernel.run(f"%imagegen forget {row}").status == "ok"
    cell = kernel.run(again)
    assert cell.status == "ok", cell.text
    assert re.search(rf"{PICTURES - len(unknown)} exist already · {len(unknown)} to make", cell.text)
    assert _sweep(kernel) == [PICTURES, PICTURES, PICTURES, []]
    second = _paid(faulty, name) - first
    assert sum(second.values()) == len(unknown)
    assert set(_paid(faulty, name)) == _combinations(name)
    assert kernel.run("print(len(made), sum(image.reused for image in made))").text.strip() == f"{PICTURES} {PICTURES - len(unknown)}"


def _unknown(kernel):
    path = kernel.folder / "imagegen-home" / "ledger.sqlite"
    with contextlib.closing(sqlite3.connect(path)) as connection:
        return [row for (row,) in connection.execute("SELECT row FROM tasks WHERE state = 'unknown'")]
