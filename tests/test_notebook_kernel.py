"""Cells on a real kernel, between a front end on the protocol level and a gateway's dialect on a socket."""

import contextlib
import json
import re
import sqlite3
import time
from pathlib import Path

import pytest
from PIL import Image

KEY = "sk-test-0123456789abcdef"


@pytest.fixture
def begin(kernels, tmp_path):
    """Start kernels with the extension loaded, that share one home and one folder."""

    def start(server=None, name="notebook", **more):
        keys = server.environ(key=KEY) if server else {}
        more = {"IMAGEGEN_HOME": str(tmp_path / "home"), "IMAGEGEN_POLL_SECONDS": "0.1", **keys, **more}
        front = opened.enter_context(kernels.kernel(tmp_path / name, **more))
        assert front.run("%load_ext imagegen_magic").status == "ok"
        return front

    with contextlib.ExitStack() as opened:
        yield start


def waiting(front, code):
    """Start a cell and return it when its Cancel button is there."""
    cell = front.send(code)
    front.until(lambda: front.states("ButtonModel") or cell.done, "the Cancel button")
    assert not cell.done, cell.text
    return cell


def saved(front):
    """Return the pictures on disk beside the notebook."""
    return sorted(path for path in (front.folder / "imagegen").glob("*") if path.suffix in (".png", ".jpg", ".jpeg", ".webp"))


def test_cell_becomes_a_picture(begin, gateway):
    """A prompt in a cell ends as one ordinary output with the picture and its caption, with the original untouched on disk."""
    front = begin(gateway)
    cell = front.run("%%imagegen -p evolink --size 16:9 -q low\nAn ancient castle beneath a starry sky")
    assert cell.status == "ok"
    (shown,) = cell.images
    assert sorted(shown["data"]) == ["image/jpeg", "text/html", "text/plain"]
    assert shown["data"]["text/plain"].startswith("An ancient castle beneath a starry sky\n")
    (path,) = saved(front)
    with Image.open(path) as original:
        assert original.size == (1824, 1024)
    assert cell.text.endswith(f"imagegen/{path.name}")
    assert front.models == {}


def test_without_a_key_the_sandbox_draws_and_one_line_names_it(begin):
    """No key and no gateway named: the sandbox in the kernel's own process makes the picture, and one line names it."""
    front = begin(None)
    cell = front.run("%%imagegen -q low\nA castle")
    assert cell.status == "ok", cell.text
    assert len(cell.images) == 1
    assert "sandbox" in cell.text.splitlines()[0]
    assert "(sandbox)" in cell.text.splitlines()[-1]


@pytest.mark.parametrize("prompt", ["{x} {{y}} $HOME %time ? ! \\n 'a' \"b\"", "一只狐狸 🦊", "!ls", "%%time", "line one\n\n  line two\t"])
def test_prompt_arrives_verbatim(begin, gateway, prompt):
    """Nothing in a cell's body is expanded, evaluated or trimmed on its way to the gateway."""
    front = begin(gateway)
    front.run("x = y = 1")
    assert front.run(f"%%imagegen -p evolink -q low\n{prompt}").status == "ok"
    assert [entry["json"]["prompt"] for entry in gateway.accepted(prompt)] == [prompt]


def test_run_all(begin, gateway):
    """Cells queued at once all run, each output stays in its own cell, and each picture is paid for once."""
    front = begin(gateway)
    cells = front.run_all(
        *[f"%%imagegen -p {name} -q low -o result{n}\nRun all {n}" for n, name in enumerate(("evolink", "apimart", "xingchao"))]
    )
    after = front.run("print([len(r) for r in (result0, result1, result2)], _imagegen is result2)")
    assert [(cell.status, len(cell.images)) for cell in cells] == [("ok", 1)] * 3
    assert after.text.strip() == "[1, 1, 1] True"
    assert [len(gateway.accepted(f"Run all {n}")) for n in range(3)] == [1, 1, 1]


def test_cancel_button_stops_the_waiting_and_resume_collects(begin, gateway):
    """A click ends the cell while the gateway goes on; resume brings the picture without another submission."""
    gateway.arm("held", match="Cancelled by a click")
    front = begin(gateway)
    cell = waiting(front, "%%imagegen -p evolink -q low\nCancelled by a click")
    front.until(lambda: gateway.accepted("Cancelled by a click"), "the submission")
    front.click(front.model("ButtonModel"), subshell=front.open_subshell())
    front.wait(cell)
    assert cell.outputs[-1]["ename"] == "WaitingStopped"
    assert "%imagegen resume" in cell.outputs[-1]["evalue"]
    assert len(cell.outputs[-1]["traceback"]) == 1
    gateway.disarm()
    collected = front.run("%imagegen resume")
    assert len(collected.images) == 1
    assert len(gateway.accepted("Cancelled by a click")) == 1


def test_interrupt_stops_the_cell_and_run_all(begin, gateway):
    """The stop button ends the cell with one line, the queued cells do not run, and nothing paid for is lost."""
    gateway.arm("held", match="Interrupted")
    front = begin(gateway)
    cell = waiting(front, "%%imagegen -p evolink -q low\nInterrupted")
    queued = front.send("print('never')")
    front.until(lambda: gateway.accepted("Interrupted"), "the submission")
    front.interrupt()
    front.wait(cell)
    front.wait(queued)
    assert (cell.status, queued.status) == ("error", "aborted")
    assert len(cell.outputs[-1]["traceback"]) == 1
    assert front.models == {}
    gateway.disarm()
    assert len(front.run("%imagegen resume").images) == 1
    assert len(gateway.accepted("Interrupted")) == 1


def test_interrupt_binds_what_there_is(begin, gateway):
    """After an interrupt `-o` and `_imagegen` hold the pictures that stand in the output, as after Cancel, with why the others are not."""
    front = begin(gateway)
    gateway.arm("never-finishes", times=1, match="Partial")
    cell = front.send("%%imagegen -p apimart -s 1:1 -q low -n 8 -o part\nPartial")
    front.until(lambda: any("saved" in state.get("value", "") for state in front.states("HTMLModel")) or cell.done, "one task to be saved")
    front.interrupt()
    front.wait(cell)
    assert cell.status == "error"
    assert cell.of("text/html")[1].count("<img ") == 4
    assert "resume collects the pictures without paying again" in cell.outputs[-1]["traceback"][0]
    bound = front.run("print(len(part), part is _imagegen, [type(error).__name__ for error in part.errors])").text.strip()
    assert bound == "4 True ['WaitingStopped']"


def test_interrupt_before_anything_is_sent(begin, gateway):
    """While another program has locked the ledger nothing is sent, and the interrupt's line does not name a gateway."""
    front = begin(gateway)
    assert front.run("%%imagegen -p evolink -q low\nFirst").status == "ok"
    home = front.folder.parent / "home" / "ledger.sqlite"
    with contextlib.closing(sqlite3.connect(home, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        for code, words in (
            ("%%imagegen -p evolink -q low\nHeld up", "Nothing was sent, nothing is charged"),
            ("%imagegen resume", "nothing was collected yet"),
        ):
            cell = front.send(code)
            front.until(lambda cell=cell: cell.started, "the cell to begin")
            later = time.monotonic() + 0.7
            front.until(lambda later=later: time.monotonic() > later)
            front.interrupt()
            front.wait(cell)
            assert cell.status == "error"
            assert words in cell.outputs[-1]["traceback"][0]
        other.execute("ROLLBACK")
    assert gateway.submissions("Held up") == []


def test_captions_link_from_the_notebook(begin, gateway):
    """After a change of folder, a caption's link still leads from the notebook's folder to the picture beside it."""
    front = begin(gateway)
    for folder in (".", "sub", "../.."):
        front.run(f"import os; os.makedirs({folder!r}, exist_ok=True); os.chdir({folder!r})")
        cell = front.run("%%imagegen -p evolink -q low\nMoved fox")
        links = re.findall(r'href="([^"]+)"', cell.of("text/html")[-1])
        assert {link.rpartition("/")[0] for link in links} == {"imagegen"}
        assert (front.folder / links[0]).is_file()
    (shown,) = [html for html in front.run("%imagegen show").of("text/html") if "href" in html]
    assert 'href="imagegen/moved-fox' in shown
    history = front.run("%imagegen history").text
    assert "imagegen/moved-fox" in history
    assert str(front.folder) not in history


@pytest.mark.parametrize(("notebook", "folder"), [("story.ipynb", ""), ("../other/story.ipynb", "sub")])
def test_the_notebooks_folder_is_where_its_kernel_started(begin, gateway, tmp_path, notebook, folder):
    """Loaded after a chdir, the extension keeps to the folder of the notebook that Jupyter names; another notebook's name is not used."""
    front = begin(gateway, JPY_SESSION_NAME=str(tmp_path / "notebook" / notebook))
    front.run("import os; os.makedirs('sub'); os.chdir('sub')")
    front.run("%reload_ext imagegen_magic")
    cell = front.run("%%imagegen -p evolink -q low\nLate fox")
    (link,) = set(re.findall(r'href="([^"]+)"', cell.of("text/html")[-1]))
    assert (front.folder / folder / link).is_file()


def test_no_wait_leaves_a_living_output(begin, gateway):
    """The cell ends at once, others run, its output becomes the pictures, and the job can be waited for."""
    front = begin(gateway)
    cell = front.run("%%imagegen -p evolink -q low -n 2 --no-wait -o job\nIn the background")
    assert (cell.status, cell.images) == ("ok", [])
    assert front.run("print('meanwhile')").text.strip() == "meanwhile"
    front.until(lambda: cell.images, "the pictures")
    assert front.run("print(len(job.wait()))").text.strip() == "2"
    front.until(lambda: not front.models, "the widgets to be closed")


def test_two_jobs_at_once(begin, gateway):
    """A cell in the background and one in front run at the same time, each with its own progress and outputs."""
    gateway.arm("held", match="Behind")
    front = begin(gateway)
    behind = front.run("%%imagegen -p evolink -q low --no-wait\nBehind")
    ahead = front.run("%%imagegen -p apimart -q low\nAhead")
    assert not behind.images
    gateway.disarm()
    front.until(lambda: behind.images, "the picture in the background")
    assert "behind" in behind.text
    assert "ahead" in ahead.text
    assert len(ahead.images) == 1
    front.until(lambda: not front.models, "the widgets to be closed")


def test_two_kernels_share_one_ledger(begin, gateway):
    """While one kernel waits, another on the same ledger makes pictures of its own and takes none of the first's."""
    gateway.arm("held", match="Kernel one")
    first, second = begin(gateway, "one"), begin(gateway, "two")
    cell = waiting(first, "%%imagegen -p evolink -q low\nKernel one")
    other = second.run("%%imagegen -p evolink -q low\nKernel two")
    collected = second.run("%imagegen resume")
    gateway.disarm()
    first.wait(cell)
    assert [len(c.images) for c in (cell, other, collected)] == [1, 1, 0]
    assert [path.name[:10] for path in saved(first) + saved(second)] == ["kernel-one", "kernel-two"]


def test_killed_kernel_loses_nothing(begin, gateway):
    """After a kill -9 during the waiting, resume in a new kernel brings the picture, paid for once."""
    gateway.arm("held", match="Killed")
    front = begin(gateway)
    waiting(front, "%%imagegen -p evolink -q low\nKilled")
    front.until(lambda: any("waiting" in state.get("value", "") for state in front.states("HTMLModel")), "the task's id in the ledger")
    front.kill()
    gateway.disarm()
    front.restart()
    front.run("%load_ext imagegen_magic")
    collected = front.run("%imagegen resume")
    assert len(collected.images) == 1, collected.text
    assert len(gateway.accepted("Killed")) == 1


def test_error_is_one_line_without_a_traceback(begin, gateway):
    """What a gateway cannot do is refused in one line, before anything is sent."""
    front = begin(gateway)
    cell = front.run("%%imagegen -p apimart --size 1:1 --resolution 4k\nToo large")
    assert cell.status == "error"
    assert [output["output_type"] for output in cell.outputs] == ["error"]
    assert len(cell.outputs[0]["traceback"]) == 1
    assert gateway.submissions("Too large") == []


def test_partial_failure_is_shown_with_the_pictures(begin, gateway):
    """One of three tasks fails: two pictures, and one line in plain words for the third."""
    front = begin(gateway)
    gateway.arm("moderation", times=1, match="Partly")
    cell = front.run("%%imagegen -p xingchao -q low -n 3\nPartly")
    assert cell.status == "ok", cell.text
    assert cell.of("text/html")[1].count("<img ") == 2
    assert "of 3: " in cell.text.splitlines()[-1]
    assert "Moderation refusal" in cell.text.splitlines()[-1]


def test_difference_from_what_was_asked_is_shown(begin, gateway):
    """A picture of other pixels than promised is shown with the difference in its caption."""
    front = begin(gateway)
    gateway.arm("wrong-size", match="Differs")
    cell = front.run("%%imagegen -p evolink --size 3:1 -q low\nDiffers")
    assert cell.text.splitlines()[-1].startswith("asked ")
    assert "<strong" in cell.of("text/html")[-1]


def test_no_key_in_anything_that_is_kept(begin, gateway):
    """The key stands in no output, no widget, no ledger, no file."""
    front = begin(gateway)
    gateway.arm("500-after-accept", match="Broken")
    cells = [front.run(f"%%imagegen -p evolink -q low\n{prompt}") for prompt in ("Well", "Broken")]
    cells += [front.run(f"%imagegen {command}") for command in ("jobs", "history", "providers", "error", "doctor", "config")]
    shown = json.dumps([cell.outputs for cell in cells]) + json.dumps(front.models)
    assert KEY not in shown
    for path in front.folder.parent.rglob("*"):
        if path.is_file():
            assert KEY.encode() not in path.read_bytes(), path


def test_front_end_that_ignores_updates_still_reads_the_path(begin, gateway):
    """`jupyter console` ignores updates and widgets: it shows the picture as a new output, whose text ends with the path."""
    front = begin(gateway)
    front.obeys_updates = False
    cell = front.run("%%imagegen -p evolink -q low\nIn a console")
    assert cell.of("text/plain")[-1].endswith(f"imagegen/{saved(front)[0].name}")


def test_show_brings_a_picture_back(begin, gateway):
    """`%imagegen show ID` shows an earlier picture again, from its file."""
    front = begin(gateway)
    cell = front.run("%%imagegen -p evolink -q low\nAgain")
    shown = front.run("%imagegen show 1")
    assert shown.images[0]["data"]["image/jpeg"] == cell.images[0]["data"]["image/jpeg"]
    assert Path(shown.text.rsplit(" · ", 1)[1]).name == saved(front)[0].name
