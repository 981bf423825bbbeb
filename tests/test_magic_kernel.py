"""The magics in a real kernel: binding, errors in one line, interrupt, --no-wait, --keep-loop, TAB, help."""

import ast
import re
import sqlite3
from contextlib import closing, suppress

import pytest
from frontend import Frontend

SLOW = "import os; os.environ['IMAGEGEN_POLL_SECONDS'] = '60'"
QUICK = "os.environ.pop('IMAGEGEN_POLL_SECONDS')"


@pytest.fixture(scope="module")
def kernel(tmp_path_factory):
    """A kernel with the extension loaded, on the sandbox."""
    with Frontend(tmp_path_factory.mktemp("kernel"), IMAGEGEN_SANDBOX="1") as kernel:
        kernel.run("%load_ext imagegen_magic")
        yield kernel


def value(kernel, code):
    """Return what an expression is worth in the kernel."""
    return ast.literal_eval(kernel.run(code).of("text/plain")[0])


def under_way(kernel, code, state="submitted"):
    """Queue a cell and wait until the gateway has its task; ask nothing of the busy kernel."""
    path = kernel.folder / "imagegen-home" / "ledger.sqlite"
    cell = kernel.send(code)

    def there():
        if not path.exists():
            return False
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as ledger, suppress(sqlite3.OperationalError):  # no tables yet
            return ledger.execute("SELECT count(*) FROM tasks WHERE state = ? AND owner IS NOT NULL", (state,)).fetchone()[0]

    kernel.until(there, "the submission")
    return cell


def test_a_cell_makes_a_picture_and_binds_it(kernel):
    """The picture is in the output and on disk; -o and _imagegen hold the Generation; the cell itself has no value."""
    cell = kernel.run("%%imagegen -o castles -s 16:9\nAn ancient castle beneath a starry sky")
    assert cell.status == "ok", cell.text
    assert len(cell.images) == 1
    assert not [output for output in cell.outputs if output["output_type"] == "execute_result"]
    assert value(kernel, "castles is _imagegen, len(castles), castles[0].path.exists(), castles.request.prompt") == (
        True,
        1,
        True,
        "An ancient castle beneath a starry sky",
    )
    assert value(kernel, "castles[0].path.parent.name, castles[0].path.parent.parent == __import__('pathlib').Path.cwd()") == (
        "imagegen",
        True,
    )


def test_the_line_form_works_too(kernel):
    """`%imagegen a prompt` makes a picture, also as the cell's last line after other code."""
    cell = kernel.run("x = 1\n%imagegen -q low a red fox, is it?")
    assert cell.status == "ok", cell.text
    assert len(cell.images) == 1
    assert value(kernel, "_imagegen.request.prompt, _imagegen.request.quality") == ("a red fox, is it?", "low")


def test_changing_folder_does_not_move_the_pictures(kernel):
    """Originals stay beside the notebook after %cd."""
    kernel.run("import os; os.makedirs('elsewhere', exist_ok=True)\n%cd -q elsewhere")
    kernel.run("%imagegen a fox")
    assert value(kernel, "_imagegen[0].path.parent.parent.name, os.path.basename(os.getcwd())") == (kernel.folder.name, "elsewhere")
    kernel.run("%cd -q ..")


def test_an_error_is_one_line_and_stops_run_all(kernel):
    """A refusal is one line without a traceback, and queued cells behind it do not run."""
    slow_enough_to_queue = "import time; time.sleep(0.5)\n%imagegen -p apimart -r 4k -s 1:1 a castle"
    first, second = kernel.run_all(slow_enough_to_queue, "after = 'ran'")
    assert (first.status, second.status) == ("error", "aborted")
    (error,) = first.outputs
    assert error["ename"] == "UnsupportedOption"
    assert error["traceback"] == [f"UnsupportedOption: {error['evalue']}"]
    assert "Nothing was charged" in error["evalue"]
    trace = kernel.run("%imagegen error").text
    assert "Traceback (most recent call last)" in trace
    assert "UnsupportedOption" in trace


def test_a_wrong_line_is_one_line_and_stops_run_all(kernel):
    """A misspelt option is one line too."""
    slow_enough_to_queue = "import time; time.sleep(0.5)\n%imagegen --qualty high a castle"
    first, second = kernel.run_all(slow_enough_to_queue, "after = 'ran'")
    assert (first.status, second.status) == ("error", "aborted")
    assert first.text.strip().count("\n") == 0
    assert "did you mean --quality?" in first.text


def test_a_chosen_gateway_without_a_key_is_no_silent_sandbox(tmp_path):
    """Without any key the sandbox says that it is one; a chosen gateway without a key is an error that names the variable."""
    with Frontend(tmp_path) as kernel:
        kernel.run("%load_ext imagegen_magic")
        cell = kernel.run("%imagegen a fox")
        assert cell.status == "ok", cell.text
        assert len(re.findall("sandbox drew this.*%imagegen login", cell.text)) == 1
        cell = kernel.run("%imagegen -p evolink a fox")
        assert cell.outputs[0]["ename"] == "MissingKey"
        assert "EVOLINK_API_KEY" in cell.outputs[0]["evalue"]
        assert "--sandbox" in cell.outputs[0]["evalue"]
        assert kernel.run("%imagegen -p evolink --sandbox a fox").status == "ok"


def test_interrupt_stops_the_waiting_and_nothing_is_lost(kernel):
    """The stop button ends the cell with one line, Run All stops, and resume brings the picture without a new submission."""
    kernel.run(SLOW)
    cell = under_way(kernel, "%imagegen -o lost an interrupted fox")
    behind = kernel.send("after = 'ran'")
    kernel.interrupt()
    kernel.until(lambda: cell.done and behind.done, "the interrupt")
    assert (cell.status, behind.status) == ("error", "aborted")
    (error,) = [output for output in cell.outputs if output["output_type"] == "error"]
    assert error["ename"] == "Interrupted"
    assert len(error["traceback"]) == 1
    assert "%imagegen resume collects it" in error["traceback"][0]
    kernel.run(QUICK)
    before = kernel.run("%imagegen jobs").text
    assert "at the gateway" in before
    again = kernel.run("%imagegen resume")
    assert again.status == "ok", again.text
    assert len(again.images) == 1
    assert value(kernel, "_imagegen[0].request.prompt") == "an interrupted fox"
    assert "Nothing is waiting." in kernel.run("%imagegen resume").text


def test_a_new_session_is_told_of_waiting_pictures(tmp_path):
    """After a kernel died while waiting, the first cell of the next one says so in one line."""
    with Frontend(tmp_path, IMAGEGEN_SANDBOX="1", IMAGEGEN_POLL_SECONDS="60") as kernel:
        kernel.run("%load_ext imagegen_magic")
        under_way(kernel, "%imagegen a fox left behind")
        kernel.kill()
        kernel.environment.pop("IMAGEGEN_POLL_SECONDS")
        kernel.restart()
        kernel.run("%load_ext imagegen_magic")
        assert "1 picture is waiting: %imagegen resume" in kernel.run("%imagegen another fox").text
        assert "is waiting" not in kernel.run("%imagegen a third fox").text
        assert kernel.run("%imagegen resume").status == "ok"
        assert value(kernel, "_imagegen[0].request.prompt") == "a fox left behind"


def test_no_wait_gives_a_job(kernel):
    """--no-wait returns at once with a Job to wait() or await, and the Generation is bound when it is there."""
    assert kernel.run("%imagegen --no-wait -o later a later fox").status == "ok"
    assert value(kernel, "type(later).__name__, len(later.wait()), len(await later), later.done") == ("Job", 1, 1, True)
    kernel.until(lambda: value(kernel, "_imagegen.request.prompt") == "a later fox", "the Generation to be bound")
    assert "1 job is done." in kernel.run("%imagegen wait").text


_TICKER = """
import asyncio, time
ticks = []
async def tick():
    while True:
        ticks.append(time.monotonic())
        await asyncio.sleep(0.05)
ticking = asyncio.create_task(tick())
"""
_GAP = "start = time.monotonic(); before = len(ticks)\n%imagegen {} a fox\nticked = len(ticks) - before"


def test_keep_loop_keeps_the_kernels_own_tasks_running(tmp_path):
    """Without it the kernel's tasks stand still while a cell waits; with it they go on, and queued cells are not lost."""
    with Frontend(tmp_path, IMAGEGEN_SANDBOX="1", IMAGEGEN_POLL_SECONDS="1") as kernel:
        kernel.run("%load_ext imagegen_magic")
        kernel.run(_TICKER)
        kernel.run(_GAP.format(""))
        assert value(kernel, "ticked") == 0
        assert value(kernel, "'nest_asyncio2' in __import__('sys').modules and hasattr(asyncio, '_nest_patched')") is False
        cells = kernel.run_all(_GAP.format("--keep-loop"), "behind = 1", "ticked, behind")
        assert [cell.status for cell in cells] == ["ok"] * 3, cells[0].text
        assert len(cells[0].images) == 1
        ticked, behind = ast.literal_eval(cells[2].of("text/plain")[0])
        assert ticked >= 5
        assert behind == 1


def test_keep_loop_can_be_interrupted(tmp_path):
    """The stop button ends a --keep-loop cell as any other, and the kernel goes on working."""
    with Frontend(tmp_path, IMAGEGEN_SANDBOX="1", IMAGEGEN_POLL_SECONDS="60") as kernel:
        kernel.run("%load_ext imagegen_magic")
        cell = under_way(kernel, "%imagegen --keep-loop a fox")
        kernel.interrupt()
        kernel.wait(cell)
        (error,) = [output for output in cell.outputs if output["output_type"] == "error"]
        assert error["ename"] == "Interrupted"
        assert value(kernel, "1 + 1") == 2
        assert "at the gateway" in kernel.run("%imagegen jobs").text


def test_tab_in_a_kernel(kernel):
    """The front end gets exactly our values, and where they go."""
    reply = kernel.complete("%%imagegen -p apimart -r 4k --size 1")
    assert reply["matches"] == ["16:9", "1:2"]
    assert (reply["cursor_start"], reply["cursor_end"]) == (35, 36)
    assert kernel.complete("%imagegen --reso")["matches"] == ["--resolution"]


def test_question_mark_in_a_kernel(kernel):
    """`%%imagegen?` and `%imagegen?` show the whole help in the pager."""
    for code in ("%%imagegen?", "%imagegen?"):
        page = kernel.run(code).reply["payload"][0]["data"]["text/plain"]
        assert "--keep-loop" in page
        assert "%imagegen login NAME" in page
