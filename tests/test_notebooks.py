"""The notebooks tell what is true: each runs from top to bottom in a real kernel, on the sandbox."""

import base64
import functools
import io
import json
import re
from pathlib import Path

import nbclient
import nbformat
import pytest
from frontend import environment
from PIL import Image, ImageChops

PROJECT = Path(__file__).resolve().parent.parent
NOTEBOOKS = sorted((PROJECT / "notebooks").glob("*.ipynb"))
MOST_BYTES = 1_000_000  # of an executed notebook: it is committed, mailed and opened in browsers
PICTURES = ("image/png", "image/jpeg")


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
    """Return all that a person can read in a cell's outputs."""
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
    """There are pictures in the outputs, all whole, none larger than a preview, and no widget is left behind."""
    notebook, _ = executed
    found = [picture for cell in notebook.cells for picture in pictures(cell)]
    assert len(found) >= 1
    for _, picture in found:
        picture.load()
        assert max(picture.size) <= 1024
    assert "widgets" not in notebook.metadata
    assert "widget-view" not in json.dumps(notebook)


def test_executed_notebooks_stay_small(executed):
    """With all its outputs the notebook is a file that nobody is afraid to commit."""
    notebook, _ = executed
    assert len(nbformat.writes(notebook).encode()) <= MOST_BYTES


def test_executed_notebooks_leave_originals_on_disk(executed):
    """Each file that a caption or a sweep names is on disk, decodes to the pixels that are told, and has its record beside it."""
    notebook, folder = executed
    told = "\n".join(words(cell) for cell in notebook.cells if cell.cell_type == "code")
    captions = re.findall(r"(\d+)×(\d+) · .* · (imagegen/\S+)", told)
    listed = re.findall(r"^()()(imagegen/\S+)$", told, re.MULTILINE)
    assert captions or listed
    for width, height, path in captions + listed:
        with Image.open(folder / path) as picture:
            picture.load()
            assert not width or picture.size == (int(width), int(height))
        record = json.loads((folder / path).with_suffix(".json").read_text(encoding="utf-8"))
        assert record["sandbox"] is True
        assert record["prompt"]


def test_only_the_announced_errors_happen(executed):
    """Only cells that say so end in an error, and each error is one line that says whose move it is."""
    notebook, _ = executed
    errors = [(cell, output) for cell in notebook.cells for output in cell.get("outputs", []) if output.output_type == "error"]
    for cell, error in errors:
        assert "raises-exception" in cell.metadata.tags
        assert len(error.traceback) == 1
        assert "\n" not in error.evalue


def test_first_picture_says_that_it_is_the_sandbox(story):
    """The first cell shows a picture and names the sandbox."""
    cells, _ = story
    ((mime, _),) = pictures(cells["first"])
    assert mime == "image/jpeg"
    assert "(sandbox)" in words(cells["first"])


def test_options_give_what_they_ask_for(story):
    """Two pictures of the pixels that 16:9 at 2k has there, and the variable that holds them."""
    cells, _ = story
    assert len(pictures(cells["options"])) == 2
    assert words(cells["options"]).count("2048×1152 · evolink") == 2
    assert words(cells["generation"]).count("2048x1152") == 2
    assert "together: " in words(cells["generation"])
    assert max(pictures(cells["pillow"])[0][1].size) == 320


def test_plan_sends_nothing(story):
    """The dry run shows the calls, the pixels and a price with its source; no such picture exists afterwards."""
    cells, folder = story
    shown = words(cells["plan"])
    assert "3840×2160" in shown
    assert shown.count("POST /v1/images/generations") == 2
    assert re.search(r"about \$\d", shown)
    assert list((folder / "imagegen").glob("*fox*")) == []


def test_refusal_names_who_can(story):
    """4k at 1:1 is refused at apimart, with the gateways that can."""
    cells, _ = story
    (error,) = cells["refusal"].outputs
    assert error.ename == "UnsupportedOption"
    assert "gccai" in error.evalue
    assert "evolink" in error.evalue


def test_patience_ends_and_resume_collects(story):
    """The impatient cell ends without a picture, and resume brings it."""
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


def test_the_notebook_tells_the_readmes_story():
    """What the README shows first is what the quickstart runs first."""
    readme = (PROJECT / "README.md").read_text(encoding="utf-8")
    sources = [cell.source for cell in read(PROJECT / "notebooks" / "quickstart.ipynb").cells if cell.cell_type == "code"]
    first = re.findall(r"```python\n(.*?)```", readme, re.DOTALL)[:2]
    assert first[0].strip() in sources[0]
    assert first[1].strip() == sources[1]


@pytest.fixture
def editing(run):
    """The editing notebook's executed cells by their ids, and its folder."""
    notebook, folder = run(PROJECT / "notebooks" / "editing.ipynb")
    return {cell.id: cell for cell in notebook.cells}, folder


def test_editing_plans_the_upload(editing):
    """Photograph and mask, their kinds and pixels, and where they will live; nothing was sent by looking."""
    cells, _ = editing
    told = [line.split(maxsplit=1)[1] for line in words(cells["plan"]).splitlines() if line.startswith("picture ")]
    assert [line.partition(", ")[0] for line in told] == ["lake.jpg (JPEG", "mask (PNG"]
    assert all("1536×1024" in line and "will be uploaded to" in line and "72 hours" in line for line in told)


def test_editing_paints_inside_the_mask_alone(editing):
    """The photograph is drawn, the edit obeys, and drift shows it: a heat map, words, before and after."""
    cells, folder = editing
    assert max(pictures(cells["photo"])[0][1].size) == 480
    assert "protects" not in words(cells["edit"])
    assert "nothing changed of what the mask protects" in words(cells["drift"])
    assert len(pictures(cells["drift"])) == 1
    assert "imagegen-slider" in "".join(output.data.get("text/html", "") for output in cells["drift"].outputs)
    (path,) = re.findall(r"imagegen/\S+", words(cells["edit"]))
    with Image.open(folder / "lake.jpg") as before, Image.open(folder / path) as after:
        left, top, right, bottom = ImageChops.difference(before.convert("RGB"), after.convert("RGB")).getbbox()
    assert min(left - 330, top - 40) >= 0
    assert max(right - 691, bottom - 401) <= 0


def test_editing_tells_of_a_gateway_that_does_not_obey(editing):
    """The caption says how much was changed that the mask protects, and so does Python."""
    cells, _ = editing
    (share,) = re.findall(r"the gateway changed (\d+) % of what the mask protects", words(cells["disobey"]))
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
    assert re.match(r"12 pictures · reserved [\d.]+ credits of play money, \$[\d.]+ of play money", made)
    assert len(pictures(cells["sweep"])) == 1
    assert [line.split()[:2] for line in words(cells["result"]).splitlines()] == [["evolink", "1536x1024"], ["apimart", "1536x1024"]]


def test_iteration_pays_for_what_is_new_alone(iteration):
    """With a fourth style four pictures are made; on disk there are sixteen, each combination once."""
    cells, folder = iteration
    announced, made = re.findall(r"^\d+ pictures.*", words(cells["further"]), re.MULTILINE)
    assert "16 pictures: style (4) × quality (2) × provider (2) · 12 there already · 4 to make" in announced
    assert "16 pictures · 12 reused, nothing spent on them" in made
    records = [json.loads(path.read_text(encoding="utf-8")) for path in (folder / "imagegen").glob("*.json")]
    assert len(records) == len({(each["prompt"], each["asked"]["quality"], each["gateway"]) for each in records}) == 16


def test_iteration_votes_recalls_and_counts(iteration):
    """The vote is offered, a rule gives it, the first of the ranking is the one recalled, and each currency is counted by itself."""
    cells, _ = iteration
    assert "No vote was given on study yet. To vote, open the notebook in Jupyter" in words(cells["vote"])
    assert "Ranking of 16 pictures by 56 votes" in words(cells["ranking"])
    (first,) = re.findall(r"^1\..*style=(.*) · quality=(\w+) · provider=(\w+) ", words(cells["ranking"]), re.MULTILINE)
    style, quality, provider = first
    assert f"%%imagegen --provider {provider} --size 3:2 --quality {quality} --sandbox" in words(cells["recall"])
    assert f"A castle above a lake, {style}" in words(cells["recall"])
    assert "A: winner" in words(cells["compare"])
    pluralize = [line for line in words(cells["cost"]).splitlines() if line.startswith("gpt-image-2")]
    assert [(line.split()[-1], "$" in line, "credits" in line) for line in pluralize] == [("8", True, False), ("8", False, True)]
