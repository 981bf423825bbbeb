"""Notebooks without a page: this project's own, nbclient, papermill, nbconvert, IPython in a terminal, the quickstart's script."""

import base64
import functools
import io
import json
import re
import shutil
import subprocess
import sys
import warnings
from pathlib import Path

import nbclient
import nbformat
import papermill
import pytest
from frontend import environment
from lab import write_notebook
from nbconvert import HTMLExporter, LatexExporter, MarkdownExporter
from PIL import Image, ImageChops
from servers import sandbox_thread
from terminals import enter, terminal

pytestmark = pytest.mark.kernel
PROJECT = Path(__file__).resolve().parent.parent
NOTEBOOKS = sorted((PROJECT / "notebooks").glob("*.ipynb"))
SHOWN = PROJECT / "build" / "notebooks"  # scripts/docs puts them into the pages
MOST_BYTES = 1_000_000  # of an executed notebook: it is committed, mailed and opened in browsers
PICTURES = ("image/png", "image/jpeg")
_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\x1b[=>]")
CELLS = (
    "%load_ext imagegen_magic",
    "%%imagegen -p evolink -q low -n 2 -o foxes\nA fox <b>&</b> a hen",
    "%%imagegen -p xingchao -q low -n 2 --no-wait -o job\nLater",
    "job.wait();",
    "print(len(foxes), len(job.generation))",
)


@pytest.fixture
def world(tmp_path, monkeypatch, gateway):
    """A folder with a notebook, and this process's environment pointing the kernels at a gateway."""
    for name, value in environment(tmp_path, IMAGEGEN_POLL_SECONDS="0.1", **gateway.environ()).items():
        monkeypatch.setenv(name, value)
    write_notebook(tmp_path / "story.ipynb", CELLS)
    return tmp_path


def outputs(notebook, cell):
    """Return the MIME types of a cell's outputs."""
    return [sorted(output.get("data", {})) for output in notebook.cells[cell].outputs]


PICTURE, LINE = ["image/jpeg", "text/html", "text/plain"], ["text/html", "text/plain"]


def run_story(folder):
    """Execute the notebook as `jupyter execute` does."""
    notebook = nbformat.read(folder / "story.ipynb", as_version=4)
    nbclient.NotebookClient(notebook, timeout=120, resources={"metadata": {"path": str(folder)}}).execute()
    nbformat.validate(notebook)
    return notebook


def test_nbclient_and_nbconvert_hold_pictures_and_no_widget(world):
    """An executed notebook holds the pictures of a cell as one output, in front and in the background, and no widget; so do its pages."""
    notebook = run_story(world)
    assert outputs(notebook, 1) == [PICTURE]
    assert outputs(notebook, 2) == [PICTURE]
    assert notebook.cells[4].outputs[0].text.strip() == "2 2"
    assert "widgets" not in notebook.metadata
    assert "widget-view" not in json.dumps(notebook)
    converted(notebook)


def converted(notebook):
    """Check that each page of nbconvert has pictures with their words, and the prompt never as markup."""
    with warnings.catch_warnings(record=True) as caught:
        page, _ = HTMLExporter().from_notebook_node(notebook)
    assert [str(each.message) for each in caught if "alternative text" in str(each.message)] == []
    assert all(f'alt="A fox &lt;b&gt;&amp;&lt;/b&gt; a hen ({number} of 2)"' in page for number in (1, 2))
    assert 'href="imagegen/fox-' in page
    text, _ = MarkdownExporter().from_notebook_node(notebook)
    assert "evolink gpt-image-2" in text
    latex, resources = LatexExporter().from_notebook_node(notebook)
    assert len(resources["outputs"]) == 2
    assert all(f"{{{name}}}" in latex for name in resources["outputs"])
    data = notebook.cells[1].outputs[0].data["image/jpeg"]
    assert any(base64.b64encode(content)[:64].decode() in data for content in resources["outputs"].values())


def test_no_output_is_blank_if_pictures_did_not_come(world, gateway):
    """In the background, the output reserved for the pictures shows in the end what became of each; no output is blank."""
    gateway.arm("failed", times=1, match="half fails")
    gateway.arm("failed", times=None, match="all fail")
    cells = (
        "%load_ext imagegen_magic",
        "%%imagegen -p apimart -s 1:1 -q low -n 8 --no-wait\nhalf fails",
        "%%imagegen -p evolink -q low --no-wait\nall fail",
        "%%imagegen -p evolink -q low --sweep style=oil,ink --yes --no-wait\na fox in {{style}}",
        "%%imagegen -p evolink -q low --sweep style=oil,ink --yes --no-wait\nall fail in {{style}}",
        "%%imagegen -p evolink -q low -n 26 --no-wait\nmany foxes",
        "%imagegen wait",
    )
    write_notebook(world / "story.ipynb", cells)
    notebook = nbformat.read(world / "story.ipynb", as_version=4)
    nbclient.NotebookClient(notebook, allow_errors=True, resources={"metadata": {"path": str(world)}}).execute()
    words = [[output.data["text/plain"].strip() for output in cell.outputs] for cell in notebook.cells[1:-1]]
    assert [cell for cell in words if not all(cell)] == []
    assert outputs(notebook, 1) == [PICTURE]
    assert "4 of 8 pictures did not come" in words[0][0]
    assert "charged" in words[0][0]
    assert [len(cell) for cell in words] == [1, 1, 3, 3, 1]
    assert all(line.startswith("no picture") for line in (words[1][0], words[3][1]))
    assert "charged" in words[1][0]
    assert "charged" in words[3][2]


def test_papermill_holds_pictures_and_no_widget(world):
    """papermill, which saves while it runs, ends with the same outputs."""
    papermill.execute_notebook(world / "story.ipynb", world / "done.ipynb", cwd=world, progress_bar=False, log_output=False)
    notebook = nbformat.read(world / "done.ipynb", as_version=4)
    assert outputs(notebook, 1) == [PICTURE]
    assert "widgets" not in notebook.metadata


def test_failure_ends_the_run_with_one_line(world):
    """A cell that makes nothing stops the run, with an error that names the next step."""
    write_notebook(world / "story.ipynb", (CELLS[0], "%%imagegen -p apimart -s 1:1 -r 4k\nToo large"))
    with pytest.raises(nbclient.exceptions.CellExecutionError, match="UnsupportedOption"):
        run_story(world)


def test_without_a_front_end_the_cell_is_printed(tmp_path, monkeypatch):
    """nbclient inserts no cell, so the text stands in the output."""
    for name, value in environment(tmp_path).items():
        monkeypatch.setenv(name, value)
    cells = ["%load_ext imagegen_magic", "%imagegen -p gccai --sandbox a fox", "%imagegen recall 1"]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(each) for each in cells])
    nbclient.NotebookClient(notebook, resources={"metadata": {"path": str(tmp_path)}}).execute()
    assert notebook.cells[2].outputs[0]["text"] == "%%imagegen --provider gccai --sandbox\na fox\n"


def test_a_program_is_not_asked(tmp_path, gateway, monkeypatch):
    """nbclient cannot answer a question: a cell with more pictures than the limit runs all the same."""
    settings = {"IMAGEGEN_POLL_SECONDS": "0.05", "IMAGEGEN_SIZE": "1:1", "IMAGEGEN_ASK_ABOVE_PICTURES": "2"}
    for name, value in environment(tmp_path, **settings, **gateway.environ()).items():
        monkeypatch.setenv(name, value)
    write_notebook(tmp_path / "many.ipynb", ("%load_ext imagegen_magic", "%%imagegen -p evolink -q low -n 3\nby a program"))
    notebook = nbformat.read(tmp_path / "many.ipynb", as_version=4)
    nbclient.NotebookClient(notebook, timeout=120, resources={"metadata": {"path": str(tmp_path)}}).execute()
    assert sum(entry["json"]["n"] for entry in gateway.accepted("by a program")) == 3


# --- a terminal


@pytest.fixture(scope="module")
def slow_gateway():
    """A gateway whose tasks take a second and a half, so that a terminal's line shows the waiting."""
    with sandbox_thread(duration=1.5) as server:
        yield server


@pytest.fixture
def ipython(tmp_path, slow_gateway):
    """An IPython shell at its first prompt, with the extension loaded."""
    shell = terminal(tmp_path / "terminal", slow_gateway)
    try:
        shell.expect(r"In \[1\]: ")
        enter(shell, "%load_ext imagegen_magic")
        yield shell
    finally:
        shell.close(force=True)


def visible(text):
    """Return what is left on the screen, without what a carriage return overwrote."""
    lines = [line.rsplit("\r", 1)[-1] for line in text.replace("\r\n", "\n").split("\n")]
    return _ESCAPES.sub("", "\n".join(lines))


def test_one_line_while_it_runs_and_the_caption_at_the_end(ipython, tmp_path):
    """The line is written over and over, is gone at the end, and path and caption stand there as text."""
    written = enter(ipython, "%imagegen -p evolink -q low An old fox")
    assert written.count("\r\x1b[K") + written.count("\x1b[K\r") >= 1
    assert "waiting 1 s" in written
    left = visible(written)
    assert "waiting" not in left
    (path,) = (tmp_path / "terminal" / "imagegen").glob("*.png")
    assert re.search(r"\d+×\d+ · evolink gpt-image-2 · ", left)
    assert f"imagegen/{path.name}" in left
    assert "data:" not in left


def test_line_never_wraps(ipython):
    """No version of the line is wider than the terminal."""
    written = enter(ipython, "%imagegen -p xingchao -q low -n 3 An old fox")
    assert max(len(_ESCAPES.sub("", line)) for line in written.split("\r") if "waiting" in line) < 100


def test_interrupt_names_the_next_step(ipython):
    """Ctrl-C ends the waiting with one line, and resume collects the picture."""
    ipython.sendline("%imagegen -p evolink -q low Interrupted")
    ipython.expect("waiting")
    ipython.sendintr()
    ipython.expect(r"In \[\d+\]: ")
    assert "%imagegen resume" in visible(ipython.before)
    assert "Traceback" not in ipython.before
    assert "imagegen/interrupted-" in enter(ipython, "%imagegen resume")


def test_background_job_prints_its_end_above_the_prompt(ipython):
    """With --no-wait the prompt is back at once and no line is drawn into it; the caption is printed when it is there."""
    assert "waiting" not in enter(ipython, "%imagegen -p evolink -q low --no-wait Behind")
    ipython.expect(r"imagegen/behind-\S+\.png")


def test_a_terminal_asks(tmp_path, gateway):
    """As it does before a sweep."""
    shell = terminal(tmp_path / "terminal", gateway)
    try:
        shell.expect(r"In \[1\]: ")
        enter(shell, "%load_ext imagegen_magic")
        enter(shell, "%config ImageGenMagics.ask_above_pictures = 2")
        shell.sendline("%imagegen -p evolink -q low --size 1:1 -n 3 terminal")
        shell.expect(r"This is 3 pictures. Make them\? \[y/N\] ")
        shell.sendline("n")
        shell.expect(r"In \[\d+\]: ")
        assert "Not confirmed: nothing was sent, nothing is charged" in shell.before
        assert gateway.submissions("terminal") == []
    finally:
        shell.close(force=True)


# --- the script


def test_the_quickstart_ends_with_a_command_for_any_folder(tmp_path):
    """The script runs the notebook in a real kernel; the paths and the command that it prints are valid in every working folder."""
    home = tmp_path / "a folder"
    programs = home / ".venv" / "bin"
    programs.mkdir(parents=True)
    shutil.copytree(PROJECT / "scripts", home / "scripts")
    cells = [nbformat.v4.new_code_cell(code) for code in ("%load_ext imagegen_magic", "%imagegen -q low a fox")]
    (home / "notebooks").mkdir()
    nbformat.write(nbformat.v4.new_notebook(cells=cells), home / "notebooks" / "quickstart.ipynb")
    installed = f'#!/bin/sh\ncase "$*" in *"-m pip"*) exit 0;; esac\nexec "{sys.executable}" "$@"\n'  # as if pip had been there already
    for name, text in (("python", installed), ("jupyter", '#!/bin/sh\necho "$1 $(cat "$2" | wc -c)"\n')):
        (programs / name).write_text(text)
        (programs / name).chmod(0o755)
    own = environment(tmp_path / "own", PYTHON=sys.executable)
    done = subprocess.run([home / "scripts" / "quickstart"], cwd="/", env=own, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    printed = dict(re.split(r":\s+", line, maxsplit=1) for line in done.stdout.splitlines())
    assert list(printed) == ["The executed notebook", "The same as a page", "The pictures", "Open it in JupyterLab"]
    notebook, page, pictures, opening = printed.values()
    assert "image/jpeg" in Path(notebook).read_text()
    assert "<html" in Path(page).read_text()
    assert len(list(Path(pictures).glob("fox-*.png"))) == 1
    opened = subprocess.run(["bash", "-c", opening], cwd="/", capture_output=True, text=True, check=True)
    assert opened.stdout.split() == ["lab", str(Path(notebook).stat().st_size)]


# --- this project's notebooks


def read(path):
    """Return a notebook as nbformat reads it."""
    return nbformat.read(path, as_version=4)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Run a notebook in a kernel of its own, without a key, once: gives the executed notebook and the folder where it ran."""

    @functools.cache
    def once(path):
        folder, notebook = tmp_path_factory.mktemp(path.stem), read(path)
        with pytest.MonkeyPatch.context() as patch:
            for name, value in environment(folder).items():
                patch.setenv(name, value)
            nbclient.NotebookClient(notebook, timeout=120, resources={"metadata": {"path": str(folder)}}).execute()
        SHOWN.mkdir(parents=True, exist_ok=True)
        nbformat.write(notebook, SHOWN / path.name)
        return notebook, folder

    return once


@pytest.fixture(params=NOTEBOOKS, ids=lambda path: path.stem)
def executed(request, run):
    """Each notebook after its run, and its folder."""
    return run(request.param)


@pytest.fixture
def story(run):
    """The quickstart's executed cells by their ids, and its folder."""
    notebook, folder = run(PROJECT / "notebooks" / "quickstart.ipynb")
    return {cell.id: cell for cell in notebook.cells}, folder


def pictures(cell):
    """Return the MIME type and the Pillow picture of each picture in a cell's outputs."""
    found = [(mime, output.data[mime]) for output in cell.get("outputs", []) for mime in PICTURES if mime in output.get("data", {})]
    return [(mime, Image.open(io.BytesIO(base64.b64decode(content)))) for mime, content in found]


def words(cell):
    """Return all text in a cell's outputs."""
    return "\n".join(output.get("text") or output.get("data", {}).get("text/plain", "") for output in cell.outputs)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_committed_notebooks_are_clean(path):
    """A committed notebook is valid, has no outputs and no counts, and names no kernel but the usual one."""
    notebook = read(path)
    nbformat.validate(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.outputs for cell in code if cell.outputs] == []
    assert {cell.execution_count for cell in code} == {None}
    assert notebook.metadata.kernelspec.name == "python3"
    assert set(notebook.metadata) == {"kernelspec", "language_info"}


def test_executed_notebooks_hold_pictures(executed):
    """There are pictures in the outputs, all complete, none larger than a preview, and no widget is left behind."""
    notebook, _ = executed
    found = [picture for cell in notebook.cells for picture in pictures(cell)]
    assert len(found) >= 1
    for _, picture in found:
        picture.load()
        assert max(picture.size) <= 1024
    assert "widgets" not in notebook.metadata
    assert "widget-view" not in json.dumps(notebook)


def test_every_picture_of_an_executed_notebook_has_words(executed):
    """nbconvert has nothing to say about alternative texts, and none is a file's name."""
    notebook, _ = executed
    with warnings.catch_warnings(record=True) as caught:
        page, _ = HTMLExporter().from_notebook_node(notebook)
    assert [str(each.message) for each in caught if "alternative text" in str(each.message)] == []
    alts = re.findall(r'<img[^>]* alt="([^"]*)"', page)
    assert len(alts) == page.count("<img ")
    assert not [alt for alt in alts if not alt or alt.endswith((".jpg", ".png")) or "No description" in alt]


def test_executed_notebooks_stay_small(executed):
    """With all its outputs the notebook is small enough to commit."""
    notebook, _ = executed
    assert len(nbformat.writes(notebook).encode()) <= MOST_BYTES


def test_executed_notebooks_leave_originals_on_disk(executed):
    """Each file that a caption or a sweep names is on disk, decodes to the named pixels, and has its record beside it."""
    notebook, folder = executed
    text = "\n".join(words(cell) for cell in notebook.cells if cell.cell_type == "code")
    captions = re.findall(r"(\d+)×(\d+) · .* · (imagegen/\S+)", text)
    listed = re.findall(r"^()()(imagegen/\S+)$", text, re.MULTILINE)
    assert captions or listed
    for width, height, path in captions + listed:
        with Image.open(folder / path) as picture:
            picture.load()
            assert not width or picture.size == (int(width), int(height))
        record = json.loads((folder / path).with_suffix(".json").read_text(encoding="utf-8"))
        assert record["sandbox"] is not any(
            "imagegen_magic.sandbox" in cell.source for cell in notebook.cells
        )  # as a server, it is a service
        assert record["prompt"]


def test_only_the_announced_errors_happen(executed):
    """Only cells with the tag end in an error, and each error is one line."""
    notebook, _ = executed
    errors = [(cell, output) for cell in notebook.cells for output in cell.get("outputs", []) if output.output_type == "error"]
    for cell, error in errors:
        assert "raises-exception" in cell.metadata.tags
        assert len(error.traceback) == 1
        assert "\n" not in error.evalue


def test_first_picture_is_marked_as_the_sandboxs(story):
    """The first cell shows a picture and names the sandbox."""
    cells, _ = story
    ((mime, _),) = pictures(cells["first"])
    assert mime == "image/jpeg"
    assert "(sandbox)" in words(cells["first"])


def test_options_give_what_they_ask_for(story):
    """Two pictures of the pixels that 16:9 at 2k has there, and the variable that holds them."""
    cells, _ = story
    (shown,) = (output.data["text/html"] for output in cells["options"].outputs if "image/jpeg" in output.get("data", {}))
    assert shown.count('alt="A castle in the mountains, at dawn (') == 2
    assert words(cells["options"]).count("2048×1152 · evolink") == 1
    assert words(cells["generation"]).count("2048x1152") == 2
    assert "together: " in words(cells["generation"])
    assert words(cells["pillow"]).startswith("(320, 180) RGB")


def test_plan_sends_nothing(story):
    """The dry run shows the calls, the pixels and a price with its source; no such picture exists afterwards."""
    cells, folder = story
    shown = words(cells["plan"])
    assert "3840×2160" in shown
    assert shown.count("POST /v1/images/generations") == 2
    assert re.search(r"about \$\d", shown)
    assert list((folder / "imagegen").glob("*fox*")) == []


def test_refusal_names_the_gateways_that_can(story):
    """4k at 1:1 is refused at apimart, with the gateways that can."""
    cells, _ = story
    (error,) = cells["refusal"].outputs
    assert error.ename == "UnsupportedOption"
    assert "gccai" in error.evalue
    assert "evolink" in error.evalue


def test_a_timeout_ends_the_waiting_and_resume_collects(story):
    """The cell with a short timeout ends without a picture, and resume brings it."""
    cells, _ = story
    assert [output.ename for output in cells["patience"].outputs if output.output_type == "error"] == ["TaskTimeout"]
    assert pictures(cells["patience"]) == []
    assert len(pictures(cells["resume"])) == 1
    assert "lighthouse" in words(cells["resume"])


def test_history_and_show(story):
    """History lists all of it, newest first, and show brings back the first picture."""
    cells, _ = story
    listed = words(cells["history"])
    assert listed.index("A lighthouse in a storm") < listed.index("An ancient castle beneath a starry sky")
    assert len(pictures(cells["show"])) == 1
    assert "castle-starry-sky" in words(cells["show"])


def test_python_awaits_several_gateways(story):
    """`await generate()` works in the notebook, on three gateways at once, and a picture shows itself."""
    cells, folder = story
    assert [line.split()[0] for line in words(cells["python"]).splitlines()] == ["apimart", "gccai", "xingchao"]
    assert len(list((folder / "imagegen").glob("forest-autumn-*.png"))) == 3
    assert len(pictures(cells["last"])) == 1


def test_the_notebook_begins_as_the_readme():
    """What the README shows first is what the quickstart runs first."""
    readme = (PROJECT / "README.md").read_text(encoding="utf-8")
    sources = [cell.source for cell in read(PROJECT / "notebooks" / "quickstart.ipynb").cells if cell.cell_type == "code"]
    first = re.findall(r"```python\n(.*?)```", readme, re.DOTALL)[:2]
    assert first[0].strip() in sources[0]
    assert first[1].strip() == sources[1]


def test_the_panel_stays_on_the_page(run):
    """The panel's notebook closes no panel, and the cell that shows it carries the line of its static sheet."""
    path = PROJECT / "notebooks" / "panel.ipynb"
    sources = {cell.id: cell.source for cell in read(path).cells}
    assert not [name for name, source in sources.items() if ".close()" in source and name != "keep"]
    (shown,) = [cell for cell in run(path)[0].cells if cell.id == "panel"]
    assert ["imagegen panel: " in output.data["text/plain"] for output in shown.outputs] == [True]


@pytest.fixture
def editing(run):
    """The editing notebook's executed cells by their ids, and its folder."""
    notebook, folder = run(PROJECT / "notebooks" / "editing.ipynb")
    return {cell.id: cell for cell in notebook.cells}, folder


def test_editing_plans_the_upload(editing):
    """Photograph and mask, their kinds and pixels, and where they will live; nothing was sent by looking."""
    cells, _ = editing
    shown = [line.split(maxsplit=1)[1] for line in words(cells["plan"]).splitlines() if line.startswith("picture ")]
    assert [line.partition(", ")[0] for line in shown] == ["lake.jpg (JPEG", "mask (PNG"]
    assert all("1536×1024" in line and "will be uploaded to" in line and "72 hours" in line for line in shown)


def test_editing_paints_inside_the_mask_alone(editing):
    """The photograph is drawn, the edit obeys, and drift shows it: a heat map, words, before and after."""
    cells, folder = editing
    assert 'alt="A lake at dusk, below hills"' in cells["photo"].outputs[0].data["text/html"]
    assert "protects" not in words(cells["edit"])
    assert "nothing changed of what the mask protects" in words(cells["drift"])
    assert len(pictures(cells["drift"])) == 1
    assert "imagegen-slider" in "".join(output.data.get("text/html", "") for output in cells["drift"].outputs)
    (path,) = re.findall(r"imagegen/\S+", words(cells["edit"]))
    with Image.open(folder / "lake.jpg") as before, Image.open(folder / path) as after:
        left, top, right, bottom = ImageChops.difference(before.convert("RGB"), after.convert("RGB")).getbbox()
    assert min(left - 330, top - 40) >= 0
    assert max(right - 691, bottom - 401) <= 0


def test_editing_reports_a_gateway_that_ignores_the_mask(editing):
    """The caption and Python give the share of the protected pixels that were changed."""
    cells, _ = editing
    (share,) = re.findall(r"the service changed (\d+) % of what the mask protects", words(cells["disobey"]))
    assert int(share) > 2
    assert f"{share}% of the protected pixels were changed" in words(cells["figures"])
    assert "by the first edit 0%" in words(cells["figures"])


def test_editing_fuses_two_references_and_goes_on(editing):
    """Both show in the result's record; the last one was made from an address, not from an upload."""
    cells, folder = editing
    records = {cell: _record(cells[cell], folder) for cell in ("fusion", "chain")}
    assert records["fusion"]["asked"]["references"] == ["lake.jpg", "toy"]
    assert [len(records[cell]["sent"]["image_urls"]) for cell in ("fusion", "chain")] == [2, 1]
    assert all("/uploads/" in url for url in records["fusion"]["sent"]["image_urls"])
    assert "/uploads/" not in records["chain"]["sent"]["image_urls"][0]


def _record(cell, folder):
    """Return the record beside the picture that a cell made."""
    (path,) = re.findall(r"imagegen/\S+", words(cell))
    return json.loads((folder / path).with_suffix(".json").read_text(encoding="utf-8"))


@pytest.fixture
def iteration(run):
    """The iteration notebook's executed cells by their ids, and its folder."""
    notebook, folder = run(PROJECT / "notebooks" / "iteration.ipynb")
    return {cell.id: cell for cell in notebook.cells}, folder


def test_iteration_sweeps_styles_and_qualities_on_two_gateways(iteration):
    """Twelve pictures are announced and made, and stand in one grid and one table; Python finds each by its place."""
    cells, _ = iteration
    announced, made = re.findall(r"^\d+ pictures.*", words(cells["sweep"]), re.MULTILINE)
    assert announced.startswith("12 pictures: style (3) × quality (2) × provider (2) · the sandbox, nothing is charged")
    assert re.match(r"12 pictures · [\d.]+ credits of play money, \$[\d.]+ of play money", made)
    assert len(pictures(cells["sweep"])) == 1
    assert [line.split()[:2] for line in words(cells["result"]).splitlines()] == [["evolink", "1536x1024"], ["apimart", "1536x1024"]]


def test_iteration_pays_for_what_is_new_alone(iteration):
    """With a fourth style four pictures are made; on disk there are sixteen, each combination once."""
    cells, folder = iteration
    announced, made = re.findall(r"^\d+ pictures.*", words(cells["further"]), re.MULTILINE)
    assert "16 pictures: style (4) × quality (2) × provider (2) · 12 exist already · 4 to make" in announced
    assert "16 pictures · 12 reused, nothing spent on them" in made
    records = [json.loads(path.read_text(encoding="utf-8")) for path in (folder / "imagegen").glob("*.json")]
    assert len(records) == len({(each["prompt"], each["asked"]["quality"], each["gateway"]) for each in records}) == 16


def test_iteration_votes_recalls_and_counts(iteration):
    """The vote is offered, a rule gives it, the first of the ranking is the one recalled, and each currency is counted by itself."""
    cells, _ = iteration
    assert "There is no vote on study yet. To vote, open the notebook in Jupyter" in words(cells["vote"])
    assert "Ranking of 16 pictures by 56 votes" in words(cells["ranking"])
    (first,) = re.findall(r"^1\..*style=(.*) · quality=(\w+) · provider=(\w+) ", words(cells["ranking"]), re.MULTILINE)
    style, quality, provider = first
    assert f"%%imagegen --provider {provider} --size 3:2 --quality {quality} --sandbox" in words(cells["recall"])
    assert f"A castle above a lake, {style}" in words(cells["recall"])
    assert "A: winner" in words(cells["compare"])
    lines = [line for line in words(cells["cost"]).splitlines() if line.startswith("gpt-image-2")]
    assert [(line.split()[-1], "$" in line, "credits" in line) for line in lines] == [("8", True, False), ("8", False, True)]


@pytest.fixture
def scores(run):
    """The scores notebook's executed cells by their ids, and its folder."""
    notebook, folder = run(PROJECT / "notebooks" / "scores.ipynb")
    return {cell.id: cell for cell in notebook.cells}, folder


def test_scores_find_the_planted_difference_and_no_other(scores):
    """Style changes the brightness, as the sandbox draws it; quality does not, and nothing changes the balance. In text and in HTML."""
    cells, _ = scores
    bright, balance = words(cells["effects"]).split("\nbalance (")
    verdicts = re.compile(r"^  (\S.*?)  .* 95 %: .*  (clear|inconclusive)", re.MULTILINE)
    by_value = dict(verdicts.findall(bright))
    assert (by_value["oil painting at sunset"], by_value["watercolour in mist"], by_value["medium"]) == ("clear", "clear", "inconclusive")
    assert {verdict for _, verdict in verdicts.findall(balance)} == {"inconclusive"}
    assert len(verdicts.findall(balance)) == len(by_value) == 6
    page = "".join(output.data.get("text/html", "") for output in cells["effects"].outputs)
    assert "clear, also after correcting for 12 comparisons" in page
    assert len(page) < 60_000


def test_scores_are_measured_once(scores):
    """The second run measures nothing, and rows have both scores beside the axes."""
    cells, _ = scores
    assert "brightness: 24 of 24 pictures measured. balance: 24 of 24 pictures measured." in words(cells["score"])
    assert words(cells["again"]).count("24 of 24 pictures measured, all known before") == 2
    assert len(re.findall(r"^low · woodcut by night · \w+ · 0\.\d\d [+-]0\.\d\d$", words(cells["rows"]), re.MULTILINE)) == 3


def test_scores_go_over_subjects_and_to_votes(scores):
    """The pairs over four subjects find the styles, for brightness and for votes; the first of the ranking is not of the darkest style."""
    cells, _ = scores
    assert "Paired over subject" in words(cells["over"])
    assert re.findall(r"style: (.*) - woodcut by night = \+.*, clear", words(cells["python"])) == [
        "oil painting at sunset",
        "watercolour in mist",
    ]
    assert re.search(r"watercolour in mist .*  clear, also after correcting for 3 comparisons", words(cells["votes"]))
    assert "%%imagegen --provider evolink --size 1:1 --quality " in words(cells["recall"])
    assert "woodcut by night" not in words(cells["recall"])
