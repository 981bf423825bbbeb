"""A sweep in a cell: the plan first, a question where it is much, a grid that fills, and bounded static outputs in the end."""

import base64
import contextlib
import io
import json
import re
import time
from dataclasses import replace
from pathlib import Path

import nbclient
import nbformat
import pytest
from frontend import environment
from IPython.core.error import UsageError
from lab import write_notebook
from PIL import Image
from scripted import draw
from servers import sandbox_thread
from shells import a_shell
from terminals import enter, terminal

from imagegen_magic.errors import ImageGenError, MissingKey, TaskFailed, UnsupportedOption
from imagegen_magic.notebook.progress import sweep_view
from imagegen_magic.notebook.progress.state import JobProgress
from imagegen_magic.notebook.progress.sweep_grid import SweepGrid
from imagegen_magic.request import ImageRequest
from imagegen_magic.result import Cost, GeneratedImage, Progress
from imagegen_magic.studies.sweeps.result import SweepResult

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def gateway():
    """A gateway whose tasks take a tenth of a second, and that has one picture for all."""
    with sandbox_thread(duration=0.1, plain=True) as server:
        yield server


@pytest.fixture(scope="module")
def slow_gateway():
    """A gateway whose tasks take two seconds."""
    with sandbox_thread(duration=2, plain=True) as server:
        yield server


@pytest.fixture
def shell(gateway, monkeypatch):
    """A shell in this process with the extension loaded, in front of the gateway."""
    gateway.disarm()
    settings = {"IMAGEGEN_POLL_SECONDS": "0.05", "IMAGEGEN_SIZE": "1:1", "IMAGEGEN_UNKNOWN_PRICE": "0.01"}
    for name, value in {**settings, **gateway.environ()}.items():
        monkeypatch.setenv(name, value)
    with a_shell() as running:
        yield running


@pytest.fixture
def begin(kernels, tmp_path):
    """Start kernels with the extension loaded, that share one home."""

    def start(server, name="notebook", **more):
        settings = {
            "IMAGEGEN_HOME": str(tmp_path / "home"),
            "IMAGEGEN_POLL_SECONDS": "0.05",
            "IMAGEGEN_SIZE": "1:1",
            "IMAGEGEN_UNKNOWN_PRICE": "0.01",
        }
        front = opened.enter_context(kernels.kernel(tmp_path / name, **{**settings, **server.environ(), **more}))
        assert front.run("%load_ext imagegen_magic").status == "ok"
        return front

    with contextlib.ExitStack() as opened:
        yield start


def text(shell):
    """Return all that the last cell showed as text."""
    return "\n".join(shell.shown())


# --- the plan, and what is refused before anything is sent


def test_the_plan_comes_first_and_the_result_is_bound(shell, gateway):
    """How many of what, the price or that it is unknown, the usual time; then the pictures, under the name and `_imagegen`."""
    shell.run("%%imagegen -p evolink --sweep style=oil,ink --sweep quality=low,medium -o made\nplanned {{style}}")
    lines = shell.shown()
    assert lines[0] == "4 pictures: style (2) × quality (2) · cost unknown · usual time not known yet"
    made = shell.variables["made"]
    assert isinstance(made, SweepResult)
    assert shell.variables["_imagegen"] is made
    assert (
        sorted(entry["prompt"] for entry in gateway.accepted() if entry["prompt"].startswith("planned"))
        == ["planned ink"] * 2 + ["planned oil"] * 2
    )
    assert [sorted(output["data"]) for output in shell.shell.display_pub.outputs] == [
        ["text/html", "text/plain"],
        ["image/jpeg", "text/html", "text/plain"],
        ["text/html", "text/plain"],
    ]


def test_a_dry_run_sends_nothing_and_is_bounded(shell, gateway):
    """A table of at most forty combinations, with prompts, pixels and price."""
    before = len(gateway.submissions())
    shell.shell.user_ns["many"] = [f"style {n}" for n in range(50)]
    shell.run("%%imagegen -p evolink --sweep style=@many --sweep quality=low,high --dry-run\na {{style}} fox")
    assert "100 pictures: style (50) × quality (2)" in text(shell)
    assert "and 60 more combinations" in text(shell)
    assert text(shell).count("a style ") == 40
    assert "1024×1024" in text(shell)
    assert len(gateway.submissions()) == before


def test_a_dry_run_needs_no_key(monkeypatch):
    """Looking is free."""
    with a_shell() as shell:
        shell.run("%%imagegen -p evolink --size 1:1 --sweep quality=low,high --dry-run\na fox")
        assert "2 pictures: quality (2)" in text(shell)
        with pytest.raises(MissingKey):
            shell.run("%%imagegen -p evolink --size 1:1 --sweep quality=low,high\na fox")


@pytest.mark.parametrize(
    ("line", "prompt", "words"),
    [
        ("--sweep stile=oil", "a fox", "stile cannot be an axis"),
        ("--sweep quality=low", "a {{style}} fox", "There is no value for {{style}}"),
        ("--sweep quality=low,low", "a fox", "twice"),
        ("--sweep quality=low -q high", "a fox", "both an axis and an option"),
        ("--sweep quality=@nothing", "a fox", "names the variable nothing, which the notebook does not have"),
        ("--sweep quality=@word", "a fox", "needs a list"),
        ("--sweep quality=@number", "a fox", "is not a list"),
        ("--sweep resolution=1k,8k", "a fox", "1 of 2 combinations are not possible: resolution=8k"),
        ("--sweep style=oil --vars", "a {{style}} {{animal}}", "the variable 'animal'"),
        ("--sweep quality=low", "  ", "There is no prompt"),
    ],
)
def test_what_cannot_be_swept_is_refused_before_anything_is_sent(shell, gateway, line, prompt, words):
    """Each slip in its own words."""
    before = len(gateway.submissions())
    shell.shell.user_ns |= {"word": "low", "number": 5}
    with pytest.raises(UnsupportedOption, match=re.escape(words)):
        shell.run(f"%%imagegen -p evolink {line}\n{prompt}")
    assert len(gateway.submissions()) == before


@pytest.mark.parametrize("flag", ["--skip-impossible"])
def test_a_sweeps_own_options_need_a_sweep(shell, flag):
    """They are not silently dropped."""
    with pytest.raises(UsageError, match=f"{flag} is for a sweep"):
        shell.run(f"%%imagegen -p evolink {flag}\na fox")


def test_combinations_left_out_are_listed(shell):
    """With the reason, and in the grid as boxes."""
    shell.run("%%imagegen -p evolink -q low --sweep resolution=1k,8k --skip-impossible -o made\na fox left out")
    assert "Left out, not possible (1 of 2 combinations)" in text(shell)
    assert "resolution=8k: evolink gpt-image-2 has no resolution '8k'" in text(shell)
    assert len(shell.variables["made"].impossible) == 1


def test_values_from_variables_and_in_quotes(shell, gateway):
    """A list variable, values with commas and blanks, and notebook variables in addition to the placeholders."""
    shell.shell.user_ns |= {"styles": ["oil, thick", "ink"], "animal": "fox"}
    shell.run("%%imagegen -p evolink -q low --sweep style=@styles --vars\nlisted {{style}} {{animal}}")
    shell.run('%%imagegen -p evolink -q low --sweep mood="calm, cold",wild\nquoted {{mood}}')
    shell.run('%imagegen -p evolink -q low --sweep "mood=very calm|wild" barred {{mood}}')
    sent = {entry["prompt"] for entry in gateway.accepted()}
    assert {"listed oil, thick fox", "listed ink fox", "quoted calm, cold", "quoted wild", "barred very calm", "barred wild"} <= sent


def test_repeat_alone_makes_so_many(shell, gateway):
    """Separate tasks of the same, and braces stay as they are."""
    shell.run("%%imagegen -p evolink -q low --repeat 3 -o made\nrepeated {{as}} it stands")
    assert text(shell).startswith("3 pictures")
    assert len(gateway.accepted("repeated {{as}} it stands")) == 3
    assert len(shell.variables["made"]) == 3


def test_reuse_is_told_in_the_plan_and_asked_for_only_what_is_new(shell, gateway):
    """What is there already counts for nothing."""
    shell.run("%%imagegen -p evolink -q low --sweep style=oil,ink\nthere {{style}}")
    shell.run("%%imagegen -p evolink -q low --sweep style=oil,ink,chalk --reuse\nthere {{style}}")
    assert "3 pictures: style (3) · 2 exist already · 1 to make" in text(shell)
    assert "2 reused, nothing spent on them" in text(shell)
    shell.run("%%imagegen -p evolink -q low --sweep style=oil,ink,chalk --reuse\nthere {{style}}")
    assert "3 exist already · 0 to make" in text(shell)
    assert len([entry for entry in gateway.accepted() if entry["prompt"].startswith("there")]) == 3


def test_the_picture_can_be_made_smaller(shell):
    """`--preview` bounds the grid's picture, as it bounds one picture."""
    shell.run("%%imagegen -p evolink -q low --sweep style=oil,ink --preview 300\nsmaller {{style}}")
    (content,) = shell.shown("image/jpeg")
    with Image.open(io.BytesIO(base64.b64decode(content))) as picture:
        assert picture.width <= 300


def test_errors_are_grouped(shell, gateway):
    """What went wrong with several stands there once, with the combinations that it happened to."""
    gateway.arm("failed", times=2, match="grouped oil")
    shell.run("%%imagegen -p evolink --sweep style=oil,ink --sweep quality=low,medium -o made\ngrouped {{style}}")
    last = shell.shown()[-1]
    assert last.startswith("2 of 4: style=oil: ")
    assert len(last.splitlines()) == 1
    assert len(shell.variables["made"].errors) == 2


def test_nothing_made_raises(shell, gateway):
    """As one cell does."""
    gateway.arm("failed", times=2, match="hopeless")
    with pytest.raises(TaskFailed):
        shell.run("%%imagegen -p evolink --sweep quality=low,medium\nhopeless")


# --- the question


def test_without_anybody_to_ask_much_is_refused(shell, gateway):
    """The refusal comes before anything is sent; --yes or a higher limit avoids it."""
    with pytest.raises(ImageGenError, match=r"This is 21 pictures, and no confirmation can be given here.*--yes") as refused:
        shell.run("%%imagegen -p evolink -q low --repeat 21\nwithout an answer")
    assert refused.value.charge == "no"
    assert gateway.submissions("without an answer") == []
    shell.run("%config ImageGenMagics.ask_above_pictures = 30")
    shell.run("%%imagegen -p evolink -q low --repeat 21\nwithout an answer")
    assert len(gateway.accepted("without an answer")) == 21


@pytest.mark.parametrize(("setting", "words"), [("1", r"3 pictures of unknown price, counted as 3"), ("", r"3 pictures of unknown price")])
def test_a_price_that_is_not_known_asks(shell, gateway, monkeypatch, setting, words):
    """An unknown price needs a confirmation, or counts as the setting says."""
    monkeypatch.setenv("IMAGEGEN_UNKNOWN_PRICE", setting)
    monkeypatch.setenv("IMAGEGEN_ASK_ABOVE_COST", "2")
    with pytest.raises(ImageGenError, match=words):
        shell.run("%%imagegen -p evolink -q low --repeat 3\nunknown price")
    assert gateway.submissions("unknown price") == []


def test_what_ends_the_asking_is_named(shell, monkeypatch):
    """If no confirmation can be given, only the settings that help are named: no limit helps against an unknown price."""
    monkeypatch.setenv("IMAGEGEN_UNKNOWN_PRICE", "")
    monkeypatch.setenv("IMAGEGEN_ASK_ABOVE_PICTURES", "1000000")
    monkeypatch.setenv("IMAGEGEN_ASK_ABOVE_COST", "1000000")
    with pytest.raises(ImageGenError, match="or set unknown_price to what such a picture counts") as refused:
        shell.run("%%imagegen -p evolink -q low --repeat 3\nunknown price")
    assert "ask_above" not in str(refused.value)
    monkeypatch.setenv("IMAGEGEN_UNKNOWN_PRICE", "0")
    monkeypatch.setenv("IMAGEGEN_ASK_ABOVE_PICTURES", "2")
    with pytest.raises(ImageGenError, match="or raise ask_above_pictures") as refused:
        shell.run("%%imagegen -p evolink -q low --repeat 3\nunknown price")
    assert "unknown_price" not in str(refused.value)


def test_a_known_price_asks_above_the_bound(gateway, shell, monkeypatch):
    """In the gateway's own unit."""
    from imagegen_magic.engine.settings import load
    from imagegen_magic.notebook.arguments import confirmation

    costs = (Cost(5, "USD", "estimated"), Cost(6, "credits", "estimated"))
    reasons = list(confirmation.reasons(2, costs, 0, load()))
    assert reasons == [("about 6 credits", "raise ask_above_cost")]


def answered(front, code, answer):
    """Run a cell that asks, and answer it; returns the question and the cell."""
    cell = front.send(code)
    question = front.client.get_stdin_msg(timeout=120)["content"]["prompt"]
    front.client.input(answer)
    return question, front.wait(cell)


def test_the_question_and_its_answers(begin, gateway):
    """Yes makes them; anything else sends nothing, and Run All stops."""
    front = begin(gateway, IMAGEGEN_ASK_ABOVE_PICTURES="1")
    code = "%%imagegen -p evolink -q low --sweep style=oil,ink\nasked {{style}}"
    question, cell = answered(front, code, "no")
    assert question.startswith("This is 2 pictures. Make them? [y/N]")
    assert cell.status == "error"
    assert "Not confirmed: nothing was sent, nothing is charged" in cell.text
    assert gateway.submissions("asked oil") == []
    _, cell = answered(front, code, "y")
    assert (cell.status, len(cell.images)) == ("ok", 1)
    assert front.run(code.replace("--sweep", "--yes --sweep")).status == "ok"


# --- while it is made, and what stays


def test_the_grid_fills_and_nothing_of_it_stays(begin, slow_gateway):
    """One bar with counts, the grid beneath it, thumbnails of at most two kilobytes as pictures come; then static outputs alone."""
    slow_gateway.arm("slow")  # one picture is slow, so that the others are seen before it
    front = begin(slow_gateway)
    cell = front.send("%%imagegen -p evolink -q low --sweep style=oil,ink --repeat 2 -o made\nfilled {{style}}")
    front.until(lambda: any("imagegen-mosaic" in state.get("value", "") for state in front.states("HTMLModel")), "the grid")
    shown = "".join(state.get("value", "") for state in front.states("HTMLModel"))
    assert shown.count('role="progressbar"') == 1
    assert "of 4 saved" in shown
    front.until(lambda: any("<img" in state.get("value", "") for state in front.states("HTMLModel")), "a thumbnail")
    for state in front.states("HTMLModel"):
        for address in state.get("value", "").split('src="')[1:]:
            assert len(base64.b64decode(address.split('"')[0].split(",")[1])) <= 2_000
    front.wait(cell)
    assert cell.status == "ok", cell.text
    assert front.models == {}
    assert [sorted(output["data"]) for output in cell.outputs] == [
        ["text/html", "text/plain"],
        ["text/html", "text/plain"],  # the progress, which a page hides
        ["image/jpeg", "text/html", "text/plain"],
        ["text/html", "text/plain"],
    ]
    assert len(base64.b64decode(cell.images[0]["data"]["image/jpeg"])) <= 300_000


def test_cancel_keeps_what_there_is(begin, slow_gateway):
    """A click ends the waiting; resume brings the rest, and the sweep can be loaded whole."""
    front = begin(slow_gateway)
    cell = front.send("%%imagegen -p evolink -q low --sweep style=oil,ink\nstopped {{style}}")
    front.until(lambda: front.states("ButtonModel"), "the Cancel button")
    front.until(lambda: len(slow_gateway.accepted("stopped oil")) == len(slow_gateway.accepted("stopped ink")) == 1, "the submissions")
    front.click(front.model("ButtonModel"), subshell=front.open_subshell())
    front.wait(cell)
    assert cell.status == "error"
    assert len(front.run("%imagegen resume").images) == 2
    cell = front.run("from imagegen_magic.studies.sweeps.plan import load\nprint(len(load()), dict(load().place(load()[0])))")
    assert cell.text.strip() == "2 {'style': 'oil'}"
    assert len(slow_gateway.accepted("stopped oil")) == 1


def test_in_the_background(begin, gateway):
    """The cell returns at once, its output becomes the grid, and the job's result is the sweep's."""
    front = begin(gateway)
    cell = front.run("%%imagegen -p evolink -q low --sweep style=oil,ink --no-wait -o job\nbehind {{style}}")
    after = front.run("made = job.wait(); print(type(made).__name__, len(made), made.axes)")
    assert after.text.strip() == "SweepResult 2 {'style': ('oil', 'ink')}"
    front.until(lambda: cell.images, "the grid in the first cell")
    front.until(lambda: front.run("print(_imagegen.study == made.study)").text.strip() == "True", "the bound result")
    assert "2 pictures" in cell.text
    assert front.models == {}


@pytest.mark.kernel
def test_nbclient_holds_the_grid_and_refuses_much(tmp_path, gateway, monkeypatch):
    """Run by a program: plain progress, the same static outputs, no widget; above the bound it is refused."""
    settings = {"IMAGEGEN_POLL_SECONDS": "0.1", "IMAGEGEN_SIZE": "1:1", "IMAGEGEN_UNKNOWN_PRICE": "0.01"}
    for name, value in environment(tmp_path, **settings, **gateway.environ()).items():
        monkeypatch.setenv(name, value)
    cells = (
        "%load_ext imagegen_magic",
        "%%imagegen -p evolink -q low --sweep style=oil,ink\nrun {{style}}",
        "%%imagegen -p evolink --repeat 30\nmuch",
    )
    write_notebook(tmp_path / "story.ipynb", cells)
    notebook = nbformat.read(tmp_path / "story.ipynb", as_version=4)
    with pytest.raises(nbclient.exceptions.CellExecutionError, match="no confirmation can be given here"):
        nbclient.NotebookClient(notebook, timeout=120, resources={"metadata": {"path": str(tmp_path)}}).execute()
    nbformat.validate(notebook)
    assert [sorted(output["data"]) for output in notebook.cells[1].outputs] == [
        ["text/html", "text/plain"],
        ["image/jpeg", "text/html", "text/plain"],
        ["text/html", "text/plain"],
    ]
    assert "widget-view" not in json.dumps(notebook)
    assert gateway.submissions("much") == []


@pytest.mark.kernel
def test_a_terminal_tells_in_lines_and_asks(tmp_path, gateway):
    """Plan, question, one line while it runs, then the files."""
    gateway.disarm()
    shell = terminal(tmp_path / "terminal", gateway)
    try:
        shell.expect(r"In \[1\]: ")
        enter(shell, "%load_ext imagegen_magic")
        shell.sendline("%imagegen -p evolink -q low --size 1:1 --sweep style=oil,ink --repeat 11 terminal {{style}}")
        shell.expect(r"Make them\? \[y/N\] ")
        assert "22 pictures: style (2), 11 of each" in shell.before
        shell.sendline("y")
        shell.expect(r"In \[\d+\]: ")
        assert "22 pictures · " in shell.before
        assert "imagegen/" in shell.before
    finally:
        shell.close(force=True)


# --- bounds


def fake_result(folder, values=(10, 10, 10)):
    """Return a sweep's result of that many pictures, all of them the same file."""
    path = Path(folder) / "one.png"
    path.write_bytes(draw("one", (64, 64)))
    axes = {f"axis{n}": tuple(f"value {n}.{m}" for m in range(size)) for n, size in enumerate(values)}
    import itertools

    places = tuple(dict(zip(axes, place, strict=True)) for place in itertools.product(*axes.values()))
    images = tuple(
        GeneratedImage(
            path, "https://example.org/p.png", 64, 64, "image/png", "1:1", ImageRequest("<b>a fox</b> " * 30), "evolink", "gpt-image-2",
            f"t{n}", Cost(), time.time(), 1.0, id=n + 1, task=n,
        )
        for n in range(len(places))
    )  # fmt: skip
    return SweepResult(
        images, ImageRequest("x"), "evolink", 1.0, (), prompt="a {{x}} fox <b>", axes=axes, places=places, words=("",) * len(places)
    )


def test_a_thousand_pictures_stay_bounded(tmp_path):
    """At most 300 kB in HTML, a smaller copy, a table of at most 400 kB, everything escaped, the prompt as the words for each picture."""
    result = fake_result(tmp_path)
    grid = sweep_view.grid_bundle(result, {})
    (mime,) = (mime for mime in grid.data if mime.startswith("image/"))
    assert len(base64.b64decode(grid.data[mime])) <= 125_000
    assert 'alt="a {{x}} fox &lt;b&gt;. Grid of' in grid.data["text/html"]
    content = base64.b64decode(grid.data["text/html"].partition("base64,")[2].partition('"')[0])
    assert len(content) <= 300_000
    with Image.open(io.BytesIO(content)) as picture:
        assert picture.width <= 1600
    table = sweep_view.table_bundle(result)
    assert len(table.data["text/html"]) <= 400_000
    assert "<b>" not in table.data["text/html"]
    assert 'alt="&lt;b&gt;a fox' in table.data["text/html"]
    assert "and 900 more" in table.data["text/html"]
    assert table.data["text/plain"].count("\n") <= 26


def test_a_file_that_is_gone_is_a_word_in_the_grid(tmp_path):
    """The end of a sweep never fails for a file that was moved meanwhile."""
    result = fake_result(tmp_path, (2, 2))
    result[0].path.unlink()
    assert sweep_view.grid_bundle(result, {}).data
    assert "<img" not in sweep_view.table_bundle(result).data["text/html"]


def states(number):
    """Return the progress of a job with tasks in every stage."""
    progress = JobProgress(number, 0.0)
    for task in range(number):
        stage = ("planned", "submitting", "waiting", "fetching", "saved", "failed", "left")[task % 7]
        progress.take(Progress(stage, task, number, task, 0.0))
    return progress


def test_the_live_grid_of_a_thousand_is_squares(tmp_path):
    """A small square for each combination and counts, a few kilobytes in all; a change is in one row."""
    result = fake_result(tmp_path)
    grid, progress = SweepGrid(result.axes, result.places), states(1000)
    rows = grid.rows(progress, {})
    assert len(rows) == 10
    assert sum(map(len, rows)) < 40_000
    assert "".join(rows).count("<i class=") == 1000
    progress.take(Progress("saved", 0, 1000, 0, 0.0))
    changed = [one != other for one, other in zip(rows, grid.rows(progress, {}), strict=True)]
    assert changed == [True] + [False] * 9


def test_the_live_grid_of_very_many_is_a_bar(tmp_path):
    """Beyond what squares can show, the counts alone; and many values stand in one row."""
    places = [{"n": str(n)} for n in range(5000)]
    assert SweepGrid({"n": tuple(map(str, range(5000)))}, places).rows(states(5000), {}) == []
    few = SweepGrid({"n": tuple(map(str, range(100)))}, places[:100])
    assert len(few.rows(states(100), {})) == 1


def test_the_live_grid_is_escaped_and_says_what_a_picture_shows(tmp_path):
    """Values and prompts are text."""
    progress = states(2)
    image = replace(fake_result(tmp_path, (1,))[0], task=1)
    progress.take(image)
    rows = SweepGrid({"a": ("<i>x</i>", "y")}, [{"a": "<i>x</i>"}, {"a": "y"}]).rows(progress, {1: ["data:image/jpeg;base64,AAAA"]})
    html = "".join(rows)
    assert "<i>x</i>" not in html
    assert "&lt;i&gt;x" in html
    assert 'alt="&lt;b&gt;a fox' in html


def test_long_values_do_not_swell_the_notebook(shell):
    """Values of tens of thousands of characters are shortened in tables, in the live grid and in the labels of the pictures."""
    shell.shell.user_ns["long"] = [f"{number} " + "lorem ipsum " * 2400 for number in range(6)]
    line = "%%imagegen -p gccai --sandbox -q low --yes --sweep s=@long -o made"
    shell.run(f"{line} --dry-run\nfox {{{{s}}}}")
    assert sum(map(len, shell.shown() + shell.shown("text/html"))) < 20_000
    assert text(shell).count("lorem ipsum lorem") > 0
    shell.run(f"{line}\nfox {{{{s}}}}")
    assert sum(len(re.sub('data:image[^"]*', "", each)) for each in shell.shown() + shell.shown("text/html")) < 40_000
    made = shell.variables["made"]
    assert made.place(made[0])["s"] == shell.shell.user_ns["long"][0]
    for axes in (made.axes, {"n": ("1", "2"), **made.axes}):
        places = [{"n": "1", **place} for place in made.places]
        assert sum(map(len, SweepGrid(axes, places).rows(states(6), {}))) < 10_000
    assert len(made.sheet().alt) < 30_000
    assert max(map(len, made.sheet().contents.blocks[0].columns)) <= 80


def test_long_values_do_not_swell_a_ranking_and_a_tree(shell, capsys):
    """As in the sweep's own table."""
    from imagegen_magic.engine import api, loop
    from imagegen_magic.engine.ledger.votes import Vote, add_vote
    from imagegen_magic.notebook.commands import recall, vote
    from imagegen_magic.studies.history import lineage

    shell.shell.user_ns["long"] = [f"{number} " + "lorem ipsum " * 2400 for number in range(2)]
    shell.run("%%imagegen -p gccai --sandbox -q low --yes --sweep s=@long -o made\nfox {{s}}")
    images = shell.variables["made"].images
    one, other = [image.id for image in images]
    ledger = api.ledger()
    loop.run(add_vote(ledger, Vote(one, other, one)))
    session = vote.VoteSession(shell.shell, ledger, "made", images, shell.variables["made"].study)
    loop.run(session.load())
    ranking = session._result()[0].data
    assert "lorem ipsum" in ranking["text/html"]
    assert len(ranking["text/html"]) + len(ranking["text/plain"]) < 30_000
    tree = recall.Tree(loop.run(lineage.lineage(ledger, one)))
    assert len(tree._repr_mimebundle_()["text/html"]) < 15_000
