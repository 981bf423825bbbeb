"""The magics in a real kernel: loading, binding, errors in one line, interrupt, --no-wait, --keep-loop, TAB, help."""

import ast
import re
import sqlite3
from contextlib import closing, suppress

import pytest
from frontend import Frontend
from panels import LOAD, PanelDriver

pytestmark = pytest.mark.kernel

SLOW = "import os; os.environ['IMAGEGEN_POLL_SECONDS'] = '60'"
QUICK = "os.environ.pop('IMAGEGEN_POLL_SECONDS')"


@pytest.fixture(scope="module")
def kernel(kernels, tmp_path_factory):
    """A kernel with the extension loaded, on the sandbox."""
    with kernels.kernel(tmp_path_factory.mktemp("kernel"), IMAGEGEN_SANDBOX="1") as kernel:
        kernel.run("%load_ext imagegen_magic")
        yield kernel


def value(kernel, code):
    """Return what an expression is worth in the kernel."""
    return ast.literal_eval(kernel.run(code).of("text/plain")[0])


def until_submitted(kernel, code, *behind):
    """Queue a cell and others behind it, and wait until the gateway has the first one's task; returns the cells."""
    path = kernel.folder / "imagegen-home" / "ledger.sqlite"
    cells = [kernel.send(each) for each in (code, *behind)]

    def there():
        if not path.exists():
            return False
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as ledger, suppress(sqlite3.OperationalError):  # no tables yet
            return ledger.execute("SELECT count(*) FROM tasks WHERE state = 'submitted' AND owner IS NOT NULL").fetchone()[0]

    kernel.until(there, "the submission")
    return cells


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


def run_with_a_queue(kernel, code, queued):
    """Run code after another cell has been queued behind it; returns both cells."""
    gate = kernel.folder / "is-queued"
    first = kernel.send(f"import time\nwhile not __import__('os').path.exists({str(gate)!r}): time.sleep(0.01)\n{code}")
    second = kernel.send(queued)
    kernel.until(lambda: first.started, "the first cell to start")
    gate.touch()
    kernel.until(lambda: first.done and second.done, "both cells to end")
    gate.unlink()
    return first, second


def test_an_error_is_one_line_and_stops_run_all(kernel):
    """A refusal is one line without a traceback, and queued cells behind it do not run."""
    first, second = run_with_a_queue(kernel, "%imagegen -p apimart -r 4k -s 1:1 a castle", "after = 'ran'")
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
    first, second = run_with_a_queue(kernel, "%imagegen --qualty high a castle", "after = 'ran'")
    assert (first.status, second.status) == ("error", "aborted")
    assert first.text.strip().count("\n") == 0
    assert "did you mean --quality?" in first.text


def test_a_chosen_gateway_without_a_key_is_no_silent_sandbox(kernels, tmp_path):
    """Without any key the sandbox is used and named; a chosen gateway without a key is an error that names the variable."""
    with kernels.kernel(tmp_path) as kernel:
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
    cell, behind = until_submitted(kernel, "%imagegen -o lost an interrupted fox", "after = 'ran'")
    kernel.interrupt()
    kernel.until(lambda: cell.done and behind.done, "the interrupt")
    assert (cell.status, behind.status) == ("error", "aborted")
    (error,) = [output for output in cell.outputs if output["output_type"] == "error"]
    assert error["ename"] == "Interrupted"
    assert len(error["traceback"]) == 1
    assert "%imagegen resume collects the pictures" in error["traceback"][0]
    kernel.run(QUICK)
    before = kernel.run("%imagegen jobs").text
    assert "at the service" in before
    again = kernel.run("%imagegen resume")
    assert again.status == "ok", again.text
    assert len(again.images) == 1
    assert value(kernel, "_imagegen[0].request.prompt") == "an interrupted fox"
    assert "Nothing is waiting." in kernel.run("%imagegen resume").text


def test_a_new_session_names_waiting_pictures(kernels, tmp_path):
    """After a kernel died while waiting, the first cell of the next one names the waiting pictures in one line."""
    with kernels.kernel(tmp_path, IMAGEGEN_SANDBOX="1", IMAGEGEN_POLL_SECONDS="60") as kernel:
        kernel.run("%load_ext imagegen_magic")
        until_submitted(kernel, "%imagegen a fox left behind")
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
        (cell,) = until_submitted(kernel, "%imagegen --keep-loop a fox")
        kernel.interrupt()
        kernel.wait(cell)
        (error,) = [output for output in cell.outputs if output["output_type"] == "error"]
        assert error["ename"] == "Interrupted"
        assert value(kernel, "1 + 1") == 2
        assert "at the service" in kernel.run("%imagegen jobs").text


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


# --- loading

MOST_MODULES = 12
HEAVY = {
    "httpx2",
    "httpcore2",
    "anyio",
    "PIL",
    "ipywidgets",
    "starlette",
    "tomllib",
    "sqlite3",
    "keyring",
    "nest_asyncio2",
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


# --- asking before many pictures


@pytest.fixture(scope="module")
def asking(kernels, tmp_path_factory, sandbox_process):
    """A kernel that asks above two pictures."""
    more = {"IMAGEGEN_POLL_SECONDS": "0.05", "IMAGEGEN_SIZE": "1:1", "IMAGEGEN_ASK_ABOVE_PICTURES": "2", **sandbox_process.environ()}
    with kernels.kernel(tmp_path_factory.mktemp("asking"), **more) as running:
        running.run(LOAD)
        running.subshell = running.open_subshell()
        yield running


def answered(kernel, code, answer):
    """Run a cell that asks, and answer it; returns the question and the cell."""
    cell = kernel.send(code)
    question = kernel.client.get_stdin_msg(timeout=120)["content"]["prompt"]
    kernel.client.input(answer)
    return question, kernel.wait(cell)


@pytest.mark.parametrize("code", ["%%imagegen -p evolink -q low -n 3\nmany {}", "%imagegen -p evolink -q low -n 3 many {}"])
def test_many_pictures_are_asked_about(asking, gateway, code):
    """Yes makes them, anything else sends nothing, --yes does not ask; a line as well as a cell."""
    refused, agreed, meant = (f"{word} {code[:2] == '%%'}" for word in ("refused", "agreed", "meant"))
    question, cell = answered(asking, code.format(refused), "")
    assert question == "This is 3 pictures. Make them? [y/N] "
    assert "Not confirmed: nothing was sent, nothing is charged" in cell.text
    assert gateway.submissions(refused) == []
    _, cell = answered(asking, code.format(agreed), "y")
    assert (cell.status, len(cell.images)) == ("ok", 3)
    assert len(asking.run(code.replace("-n 3", "--yes -n 3").format(meant)).images) == 3


def test_few_pictures_and_a_dry_run_are_not(asking):
    """Nor is what is there already."""
    assert asking.run("%%imagegen -p evolink -q low -n 2\nfew").status == "ok"
    assert asking.run("%%imagegen -p evolink -q low -n 30 --dry-run\nfew").status == "ok"
    asking.run("%%imagegen -p evolink -q low -n 4 --yes\nthere already")
    cell = asking.run("%%imagegen -p evolink -q low -n 4 --reuse\nthere already")
    assert (cell.status, len(cell.images)) == ("ok", 4)


def test_a_panel_wants_a_second_press(asking, gateway):
    """The first press shows how many it would be; another choice is asked about again."""
    asking.run("panel = Panel(provider='evolink', quality='low', n=3)\npanel")
    panel = PanelDriver(asking, asking.subshell)
    panel.generate("pressed")
    asking.until(lambda: panel.shows("This is 3 pictures. Nothing was sent: press Generate again to make them."), "the question")
    panel.generate("pressed otherwise")
    panel.generate("pressed otherwise")
    asking.until(lambda: len(panel.tiles) == 3, "the pictures")
    assert (gateway.submissions("pressed"), len(gateway.submissions("pressed otherwise"))) == ([], 1)
    asking.run("panel.close()")


# --- subcommands and widgets

CHINESE = "古老的城堡，星空之下"
NO_CHINESE = "No font on this machine draws Chinese: escapes such as \\u4e2d stand for the characters."


def test_compare_in_a_kernel(kernels, tmp_path):
    """The three outputs are ordinary ones: no widget is in them."""
    with kernels.kernel(tmp_path) as kernel:
        kernel.run("%load_ext imagegen_magic\nfrom ledgers import saved\nfox, other = saved('a red fox')[0], saved('a blue fox')[0]")
        cell = kernel.run("%imagegen compare fox other")
        assert cell.status == "ok", cell.text
        kinds = [sorted(output["data"]) for output in cell.outputs]
        assert [kinds[0], kinds[2]] == [["text/html", "text/plain"]] * 2
        assert [len(cell.images), len(cell.outputs), len(kernel.models)] == [1, 3, 0]
        assert "a [-red-]{+blue+} fox" in cell.text


def test_login_if_no_key_can_be_asked_for(kernels, tmp_path):
    """Under nbclient and papermill, login is one line that names where to set the key instead."""
    with kernels.kernel(tmp_path) as kernel:
        kernel.run("%load_ext imagegen_magic")
        cell = kernel.run("%imagegen login evolink", stdin=False)
        assert cell.status == "error"
        (error,) = cell.outputs
        assert error["ename"] == "ImageGenError"
        assert error["traceback"] == [f"ImageGenError: {error['evalue']}"]
        assert "Set EVOLINK_API_KEY in the environment before the kernel starts" in error["evalue"]


def test_a_front_end_gets_the_cell_below(kernels, tmp_path):
    """In a kernel the cell is put below the one that runs, and a line names its picture."""
    with kernels.kernel(tmp_path) as kernel:
        kernel.run("%load_ext imagegen_magic")
        made = kernel.run("%%imagegen -p gccai --sandbox\nit's a fox?")
        assert made.status == "ok", made.text
        cell = kernel.run("%imagegen recall 1")
        (payload,) = cell.reply["payload"]
        assert (payload["source"], payload["text"]) == ("set_next_input", "%%imagegen --provider gccai --sandbox\nit's a fox?")
        assert "The cell below repeats the request of picture 1." in cell.text


def test_a_real_kernel_without_fonts(kernels, tmp_path):
    """The search for fonts points at empty folders; the line is an output of the cell, and the cell succeeds."""
    fonts = {"XDG_DATA_HOME": str(tmp_path / "none"), "XDG_DATA_DIRS": str(tmp_path / "none"), "HOME": str(tmp_path)}
    with kernels.kernel(tmp_path / "notebook", IMAGEGEN_SANDBOX="1", IMAGEGEN_SIZE="1:1", **fonts) as front:
        front.run("%load_ext imagegen_magic")
        cell = front.run(f"%%imagegen --sweep style=油画,水墨 -o made\n{CHINESE} {{{{style}}}}")
        assert cell.status == "ok", cell.text
        assert cell.text.count(NO_CHINESE) == 1
        again = front.run("sheet = made.contact_sheet(edge=64)")
        assert again.text.count("MissingFontWarning: " + NO_CHINESE) == 1


LISTENING = """
from imagegen_magic.notebook.widgets.gallery import Gallery
gallery = Gallery(lambda action, id: gallery.set_trait("pictures", [{"id": id, "caption": action}]), total=500)
"""
WORKING = """
import time
gallery.total = 400  # what speaks last on a comm is the shell that its messages are sent to
while not gallery.pictures: time.sleep(0.01)
"""


def test_messages_of_the_page_arrive_while_a_cell_runs(kernels, tmp_path):
    """A cell that waits for a click on the gallery gets it, although it keeps the kernel busy."""
    with kernels.kernel(tmp_path) as frontend:
        frontend.run(LISTENING)
        subshell = frontend.open_subshell()
        (model,) = [key for key, state in frontend.models.items() if "page_size" in state]
        cell = frontend.send(WORKING)
        frontend.until(lambda: cell.started and frontend.models[model]["total"] == 400, "the cell to speak")
        message = {"comm_id": model, "data": {"method": "custom", "content": {"action": "star", "id": 7, "view": "v"}}}
        frontend._send("comm_msg", message, subshell=subshell)
        assert frontend.wait(cell).status == "ok"
        assert frontend.models[model]["pictures"] == [{"id": 7, "caption": "star"}]
